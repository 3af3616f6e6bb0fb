//! A replica over a log in memory: proposals, answers, expiry, restarts.

use std::time::Duration;

use bytes::Bytes;
use ringfort_engine::StorageEngine;
use ringfort_log::{Base, GroupWrite};
use ringfort_raft::{Configuration, Guards, Lost, Settings};
use ringfort_replica::command::{CommandIdentity, DecodeError};
use ringfort_replica::{
    Answer, ListQuery, Listed, MachineError, Output, Reading, Replica, ReplicaConfig, Ticket,
};
use ringfort_types::request::{Condition, Item, Operation};
use ringfort_types::{Entry, FeatureLevel, HardState, Levels, Monotonic, NamespaceId, ReplicaId};

use crate::counting::Counting;
use crate::support::{GROUP, delete, done_put, engine, key, put};

struct Host {
    levels: Levels,
    engine: Counting,
    replica: Replica,
    now: Monotonic,
    hard_state: HardState,
    entries: Vec<Entry>,
    answers: Vec<(Ticket, Answer)>,
}

impl Host {
    fn start(levels: Levels, hard_state: HardState, entries: Vec<Entry>, now: Monotonic) -> Self {
        let mut host = Self::unsettled(levels, hard_state, entries, now);
        host.settle();
        host
    }

    fn unsettled(
        levels: Levels,
        hard_state: HardState,
        entries: Vec<Entry>,
        now: Monotonic,
    ) -> Self {
        let engine = Counting { inner: engine(), batches: Vec::new() };
        let config = ReplicaConfig {
            group: GROUP,
            replica: ReplicaId(1),
            hard_state,
            base: Base::default(),
            entries: entries.clone(),
            lost: Lost::Nothing,
            founding: Configuration::founding([ReplicaId(1)]),
            settings: Settings::default(),
            levels,
            seed: 1,
            guards: Guards::default(),
            payload_bytes_target: 1 << 20,
            expire_keys_max: 256,
        };
        let replica = Replica::new(config, &engine, now).unwrap();
        let answers = Vec::new();
        Self { levels, engine, replica, now, hard_state, entries, answers }
    }

    /// Turns until nothing is left to do; everything submitted becomes durable at once.
    fn settle(&mut self) {
        self.try_settle().unwrap();
    }

    fn try_settle(&mut self) -> Result<(), MachineError> {
        loop {
            let mut out = Output::default();
            self.replica.poll(&mut self.engine, self.now, &mut out)?;
            assert!(out.lost.is_empty());
            self.answers.append(&mut out.answers);
            if out.writes.is_empty() {
                return Ok(());
            }
            for write in out.writes {
                let GroupWrite::Append { hard_state, entries, .. } = write else {
                    panic!("{write:?}")
                };
                self.hard_state = hard_state.unwrap_or(self.hard_state);
                self.entries.extend(entries);
            }
            for (_, persist) in out.persists {
                self.replica.handle_persisted(persist);
            }
        }
    }

    fn write(&mut self, ticket: u64, operation: Operation) {
        self.replica
            .enqueue(
                &self.engine,
                self.now,
                Ticket(ticket),
                &CommandIdentity::None,
                false,
                &[operation],
            )
            .unwrap();
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.replica.handle_tick(&self.engine, self.now).unwrap();
        self.settle();
    }

    fn restart(self, down: Duration) -> Self {
        Self::start(self.levels, self.hard_state, self.entries, self.now + down)
    }

    fn list(&self) -> Vec<String> {
        let mut all = everything();
        (all.limit, all.key_bytes_max) = (1000, 10_000);
        names(&self.replica.list(&self.engine, self.now, &all).unwrap())
    }

    fn reads(&self, name: &str) -> Option<Bytes> {
        match self.replica.get(&self.engine, self.now, &key(name)).unwrap() {
            Reading::Found(found) => found.map(|found| found.value),
            Reading::Due(..) => None,
        }
    }
}

fn fresh() -> Host {
    at_levels(Levels::active(FeatureLevel::NEWEST))
}

fn at_levels(levels: Levels) -> Host {
    Host::start(levels, HardState::default(), Vec::new(), Monotonic(1_000_000_000))
}

fn everything() -> ListQuery {
    ListQuery {
        namespace: NamespaceId::default(),
        prefix: Bytes::new(),
        start: Bytes::new(),
        end: None,
        after: None,
        limit: 100,
        key_bytes_max: 100,
    }
}

fn names(listed: &Listed) -> Vec<String> {
    let name = |item: &Item| String::from_utf8_lossy(item.key.as_bytes()).into_owned();
    listed.items.iter().map(name).collect()
}

fn put_ttl(name: &str, ttl: Duration) -> Operation {
    Operation::Put {
        key: key(name),
        value: Bytes::from_static(b"v"),
        ttl: Some(ttl),
        condition: Condition::Always,
    }
}

