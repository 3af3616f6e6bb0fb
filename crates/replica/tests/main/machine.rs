//! What the state machine promises, one promise a test.

use std::time::Duration;

use bytes::Bytes;
use ringfort_replica::command::CommandIdentity;
use ringfort_replica::{EffectKind, Reply};
use ringfort_types::limits::{RETRY_MEMORY_MS, SESSION_OPEN_MAX};
use ringfort_types::request::{Condition, Done, Operation};
use ringfort_types::{SessionId, ShardTime, Version};

use crate::support::{Bench, delete, done_put, get, idempotent, key, put, put_if};

#[test]
fn versions_rise_over_deleted_incarnations_and_keys() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(put("a", "1")), done_put(1));
    assert_eq!(bench.run(delete("a")), Reply::Done(Done::Deleted(Some(Version(2)))));
    assert_eq!(
        bench.run(delete("a")),
        Reply::Done(Done::Deleted(None)),
        "absent: nothing is counted"
    );
    assert_eq!(bench.run(put("b", "1")), done_put(3));
    assert_eq!(bench.run(put("a", "2")), done_put(4));
    assert_eq!(bench.value("a"), Some((Version(4), Bytes::from_static(b"2"))));
}

#[test]
fn every_condition_holds_where_it_should_and_nowhere_else() {
    let version = |numbers: &[u64]| numbers.iter().copied().map(Version).collect::<Box<[_]>>();
    // Condition, holds on an absent key, holds on a key at version 1.
    let table = [
        (Condition::Always, true, true),
        (Condition::Exists, false, true),
        (Condition::Absent, true, false),
        (Condition::VersionIn(version(&[1])), false, true),
        (Condition::VersionIn(version(&[2, 1])), false, true),
        (Condition::VersionIn(version(&[2])), false, false),
        (Condition::VersionIn(version(&[])), false, false),
        (Condition::VersionIn(version(&[0])), false, false),
        (Condition::VersionNotIn(version(&[1])), true, false),
        (Condition::VersionNotIn(version(&[2])), true, true),
        (Condition::version(Version(0)), true, false),
        (Condition::version(Version(1)), false, true),
    ];
    for (condition, on_absent, on_present) in table {
        for (present, holds) in [(false, on_absent), (true, on_present)] {
            let mut bench = Bench::new();
            if present {
                bench.run(put("a", "old"));
            }
            let current = Version(u64::from(present));
            let expected = if holds {
                done_put(current.0 + 1)
            } else {
                Reply::PreconditionFailed { current, operation: None }
            };
            assert_eq!(
                bench.run(put_if("a", "new", condition.clone())),
                expected,
                "{condition:?}, present: {present}"
            );
            let after = bench.value("a").map(|(_, value)| value);
            let expected = if holds { Some("new") } else { present.then_some("old") };
            assert_eq!(after.as_deref(), expected.map(str::as_bytes));
        }
    }
}

#[test]
fn operations_of_one_entry_see_each_other() {
    let mut bench = Bench::new();
    let answers = bench.entry(|payload| {
        for operation in [
            put("a", "1"),
            put_if("a", "2", Condition::version(Version(1))),
            get("a"),
            delete("a"),
            get("a"),
        ] {
            payload.operations(Default::default(), &CommandIdentity::None, false, &[operation]);
        }
    });
    let replies: Vec<_> = answers.into_iter().map(|answer| answer.reply).collect();
    assert_eq!(replies[..2], [done_put(1), done_put(2)]);
    assert!(
        matches!(&replies[2], Reply::Done(Done::Got(Some(found))) if found.value == "2" && found.version == Version(2))
    );
    assert_eq!(
        replies[3..],
        [Reply::Done(Done::Deleted(Some(Version(3)))), Reply::Done(Done::Got(None))]
    );
}

#[test]
fn a_failed_atomic_batch_leaves_no_trace() {
    let mut bench = Bench::new();
    bench.run(put("{t}a", "1"));
    let effects = bench.effects.len();
    // In one entry with a command before it, so that there is something staged to fall back to.
    let answers = bench.entry(|payload| {
        payload.operations(Default::default(), &CommandIdentity::None, false, &[put("{t}a", "2")]);
        let batch = [
            put("{t}a", "3"),
            put("{t}b", "3"),
            delete("{t}a"),
            put_if("{t}c", "3", Condition::Exists),
        ];
        payload.operations(Default::default(), &CommandIdentity::None, true, &batch);
        payload.operations(Default::default(), &CommandIdentity::None, false, &[get("{t}a")]);
    });
    assert_eq!(
        answers[1].reply,
        Reply::PreconditionFailed { current: Version(0), operation: Some(3) }
    );
    assert!(matches!(&answers[2].reply, Reply::Done(Done::Got(Some(found))) if found.value == "2"));
    assert_eq!(bench.value("{t}b"), None);
    assert_eq!(bench.effects.len(), effects + 1, "only the put that came before");
    assert_eq!(bench.run(put("{t}d", "4")), done_put(3), "the batch used no version");
}

