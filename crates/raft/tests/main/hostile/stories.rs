//! Lies one at a time, each with what it would do to a replica that believed it.

use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{
    Body, Config, Configuration, Group, Message, Position, ReadId, Restored, Role, Round, Settings,
    SnapshotId, SnapshotMeta,
};
use ringfort_sim::Random;
use ringfort_sim::group::Machine;
use ringfort_types::{Applied, Entry, HardState, Index, Monotonic, ReplicaId, Term};

use super::lies::NUMBER_MAX;
use super::scene::{Scene, Victim};

fn entry(term: Term, index: Index) -> Entry {
    Entry { term, index, payload: Bytes::from_static(b"lie") }
}

fn append(previous: Position, entries: Vec<Entry>, commit: Index) -> Body {
    Body::Append { previous, entries, commit }
}

impl Victim {
    /// Takes a message of the leader, or of whoever is said to lead, and does everything there is to do.
    fn hear(&mut self, from: ReplicaId, term: Term, body: Body) -> Vec<Message> {
        let to = self.group().id();
        self.receive(Message { from, to, term, body });
        self.host(&mut Random::new(1))
    }

    fn leader(&self) -> (ReplicaId, Term) {
        let hint = self.group().leader();
        (hint.leader.unwrap(), hint.term)
    }

    fn other(&self) -> ReplicaId {
        let (me, leader) = (self.group().id(), self.group().leader().leader);
        let mut voters = self.group().configuration().voters().iter().copied();
        voters.find(|id| *id != me && Some(*id) != leader).unwrap()
    }

    fn impossible(&self) -> u64 {
        self.group().counters().dropped_impossible
    }
}

/// An impostor in a newer term repeats what is committed under other terms, and goes on behind it. The committed part used to
/// be skipped without a look, and what followed to be appended behind it.
#[test]
fn committed_entries_under_other_terms_are_refused() {
    let mut victim = Victim::new(Scene::Follower);
    let (leader, old) = victim.leader();
    let term = Term(old.0 + 2);
    let (last, commit) = (victim.group().last(), victim.group().last().index.next());
    victim.hear(leader, term, append(last, vec![entry(term, commit)], commit));
    assert_eq!(victim.group().commit(), commit);
    let impostor = ReplicaId(77);
    for (number, lied) in [(1, old), (2, Term(old.0 + 1)), (3, Term(old.0 + 3))] {
        let entries = (1..=commit.0 + 2).map(|index| entry(lied, Index(index))).collect();
        let body = append(Position::default(), entries, commit);
        let said = victim.hear(impostor, Term(old.0 + 3), body);
        assert!(said.is_empty(), "nothing is acknowledged: {said:?}");
        assert_eq!(victim.impossible(), number);
        assert_eq!(victim.group().last(), Position { term, index: commit });
    }
}

/// A leader contradicts in one term what it said before in it. The log used to become shorter than what the follower knew to
/// share with that leader, and the next heartbeat to commit beyond its end.
#[test]
fn a_leader_does_not_contradict_itself_within_a_term() {
    let mut victim = Victim::new(Scene::Follower);
    let (leader, old) = victim.leader();
    let (last, term) = (victim.group().last(), Term(old.0 + 1));
    let three: Vec<_> = (1..=3).map(|step| entry(old, Index(last.index.0 + step))).collect();
    victim.hear(leader, term, append(last, three, Index(0)));
    assert_eq!(victim.group().last().index, Index(last.index.0 + 3));
    let contradicted = vec![entry(term, last.index.next())];
    victim.hear(leader, term, append(last, contradicted, Index(0)));
    assert_eq!(victim.impossible(), 1);
    assert_eq!(victim.group().last().index, Index(last.index.0 + 3), "nothing is truncated");
    let commit = Index(last.index.0 + 3);
    victim.hear(leader, term, Body::Heartbeat { commit, round: Round(1), lease: Duration::ZERO });
    assert_eq!(victim.group().commit(), commit);
}

/// A snapshot of a position that contradicts what this term's leader said. It used to be installed, while heartbeats committed
/// what it was to replace: commit fell.
#[test]
fn a_snapshot_does_not_contradict_the_leader() {
    let mut victim = Victim::new(Scene::Follower);
    let (leader, old) = victim.leader();
    let (last, term) = (victim.group().last(), Term(old.0 + 1));
    let three: Vec<_> = (1..=3).map(|step| entry(term, Index(last.index.0 + step))).collect();
    victim.hear(leader, term, append(last, three, Index(0)));
    let applied = Position { term: old, index: Index(last.index.0 + 2) };
    let machine = Machine { applied, hash: 7 };
    let configuration = victim.group().configuration().clone();
    let snapshot = SnapshotMeta { id: SnapshotId(9), position: applied, configuration };
    let data = machine.encode();
    let body = Body::Snapshot { snapshot, offset: 0, data, last: true, to_learner: false };
    victim.hear(leader, term, body);
    assert_eq!(victim.group().counters().snapshots_installed, 0);
    assert_eq!(victim.group().last(), Position { term, index: Index(last.index.0 + 3) });
}