#[test]
fn what_is_queued_in_one_turn_becomes_one_entry_answered_in_order() {
    let mut host = fresh();
    let before = host.entries.len();
    for ticket in 0..10 {
        host.write(ticket, put("a", "1"));
    }
    host.settle();
    assert_eq!(host.entries.len(), before + 1);
    let replies: Vec<_> =
        host.answers.iter().map(|(ticket, answer)| (ticket.0, answer.reply.clone())).collect();
    assert_eq!(replies, (0..10).map(|n| (n, done_put(n + 1))).collect::<Vec<_>>());
}

#[test]
fn a_restart_replays_to_the_same_state() {
    let mut host = fresh();
    for (ticket, operation) in
        [put("a", "1"), put("b", "2"), delete("a"), put_ttl("c", Duration::from_secs(9))]
            .into_iter()
            .enumerate()
    {
        host.write(ticket as u64, operation);
        host.settle();
    }
    let hash = host.replica.state_hash(&host.engine).unwrap();
    let host = host.restart(Duration::from_secs(1));
    assert_eq!(host.replica.state_hash(&host.engine).unwrap(), hash);
    assert!(host.replica.can_read_now(Monotonic(0)));
}

#[test]
fn a_key_is_never_gone_early_and_gone_soon_after_its_time() {
    let mut host = fresh();
    host.write(1, put_ttl("a", Duration::from_secs(5)));
    host.settle();
    for _ in 0..50 {
        assert!(host.reads("a").is_some());
        host.pass(Duration::from_millis(100));
    }
    host.pass(Duration::from_millis(1));
    assert!(matches!(
        host.replica.get(&host.engine, host.now, &key("a")).unwrap(),
        Reading::Found(None)
    ));
}

#[test]
fn shard_time_survives_a_restart_up_to_half_a_second() {
    let mut host = fresh();
    host.write(1, put_ttl("a", Duration::from_secs(10)));
    host.settle();
    for _ in 0..80 {
        host.pass(Duration::from_millis(100));
    }
    let mut host = host.restart(Duration::from_secs(3600));
    assert!(host.reads("a").is_some(), "the time it was down does not count");
    host.pass(Duration::from_millis(1400));
    assert!(host.reads("a").is_some());
    for _ in 0..12 {
        host.pass(Duration::from_millis(100));
    }
    assert_eq!(host.reads("a"), None, "of 8 s before the restart at most half a second was lost");
}

#[test]
fn idle_shards_without_a_time_to_live_write_nothing() {
    let mut host = fresh();
    host.write(1, put("a", "1"));
    host.settle();
    let before = host.entries.len();
    for _ in 0..100 {
        host.pass(Duration::from_millis(100));
    }
    assert_eq!(host.entries.len(), before);
}

#[test]
fn a_command_on_a_due_key_finds_it_expired() {
    let mut host = fresh();
    host.write(1, put_ttl("a", Duration::from_secs(1)));
    host.settle();
    // No tick in between: nothing but the command itself can have the key expired.
    host.now = host.now + Duration::from_secs(2);
    let absent = Operation::Put {
        key: key("a"),
        value: Bytes::new(),
        ttl: None,
        condition: Condition::Absent,
    };
    host.write(2, absent);
    host.settle();
    assert_eq!(host.answers.last().unwrap().1.reply, done_put(3), "2 was its expiry");
}

#[test]
fn a_listing_is_bounded_and_in_order() {
    let mut host = fresh();
    for name in ["b", "a", "ab", "c", "aa", "\u{ff}"] {
        host.write(1, put(name, "v"));
    }
    host.settle();
    let list =
        |query: &ListQuery| names(&host.replica.list(&host.engine, host.now, query).unwrap());
    let all = everything();
    assert_eq!(list(&all), ["a", "aa", "ab", "b", "c", "\u{ff}"]);
    assert_eq!(list(&ListQuery { prefix: "a".into(), ..all.clone() }), ["a", "aa", "ab"]);
    assert_eq!(
        list(&ListQuery { prefix: "a".into(), after: Some(key("a")), ..all.clone() }),
        ["aa", "ab"]
    );
    assert_eq!(
        list(&ListQuery { start: "aa".into(), end: Some("b".into()), ..all.clone() }),
        ["aa", "ab"]
    );
    assert_eq!(list(&ListQuery { limit: 2, ..all.clone() }), ["a", "aa"]);
    assert_eq!(list(&ListQuery { key_bytes_max: 2, ..all.clone() }), ["a", "aa"]);
    let one = ListQuery { limit: 1, after: Some(key("ab")), ..all.clone() };
    assert_eq!(host.replica.list(&host.engine, host.now, &one).unwrap().behind, Some(key("b")));
    assert_eq!(host.replica.list(&host.engine, host.now, &all).unwrap().behind, None);
    assert!(!host.engine.blocks());
}