#[test]
fn an_atomic_batch_takes_effect_as_a_whole() {
    let mut bench = Bench::new();
    let batch = [put("{t}a", "1"), get("{t}a"), put("{t}b", "2"), delete("{t}a")];
    let Reply::All(all) = bench.command(&CommandIdentity::None, true, &batch).reply else {
        panic!()
    };
    assert_eq!(
        (&all[0], &all[2], &all[3]),
        (&Done::Put(Version(1)), &Done::Put(Version(2)), &Done::Deleted(Some(Version(3))))
    );
    assert!(matches!(&all[1], Done::Got(Some(found)) if found.value == "1"));
    assert_eq!(
        (bench.value("{t}a"), bench.value("{t}b").map(|(_, value)| value)),
        (None, Some(Bytes::from_static(b"2")))
    );
}

#[test]
fn a_keyed_write_happens_once_and_its_answer_is_repeated() {
    let mut bench = Bench::new();
    let first = bench.command(&idempotent("k"), false, &[put("a", "1")]);
    assert_eq!((first.reply, first.replayed), (done_put(1), false));
    bench.run(put("a", "2"));
    let again = bench.command(&idempotent("k"), false, &[put("a", "1")]);
    assert_eq!((again.reply, again.replayed), (done_put(1), true));
    assert_eq!(bench.value("a").unwrap().1, "2");
}

#[test]
fn a_failed_condition_is_remembered() {
    let mut bench = Bench::new();
    let failed = Reply::PreconditionFailed { current: Version(0), operation: None };
    let write = [put_if("a", "1", Condition::Exists)];
    assert_eq!(bench.command(&idempotent("k"), false, &write).reply, failed);
    bench.run(put("a", "0"));
    let again = bench.command(&idempotent("k"), false, &write);
    assert_eq!(
        (again.reply, again.replayed),
        (failed, true),
        "though the condition would hold now"
    );
}

#[test]
fn an_idempotency_key_is_no_good_for_another_request() {
    let mut bench = Bench::new();
    bench.command(&idempotent("k"), false, &[put("a", "1")]);
    for other in [put("a", "2"), delete("a"), put_if("a", "1", Condition::Exists)] {
        let answer = bench.command(&idempotent("k"), false, &[other]);
        assert_eq!((answer.reply, answer.replayed), (Reply::Mismatch, false));
    }
    // Another data key, principal, or position is another scope.
    assert_eq!(bench.command(&idempotent("k"), false, &[put("b", "1")]).reply, done_put(2));
    let CommandIdentity::Key { key, position, .. } = idempotent("k") else { panic!() };
    let bob =
        CommandIdentity::Key { principal: Bytes::from_static(b"bob"), key: key.clone(), position };
    assert_eq!(bench.command(&bob, false, &[put("a", "1")]).reply, done_put(3));
    let in_batch = CommandIdentity::Key { principal: Bytes::from_static(b"ann"), key, position: 0 };
    assert_eq!(bench.command(&in_batch, false, &[put("a", "1")]).reply, done_put(4));
}

#[test]
fn remembered_answers_are_kept_for_ten_minutes_and_then_given_back() {
    let mut bench = Bench::new();
    let empty = bench.machine.retry_bytes();
    for name in ["k1", "k2", "k3"] {
        bench.command(&idempotent(name), false, &[put("a", name)]);
    }
    assert!(bench.machine.retry_bytes() > empty);
    bench.now = ShardTime(bench.now.0 + RETRY_MEMORY_MS);
    assert!(
        bench.command(&idempotent("k2"), false, &[put("a", "k2")]).replayed,
        "ten minutes are not over"
    );
    bench.now = ShardTime(bench.now.0 + 1);
    bench.run(put("b", "1"));
    assert_eq!(bench.machine.retry_bytes(), empty);
    assert!(!bench.command(&idempotent("k2"), false, &[put("a", "k2")]).replayed);
}

