//! The same entries give the same state and the same answers, however they are cut into batches and restarts.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use ringfort_replica::command::{CommandIdentity, PayloadBuilder};
use ringfort_replica::{Answer, Applying};
use ringfort_types::limits::RETRY_MEMORY_MS;
use ringfort_types::request::{Condition, Operation};
use ringfort_types::{
    Entry, FeatureLevel, Index, Key, NamespaceId, SessionId, ShardTime, Term, Version,
};

use crate::support::{self, engine};

/// A command in few choices, so that keys, identities and times meet often.
#[derive(Clone, Debug)]
enum Choice {
    Operations(u8, bool, Vec<(u8, u8)>),
    OpenSession,
    Expire(u8, u64),
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        8 => (any::<u8>(), any::<bool>(), proptest::collection::vec((any::<u8>(), any::<u8>()), 1..4))
            .prop_map(|(identity, atomic, operations)| Choice::Operations(identity, atomic, operations)),
        1 => Just(Choice::OpenSession),
        1 => (any::<u8>(), 1..60_u64).prop_map(|(key, version)| Choice::Expire(key, version)),
    ]
}

fn key(number: u8) -> Key {
    Key::new(format!("{{t}}{}", number % 5)).unwrap()
}

fn operation((kind, argument): (u8, u8)) -> Operation {
    let key = key(argument);
    let condition = match argument / 16 {
        0..6 => Condition::Always,
        6..9 => Condition::Exists,
        9..12 => Condition::Absent,
        n => Condition::version(Version(u64::from(n))),
    };
    match kind % 5 {
        0 => Operation::Get { key },
        1 => Operation::Delete { key, condition },
        n => {
            let ttl = (n == 2).then(|| Duration::from_millis(u64::from(argument) * 100));
            Operation::Put {
                key,
                value: Bytes::from(vec![argument; usize::from(argument)]),
                ttl,
                condition,
            }
        }
    }
}

fn identity(number: u8) -> CommandIdentity {
    match number {
        0..100 => CommandIdentity::None,
        100..180 => CommandIdentity::Key {
            principal: Bytes::new(),
            key: Bytes::from(vec![number % 7]),
            position: 0,
        },
        _ => {
            let sequence = u64::from(number % 9);
            let session = SessionId(u64::from(number % 3) + 1);
            CommandIdentity::Session { session, sequence, lowest_open: sequence.saturating_sub(3) }
        }
    }
}

fn entries(script: &[(Vec<Choice>, u16)]) -> Vec<Entry> {
    let mut now = ShardTime(0);
    let mut entries = Vec::new();
    for (index, (choices, pause)) in (1..).zip(script) {
        // Now and then a pause after which remembered answers are due.
        now = ShardTime(now.0 + if *pause < 2000 { RETRY_MEMORY_MS } else { u64::from(*pause) });
        let mut payload = PayloadBuilder::new();
        let mut opened = false;
        for choice in choices {
            match choice {
                Choice::Operations(number, atomic, operations) => {
                    let operations: Vec<_> = operations.iter().copied().map(operation).collect();
                    let count = if *atomic { operations.len() } else { 1 };
                    payload.operations(
                        NamespaceId::default(),
                        &identity(*number),
                        *atomic,
                        &operations[..count],
                    );
                }
                Choice::OpenSession if opened => {}
                Choice::OpenSession => {
                    payload.open_session();
                    opened = true;
                }
                Choice::Expire(number, version) => {
                    let data_key = ringfort_replica::Replica::expiry_name(&key(*number));
                    payload.expire(&[(data_key, Version(*version))]);
                }
            }
        }
        let payload = if payload.is_empty() {
            Bytes::new()
        } else {
            payload.finish(now, FeatureLevel::NEWEST)
        };
        entries.push(Entry { term: Term(1), index: Index(index), payload });
    }
    entries
}

/// Applies the entries in batches of at most `batch`, opening the machine anew before each if `reopen`.
fn apply(entries: &[Entry], batch: usize, reopen: bool) -> (u128, Vec<Answer>, u64) {
    let mut engine = engine();
    let mut machine = support::machine(&engine, 1);
    let mut answers = Vec::new();
    for batch in entries.chunks(batch) {
        if reopen {
            machine = support::machine(&engine, 2);
        }
        let mut out = Applying::default();
        machine.apply(&mut engine, batch, &mut out).unwrap();
        answers.extend(out.answers);
    }
    (machine.state_hash(&engine).unwrap(), answers, machine.retry_bytes())
}

proptest! {
    #[test]
    fn batches_and_restarts_make_no_difference(
        script in proptest::collection::vec((proptest::collection::vec(choice(), 0..5), any::<u16>()), 1..40),
    ) {
        let entries = entries(&script);
        let one_by_one = apply(&entries, 1, false);
        prop_assert_eq!(&apply(&entries, usize::MAX, false), &one_by_one);
        prop_assert_eq!(&apply(&entries, 3, false), &one_by_one);
        prop_assert_eq!(&apply(&entries, 2, true), &one_by_one);
    }
}