/// The story: a page left out a key that was due by the leader's clock before the entry that removes it, and a read of a later
/// leader, whose clock was behind, showed it again.
#[test]
fn a_listing_shows_what_is_due_until_its_expiry_is_applied() {
    let mut host = fresh();
    host.write(1, put_ttl("a", Duration::from_millis(10)));
    host.write(2, put_ttl("b", Duration::from_secs(5)));
    host.settle();
    let (before, asked) = (host.now, host.now + Duration::from_millis(20));
    host.now = host.now + Duration::from_secs(1);
    let listed = host.replica.list(&host.engine, host.now, &everything()).unwrap();
    assert_eq!(names(&listed), ["a", "b"]);
    assert_eq!(listed.items[0].ttl_ms, Some(0));
    let due = listed.first_due.unwrap();
    assert!(host.replica.was_due(host.now, asked, due));
    assert!(!host.replica.was_due(host.now, before, due), "it became due after that was asked");
    assert!(!host.replica.expire_due(&host.engine, host.now, before).unwrap());
    assert!(host.replica.expire_due(&host.engine, host.now, asked).unwrap());
    assert_eq!(host.list(), ["a", "b"], "the entry is not even proposed");
    host.settle();
    assert!(!host.replica.expire_due(&host.engine, host.now, asked).unwrap());
    assert_eq!(host.list(), ["b"]);
}

/// However much is due: one bounded entry under way at a time, whoever asks how often.
#[test]
fn what_listings_have_expired_goes_in_bounded_entries() {
    const DUE: usize = 700;
    let mut host = fresh();
    for number in 0..DUE as u64 {
        host.write(number, put_ttl(&format!("{number:03}"), Duration::from_millis(10)));
    }
    host.write(1, put("live", "v"));
    host.settle();
    host.now = host.now + Duration::from_secs(1);
    let (asked, before) = (host.now, host.entries.len());
    for left in [444, 188, 0] {
        for _ in 0..3 {
            assert!(host.replica.expire_due(&host.engine, host.now, asked).unwrap());
        }
        // Nor does a tick put another one beside it.
        host.replica.handle_tick(&host.engine, host.now).unwrap();
        host.settle();
        assert_eq!(host.list().len(), left + 1);
    }
    assert!(!host.replica.expire_due(&host.engine, host.now, asked).unwrap());
    assert_eq!(host.entries.len(), before + 3);
}

/// A start finds the whole log committed: it is applied bit by bit, or memory would hold it once more.
#[test]
fn a_log_is_replayed_in_bounded_batches() {
    let levels = Levels::active(FeatureLevel::NEWEST);
    let mut host = Host::start(levels, HardState::default(), Vec::new(), Monotonic(1));
    let large = "x".repeat(300 << 10);
    for number in 0..1000 {
        let value = if number % 50 == 0 { &large } else { "small" };
        host.write(number, put(&format!("{number}"), value));
        host.settle();
    }
    let entries = host.entries.len() as u64;
    let state = host.replica.state_hash(&host.engine).unwrap();
    let host = host.restart(Duration::ZERO);
    assert_eq!(host.replica.state_hash(&host.engine).unwrap(), state);
    let batches = &host.engine.batches;
    assert_eq!(batches.iter().map(|(entries, _)| entries).sum::<u64>(), entries + 1);
    for (entries, bytes) in batches {
        assert!(
            *entries <= 128 && *bytes <= (1 << 20) + 128 * 64,
            "{entries} entries, {bytes} bytes"
        );
    }
    assert!(batches.len() < 30, "{batches:?}");
}

const OLD: FeatureLevel = FeatureLevel(1);
const NEW: FeatureLevel = FeatureLevel(2);

fn stamped(host: &Host) -> FeatureLevel {
    FeatureLevel(host.entries.last().unwrap().payload[1])
}

#[test]
fn a_leader_stamps_the_active_level_which_only_rises() {
    let mut host = at_levels(Levels { active: OLD, known: NEW });
    host.write(1, put("a", "1"));
    host.settle();
    assert_eq!(stamped(&host), OLD, "what is active counts, not what is known");
    host.write(2, put("a", "2"));
    host.replica.raise_level(NEW);
    host.settle();
    assert_eq!(stamped(&host), NEW);
    host.replica.raise_level(OLD);
    host.write(3, put("a", "3"));
    host.settle();
    assert_eq!(stamped(&host), NEW, "a lower level is of an old copy of the catalog");
    assert_eq!(host.answers.len(), 3);
}

#[test]
fn a_replica_stops_before_an_entry_of_a_newer_level() {
    let mut host = at_levels(Levels { active: OLD, known: NEW });
    host.write(1, put("a", "1"));
    host.settle();
    host.replica.raise_level(NEW);
    host.write(2, put("a", "2"));
    host.settle();
    // An executable that knows the old one alone, over the same log.
    let levels = Levels { active: OLD, known: OLD };
    let Host { hard_state, entries, now, .. } = host;
    let newer = entries.last().unwrap().index;
    let mut host = Host::unsettled(levels, hard_state, entries, now + Duration::from_secs(1));
    let error = host.try_settle().unwrap_err();
    let MachineError::Entry { index, source } = error else { panic!("{error}") };
    assert_eq!(
        (index, &source),
        (newer, &DecodeError::Newer { format: 1, level: NEW, known: OLD })
    );
    let said = source.to_string();
    assert!(said.contains("feature level 2") && said.contains("levels up to 1"), "{said}");
    assert!(host.replica.applied() < newer);
}
