//! Why a vote is refused, as far as that can be seen from outside.

use ringfort_raft::{Body, Message, Role};
use ringfort_sim::group::Cluster;
use ringfort_types::Monotonic;

use super::world::World;

/// What bears on a replica's vote, as seen from outside.
#[derive(Clone, Copy, Default)]
pub(super) struct Votes {
    pub(super) heard: Option<Monotonic>,
    pub(super) promised: Monotonic,
}

impl World {
    /// Notes a message that shows its receiver a leader, or asks it for a promise.
    pub(super) fn note_leader(&mut self, message: &Message) {
        let now = self.clock(message.to);
        let Some(seen) = self.look(message.to) else { return };
        let leads = seen.leader == Some(message.from) && seen.term == message.term;
        if !leads || !Cluster::is_from_leader(message) {
            return;
        }
        let votes = self.votes.entry(message.to).or_default();
        votes.heard = Some(now);
        if let Body::Heartbeat { lease, .. } = message.body {
            votes.promised = votes.promised.max(now + lease);
        }
    }

    /// Why the receiver of a message that asks for its vote may refuse it.
    pub(super) fn why_not(&self, message: &Message) -> String {
        let (voter, asker) = (message.to, message.from);
        let (Some(seen), Body::PreVote { last } | Body::Vote { last, .. }) =
            (self.look(voter), &message.body)
        else {
            return String::new();
        };
        let status = self.cluster.nodes.get(&voter).and_then(|node| node.group.as_ref());
        let Some(status) = status.map(ringfort_raft::Group::status) else { return String::new() };
        let now = self.clock(voter);
        let votes = self.votes.get(&voter).copied().unwrap_or_default();
        let mine = self.last(voter);
        let is_old = message.term < seen.term
            || message.term == seen.term && matches!(message.body, Body::PreVote { .. });
        let voted = status.vote.filter(|vote| message.term == seen.term && *vote != asker);
        let timeout = self.cluster.settings().election_timeout;
        let heard = votes.heard.filter(|heard| now.since(*heard) < timeout).and(seen.leader);
        if is_old {
            format!("the term is {}", seen.term)
        } else if status.configuration.is_blank() {
            "blank".to_owned()
        } else if status.lost {
            "it lost entries".to_owned()
        } else if *last < mine {
            format!("its log ends at {mine}")
        } else if let Some(vote) = voted {
            format!("it voted for {vote}")
        } else if seen.role == Role::Leader {
            "it leads".to_owned()
        } else if let Some(leader) = heard {
            format!("it hears {leader}")
        } else if now < votes.promised {
            format!("it may have promised until {:?}", votes.promised.since(self.began))
        } else {
            "for what cannot be seen from outside".to_owned()
        }
    }
}