/// After an impostor's term, whoever is elected leads on.
#[test]
fn a_replica_that_was_lied_to_follows_the_next_leader() {
    let mut victim = Victim::new(Scene::Follower);
    let (last, lied) = (victim.group().last(), Term(victim.group().leader().term.0 + 1));
    let entries = vec![entry(lied, Index(1))];
    victim.hear(ReplicaId(77), lied, append(Position::default(), entries, Index(1)));
    assert_eq!(victim.impossible(), 1);
    let (leader, term) = (victim.other(), Term(lied.0 + 1));
    let next = last.index.next();
    let said = victim.hear(leader, term, append(last, vec![entry(term, next)], next));
    assert!(said.iter().any(|message| message.body == Body::AppendAck { index: next }), "{said:?}");
    assert_eq!(victim.group().commit(), next);
}

/// Grants of strangers elect nobody, and are not kept: each of them would cost memory.
#[test]
fn votes_of_strangers_are_not_counted() {
    for scene in [Scene::PreCandidate, Scene::Candidate] {
        let mut victim = Victim::new(scene);
        let role = victim.group().role();
        let (term, body) = match role {
            Role::PreCandidate => {
                (Term(victim.group().leader().term.0 + 1), Body::PreVoteAnswer { granted: true })
            }
            _ => (victim.group().leader().term, Body::VoteAnswer { granted: true }),
        };
        for stranger in 70..170 {
            victim.hear(ReplicaId(stranger), term, body.clone());
        }
        assert_eq!(victim.group().counters().dropped_unknown, 100);
        assert_eq!(victim.group().role(), role);
        victim.hear(victim.other(), term, body);
        assert_ne!(victim.group().role(), role, "a voter's grant counts");
    }
}

/// A candidate asks again and again while the voter's disk is slow: one answer waits, not thousands.
#[test]
fn a_vote_asked_for_often_is_answered_once() {
    let mut victim = Victim::new(Scene::Follower);
    victim.now = victim.now + Duration::from_secs(10);
    let (candidate, term) = (victim.other(), Term(victim.group().leader().term.0 + 1));
    let (last, to) = (victim.group().last(), victim.group().id());
    let body = Body::Vote { last, transfer: false };
    for _ in 0..1000 {
        victim.receive(Message { from: candidate, to, term, body: body.clone() });
        let effects = victim.group_mut().poll_effects();
        assert!(effects.messages.is_empty(), "the vote is not durable yet");
        victim.node.disk.written.extend(effects.persist);
    }
    let said = victim.host(&mut Random::new(1));
    let granted = |message: &&Message| message.body == Body::VoteAnswer { granted: true };
    assert_eq!(said.iter().filter(granted).count(), 1);
}

/// A lease that no start would wait for is not promised, and what comes with it not acknowledged.
#[test]
fn an_endless_lease_is_not_promised() {
    let mut victim = Victim::new(Scene::Follower);
    let (leader, term) = victim.leader();
    let beat = |lease| Body::Heartbeat { commit: Index(0), round: Round(9), lease };
    assert!(victim.hear(leader, term, beat(Duration::MAX)).is_empty());
    assert_eq!(victim.impossible(), 1);
    assert_eq!(victim.hear(leader, term, beat(Duration::from_millis(900))).len(), 1);
}

/// Whoever acknowledges what was never sent renews no lease and commits nothing.
#[test]
fn acknowledgements_of_what_was_never_sent_are_refused() {
    let mut victim = Victim::new(Scene::Leader);
    let (term, last) = (victim.group().leader().term, victim.group().last());
    let now = victim.now;
    victim.group_mut().propose(now, Bytes::from_static(b"x")).unwrap();
    let _unsent = victim.group_mut().poll_effects().messages;
    victim.now = victim.now + Duration::from_millis(850);
    let now = victim.now;
    assert!(!victim.group().can_read_now(now), "the lease has run out");
    let voter = victim.other();
    let (commit, to) = (victim.group().commit(), victim.group().id());
    for body in [
        Body::HeartbeatAck { round: Round(1 << 40), commit },
        Body::AppendAck { index: Index(last.index.0 + 2) },
    ] {
        let before = victim.impossible();
        victim.receive(Message { from: voter, to, term, body });
        assert_eq!(victim.impossible(), before + 1);
    }
    let ack = Body::AppendAck { index: last.index.next() };
    victim.receive(Message { from: ReplicaId(77), to, term, body: ack });
    assert_eq!(victim.group().counters().dropped_unknown, 1);
    assert_eq!(victim.group().commit(), commit);
    assert!(!victim.group().can_read_now(now));
}