#[test]
fn forgetting_goes_on_where_one_entry_could_not_finish() {
    let mut bench = Bench::new();
    for n in 0..200 {
        let identity = CommandIdentity::Key {
            principal: Bytes::new(),
            key: Bytes::from(format!("k{n}")),
            position: 0,
        };
        bench.command(&identity, false, &[put("a", "1")]);
    }
    bench.now = ShardTime(bench.now.0 + RETRY_MEMORY_MS + 1);
    let mut bytes = bench.machine.retry_bytes();
    let mut entries = 0;
    while bytes > 0 {
        bench.run(put("b", "1"));
        assert!(bench.machine.retry_bytes() < bytes);
        bytes = bench.machine.retry_bytes();
        entries += 1;
    }
    assert_eq!(entries, 4);
}

fn open_session(bench: &mut Bench) -> SessionId {
    match bench.entry(ringfort_replica::command::PayloadBuilder::open_session).remove(0).reply {
        Reply::SessionOpened(session) => session,
        other => panic!("{other:?}"),
    }
}

fn sequence(session: SessionId, sequence: u64, lowest_open: u64) -> CommandIdentity {
    CommandIdentity::Session { session, sequence, lowest_open }
}

#[test]
fn a_session_is_the_index_of_its_entry_and_answers_each_sequence_once() {
    let mut bench = Bench::new();
    bench.run(put("x", "0"));
    let session = open_session(&mut bench);
    assert_eq!(session, SessionId(2));
    assert_eq!(bench.command(&sequence(session, 1, 1), false, &[put("a", "1")]).reply, done_put(2));
    assert_eq!(bench.command(&sequence(session, 2, 1), false, &[put("a", "2")]).reply, done_put(3));
    let again = bench.command(&sequence(session, 1, 1), false, &[put("a", "1")]);
    assert_eq!((again.reply, again.replayed), (done_put(2), true));
    let other = bench.command(&sequence(session, 1, 1), false, &[put("a", "other")]);
    assert_eq!(other.reply, Reply::Mismatch);
}

#[test]
fn an_unknown_session_and_a_closed_sequence_are_never_executed() {
    let mut bench = Bench::new();
    let stranger = bench.command(&sequence(SessionId(99), 1, 1), false, &[put("a", "1")]);
    assert_eq!(stranger.reply, Reply::SessionExpired);
    let session = open_session(&mut bench);
    bench.command(&sequence(session, 1, 1), false, &[put("a", "1")]);
    bench.command(&sequence(session, 2, 2), false, &[put("a", "2")]);
    assert_eq!(
        bench.command(&sequence(session, 1, 1), false, &[put("a", "1")]).reply,
        Reply::SessionExpired
    );
    assert_eq!(bench.value("a").unwrap().1, "2");
}

#[test]
fn a_session_has_a_bounded_number_of_writes_open() {
    let mut bench = Bench::new();
    let session = open_session(&mut bench);
    assert_eq!(
        bench.command(&sequence(session, SESSION_OPEN_MAX, 1), false, &[put("a", "1")]).reply,
        done_put(1)
    );
    let full = bench.command(&sequence(session, SESSION_OPEN_MAX + 1, 1), false, &[put("a", "2")]);
    assert_eq!(full.reply, Reply::SessionFull);
    assert_eq!(
        bench.command(&sequence(session, SESSION_OPEN_MAX + 1, 2), false, &[put("a", "2")]).reply,
        done_put(2)
    );
}

#[test]
fn a_session_lives_ten_minutes_after_its_last_use() {
    let mut bench = Bench::new();
    let session = open_session(&mut bench);
    for number in 1..4 {
        bench.now = ShardTime(bench.now.0 + RETRY_MEMORY_MS - 1);
        let answer = bench.command(&sequence(session, number, number), false, &[put("a", "1")]);
        assert_eq!(answer.reply, done_put(number));
    }
    bench.now = ShardTime(bench.now.0 + RETRY_MEMORY_MS + 1);
    assert_eq!(
        bench.command(&sequence(session, 9, 9), false, &[put("a", "2")]).reply,
        Reply::SessionExpired
    );
    assert_eq!(bench.machine.retry_bytes(), 0);
}

fn put_ttl(name: &str, millis: u64) -> Operation {
    let ttl = Some(Duration::from_millis(millis));
    Operation::Put {
        key: key(name),
        value: Bytes::from_static(b"v"),
        ttl,
        condition: Condition::Always,
    }
}

