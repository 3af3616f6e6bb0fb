//! The state of a group as a model checker compares it: two groups with the same digest do the same from now on, as long as
//! no time passes.
//!
//! Left out: times and randomness (a model makes timeouts choices; `led` is only told), counters, the configuration of the start. Writes are
//! named by how far they lie behind the newest durable one. Structs are taken apart whole: who adds a field decides here.

use std::hash::{Hash, Hasher};

use super::leader::Leader;
use super::{Group, State};

impl Group {
    /// Feeds the state into a hasher.
    pub fn digest(&self, hasher: &mut impl Hasher) {
        let Self {
            config: _,
            random: _,
            now: _,
            term,
            vote,
            log,
            persisting,
            commit,
            apply_handed,
            applied,
            state,
            leader,
            leader_heard,
            election_due: _,
            no_vote_until: _,
            led: _,
            lost,
            asleep,
            incoming,
            outbox,
            held,
            snapshots,
            reads_ready,
            reads_lost,
            role_told,
            counters: _,
        } = self;
        (term, vote, log, commit, apply_handed, applied).hash(hasher);
        persisting.digest(hasher);
        digest_state(state, hasher);
        (leader, leader_heard.is_some(), lost, asleep, incoming).hash(hasher);
        (outbox, snapshots, reads_ready, reads_lost, role_told).hash(hasher);
        for (write, message) in held {
            (persisting.behind_done(*write), message).hash(hasher);
        }
    }
}

fn digest_state(state: &State, hasher: &mut impl Hasher) {
    std::mem::discriminant(state).hash(hasher);
    match state {
        State::Follower(follower) => follower.hash(hasher),
        State::PreCandidate(votes) | State::Candidate(votes) => votes.hash(hasher),
        State::Leader(leader) => digest_leader(leader, hasher),
    }
}

fn digest_leader(leader: &Leader, hasher: &mut impl Hasher) {
    let Leader {
        term_start,
        peers,
        heartbeat_due: _,
        round,
        rounds: _,
        round_wanted,
        reads,
        early_reads,
        transfer,
        lease_forfeited,
        uncommitted_bytes,
        busy: _,
        change_begun,
    } = leader;
    (term_start, round, round_wanted, reads, early_reads, transfer).hash(hasher);
    (lease_forfeited, uncommitted_bytes, change_begun).hash(hasher);
    peers.iter().for_each(|peer| peer.digest(hasher));
}