/// A second leader of one term is refused, whatever it says.
#[test]
fn a_second_leader_of_a_term_is_refused() {
    let mut victim = Victim::new(Scene::Follower);
    let (last, second) = (victim.group().last(), victim.other());
    let (leader, term) = victim.leader();
    let next = last.index.next();
    let beat = Body::Heartbeat { commit: next, round: Round(1), lease: Duration::ZERO };
    for body in [append(last, vec![entry(term, next)], next), beat, Body::Sleep { last }] {
        let before = victim.impossible();
        assert!(victim.hear(second, term, body).is_empty());
        assert_eq!(victim.impossible(), before + 1);
    }
    assert_eq!(victim.leader(), (leader, term));
    assert_eq!(victim.group().last(), last);
}

/// An answer to a read of an earlier start, or to one that was never asked, confirms nothing.
#[test]
fn answers_to_reads_of_another_start_are_refused() {
    let mut victim = Victim::new(Scene::Follower);
    let (leader, term) = victim.leader();
    let to = victim.group().id();
    let index = victim.group().commit();
    let body = Body::ReadIndexAnswer { read: ReadId(1), nonce: 0x1234, index };
    victim.receive(Message { from: leader, to, term, body });
    assert!(victim.group_mut().poll_effects().reads.is_empty());
    assert_eq!(victim.group().counters().dropped_stale, 1);
}

fn at_the_end_of_numbers(settings: Settings) -> Group {
    let mut config = Config::new(ReplicaId(1), 3);
    config.settings = settings;
    let configuration = Configuration::founding((1..=3).map(ReplicaId));
    let (term, index) = (Term(NUMBER_MAX), Index(NUMBER_MAX));
    let hard_state = HardState { term, vote: None, commit: index };
    let applied = Applied { term, index };
    let restored = Restored { hard_state, applied, configuration, ..Default::default() };
    Group::new(config, restored, Monotonic(u64::MAX - 5))
}

/// The greatest terms, indexes and times there may be: sums saturate or are refused, and nothing overflows.
#[test]
fn the_greatest_numbers_overflow_nothing() {
    let endless = Settings {
        heartbeat: Duration::MAX,
        election_timeout: Duration::MAX,
        lease: Duration::MAX,
        lease_margin: Duration::MAX,
        lease_max: Duration::MAX,
        stall_timeout: Duration::MAX,
        sleep_after: Duration::MAX,
        append_bytes_max: usize::MAX,
        append_entries_max: usize::MAX,
        inflight_messages_max: usize::MAX,
        inflight_bytes_max: usize::MAX,
        uncommitted_bytes_max: usize::MAX,
        apply_bytes_max: usize::MAX,
        trailing_bytes: usize::MAX,
        catch_up_bytes: usize::MAX,
        snapshot_chunk_bytes: usize::MAX,
        ..Settings::default()
    };
    for settings in [endless, Settings::default()] {
        let mut group = at_the_end_of_numbers(settings);
        let now = Monotonic(u64::MAX);
        group.handle_tick(now);
        let term = Term(NUMBER_MAX);
        let hear = |group: &mut Group, from, term, body| {
            group.handle_message(
                now,
                Message { from: ReplicaId(from), to: ReplicaId(1), term, body },
            );
            while let Some(persist) = group.poll_effects().persist {
                group.handle_persisted(persist.id);
            }
        };
        let last = group.last();
        hear(&mut group, 2, term, append(last, vec![], Index(NUMBER_MAX)));
        let beat =
            Body::Heartbeat { commit: Index(0), round: Round(u64::MAX), lease: settings.lease };
        hear(&mut group, 2, term, beat);
        hear(&mut group, 2, term, Body::TimeoutNow);
        assert_eq!((group.role(), group.leader().term), (Role::Candidate, Term(NUMBER_MAX + 1)));
        // Nobody else would say this; but the numbers a replica counts itself go on.
        hear(&mut group, 2, Term(NUMBER_MAX + 1), Body::VoteAnswer { granted: true });
        assert_eq!(group.counters().dropped_impossible, 1);
        group.handle_tick(now);
        assert!(group.deadline().is_some());
    }
}
