//! The host contract, as a group of one keeps it.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{Config, Group, Message, Persist, ReadId, Restored, Role};
use ringfort_types::{Applied, Entry, HardState, Index, Monotonic, ReplicaId, Term};

fn config() -> Config {
    Config { replica: ReplicaId(7), tick: Duration::from_millis(100) }
}

fn payload(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Brings a fresh group to leadership with its first entry durable and applied.
fn leader() -> Group {
    let mut group = Group::new(config(), Restored::default());
    for _ in 0..2 {
        let persist = group.poll_effects().persist.unwrap();
        group.handle_persisted(persist.id);
    }
    let applied = group.poll_effects().apply;
    group.handle_applied(applied.last().unwrap().index);
    group
}

fn indexes(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.index.0).collect()
}

#[test]
fn a_group_leads_only_once_its_vote_is_durable() {
    let mut group = Group::new(config(), Restored::default());
    assert!(group.propose(payload("early")).is_err());
    let effects = group.poll_effects();
    assert_eq!(effects.role, Some((Role::Candidate, Term(1))));
    let Persist { id, hard_state, entries } = effects.persist.unwrap();
    let vote = HardState { term: Term(1), vote: Some(ReplicaId(7)), commit: Index(0) };
    assert_eq!((hard_state, entries.len()), (Some(vote), 0));
    assert!(group.propose(payload("still early")).is_err());

    group.handle_persisted(id);
    assert_eq!(group.poll_effects().role, Some((Role::Leader, Term(1))));
    assert!(group.propose(payload("now")).is_ok());
}

#[test]
fn nothing_is_committed_before_it_is_durable() {
    let mut group = leader();
    let position = group.propose(payload("a")).unwrap();
    let effects = group.poll_effects();
    assert!(effects.apply.is_empty());
    assert_eq!(group.status().commit, Index(1));

    group.handle_persisted(effects.persist.unwrap().id);
    let apply = group.poll_effects().apply;
    assert_eq!(indexes(&apply), [position.index.0]);
    assert_eq!(apply[0].payload, payload("a"));
}

#[test]
fn persists_overlap_and_complete_in_order() {
    let mut group = leader();
    group.propose(payload("a")).unwrap();
    let first = group.poll_effects().persist.unwrap();
    group.propose(payload("b")).unwrap();
    let second = group.poll_effects().persist.unwrap();
    assert_eq!((indexes(&first.entries), indexes(&second.entries)), (vec![2], vec![3]));

    group.handle_persisted(first.id);
    assert_eq!(indexes(&group.poll_effects().apply), [2]);
    group.handle_persisted(second.id);
    assert_eq!(indexes(&group.poll_effects().apply), [3]);
}

#[test]
fn reads_wait_for_the_first_commit_of_the_term() {
    let mut group = Group::new(config(), Restored::default());
    let vote = group.poll_effects().persist.unwrap();
    group.handle_persisted(vote.id);
    group.read(ReadId(1)).unwrap();
    let effects = group.poll_effects();
    assert!(effects.reads.is_empty() && !group.can_read_now());

    group.handle_persisted(effects.persist.unwrap().id);
    let effects = group.poll_effects();
    assert_eq!(
        effects.reads.iter().map(|ready| (ready.id, ready.index)).collect::<Vec<_>>(),
        [(ReadId(1), Index(1))]
    );
    assert!(!group.can_read_now(), "committed, not applied");
    group.handle_applied(Index(1));
    assert!(group.can_read_now());
}

#[test]
fn a_restart_commits_what_it_finds_by_an_entry_of_its_own_term() {
    let entries = vec![
        Entry { term: Term(3), index: Index(11), payload: payload("x") },
        Entry { term: Term(3), index: Index(12), payload: payload("y") },
    ];
    let hard_state = HardState { term: Term(3), vote: Some(ReplicaId(7)), commit: Index(11) };
    let applied = Applied { index: Index(10), term: Term(2) };
    let mut group = Group::new(config(), Restored { hard_state, applied, entries });
    let effects = group.poll_effects();
    assert_eq!(effects.persist.as_ref().unwrap().hard_state.unwrap().term, Term(4));
    assert_eq!(indexes(&effects.apply), [11], "known committed");

    group.handle_persisted(effects.persist.unwrap().id);
    let effects = group.poll_effects();
    assert!(effects.apply.is_empty(), "the entry of term 3 is not committed by itself");
    let persist = effects.persist.unwrap();
    assert_eq!(indexes(&persist.entries), [13]);
    group.handle_persisted(persist.id);
    assert_eq!(indexes(&group.poll_effects().apply), [12, 13]);
}

#[test]
fn messages_of_strangers_are_dropped_and_counted() {
    let mut group = leader();
    let message = Message { from: ReplicaId(9), to: ReplicaId(7), body: payload("vote for me") };
    group.handle_message(Monotonic(0), &message);
    assert_eq!(group.status().messages_dropped, 1);
    assert!(group.poll_effects().persist.is_none());
}