#[test]
fn a_key_lives_until_an_expire_names_its_version() {
    let mut bench = Bench::new();
    bench.run(put_ttl("a", 50));
    assert_eq!(bench.machine.next_due(), Some(ShardTime(1051)));
    bench.now = ShardTime(5000);
    assert!(bench.value("a").is_some(), "no clock is compared");
    let due = bench.machine.due_keys(&bench.engine, bench.now, 10, 1000).unwrap();
    assert_eq!(due.len(), 1);
    bench.run(put_ttl("a", 50));
    bench.entry(|payload| payload.expire(&due));
    assert!(bench.value("a").is_some(), "it names an older version");
    let due = bench.machine.due_keys(&bench.engine, ShardTime(5050), 10, 1000).unwrap();
    assert_eq!(due, [], "not before its time has passed in full");
    let due = bench.machine.due_keys(&bench.engine, ShardTime(5051), 10, 1000).unwrap();
    bench.entry(|payload| payload.expire(&due));
    assert_eq!(bench.value("a"), None);
    assert_eq!(bench.effects.last().unwrap().kind, EffectKind::Expire);
    assert_eq!(
        bench.machine.due_keys(&bench.engine, ShardTime(u64::MAX - 1), 10, 1000).unwrap(),
        []
    );
    assert_eq!(bench.machine.next_due(), None);
}

#[test]
fn a_put_without_a_time_to_live_clears_one() {
    let mut bench = Bench::new();
    bench.run(put_ttl("a", 50));
    bench.run(put("a", "for good"));
    assert_eq!(bench.machine.due_keys(&bench.engine, ShardTime(1 << 40), 10, 1000).unwrap(), []);
    bench.run(put_ttl("b", 50));
    bench.run(delete("b"));
    assert_eq!(bench.machine.due_keys(&bench.engine, ShardTime(1 << 40), 10, 1000).unwrap(), []);
}

#[test]
fn effects_tell_what_happened_in_order() {
    let mut bench = Bench::new();
    bench.run(put("a", "1"));
    bench.run(put("a", "2"));
    bench.run(delete("a"));
    let told: Vec<_> = bench
        .effects
        .iter()
        .map(|e| (e.kind, e.version.0, e.old.as_deref(), e.new.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            (EffectKind::Put, 1, None, Some(&b"1"[..])),
            (EffectKind::Put, 2, Some(&b"1"[..]), Some(&b"2"[..])),
            (EffectKind::Delete, 3, Some(&b"2"[..]), None),
        ]
    );
    assert!(bench.effects.iter().all(|effect| effect.key[..] == *b"\0\0\0\0a"));
}

#[test]
fn what_the_gets_of_one_entry_read_is_bounded() {
    let mut bench = Bench::new();
    let value = Bytes::from(vec![1; 8 << 20]);
    let large = Operation::Put { key: key("a"), value, ttl: None, condition: Condition::Always };
    bench.run(large);
    let mut batch = vec![put("a", "small")];
    batch.extend((0..100).map(|_| get("a")));
    assert!(matches!(bench.command(&CommandIdentity::None, true, &batch).reply, Reply::All(_)));
    bench.run(Operation::Put {
        key: key("a"),
        value: Bytes::from(vec![1; 8 << 20]),
        ttl: None,
        condition: Condition::Always,
    });
    let mut batch = vec![put("b", "1")];
    batch.extend((0..17).map(|_| get("a")));
    assert_eq!(bench.command(&idempotent("k"), true, &batch).reply, Reply::TooLarge);
    assert_eq!(bench.value("b"), None, "nothing of the batch was done");
}

#[test]
fn an_atomic_batch_takes_the_scope_of_each_of_its_operations() {
    let mut bench = Bench::new();
    let at = |position| CommandIdentity::Key {
        principal: Bytes::new(),
        key: Bytes::from_static(b"k"),
        position,
    };
    let batch = [put("{t}a", "1"), put("{t}b", "2"), put("{t}c", "3")];
    assert!(matches!(bench.command(&at(0), true, &batch).reply, Reply::All(_)));
    let again = bench.command(&at(0), true, &batch);
    assert!(again.replayed && matches!(again.reply, Reply::All(_)));
    for (position, operation) in (0..).zip(&batch) {
        let single = bench.command(&at(position), false, std::slice::from_ref(operation));
        assert_eq!((single.reply, single.replayed), (Reply::Mismatch, false), "{position}");
    }
    let overlapping = [put("{t}x", "9"), put("{t}b", "2")];
    assert_eq!(bench.command(&at(0), true, &overlapping).reply, Reply::Mismatch);
    assert_eq!(bench.value("{t}x"), None);
}
