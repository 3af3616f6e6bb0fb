//! Any message that a node may send.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use ringfort_proto::{Ask, Forward, Reply, RequestId, Told};
use ringfort_raft::{
    Body, Configuration, Learner, LostCopy, Message, Position, ReadId, Round, SnapshotId,
    SnapshotMeta,
};
use ringfort_types::request::{
    Answered, Batch, Condition, Consistency, Done, Found, Get, Got, Identity, Item, List,
    Operation, Page, Principal, Trace, Write,
};
use ringfort_types::{
    Code, Entry, Epoch, GroupId, Index, Key, Outcome, Refusal, ReplicaId, SessionId, ShardId, Term,
    Version,
};

/// Any number, small ones and the greatest more often.
fn number() -> BoxedStrategy<u64> {
    prop_oneof![0_u64..300, Just(u64::MAX), any::<u64>()].boxed()
}

fn bytes(len: std::ops::Range<usize>) -> BoxedStrategy<Bytes> {
    vec(any::<u8>(), len).prop_map(Bytes::from).boxed()
}

fn key() -> BoxedStrategy<Key> {
    prop_oneof![bytes(1..20), bytes(4096..4097)].prop_map(|bytes| Key::new(bytes).unwrap()).boxed()
}

fn position() -> BoxedStrategy<Position> {
    let parts = (number(), number());
    parts.prop_map(|(term, index)| Position { term: Term(term), index: Index(index) }).boxed()
}

fn configuration() -> BoxedStrategy<Configuration> {
    let learners = vec(option::of(1_u64..100), 0..3);
    let parts = (vec(any::<bool>(), 9), vec(any::<bool>(), 9), learners, 1_u64..10);
    parts
        .prop_map(|(voters, outgoing, learners, always)| {
            let ids = |chosen: Vec<bool>, always: u64| -> Vec<ReplicaId> {
                let ids = (1..).zip(chosen);
                ids.filter(|(id, chosen)| *chosen || *id == always)
                    .map(|(id, _)| ReplicaId(id))
                    .collect()
            };
            let learner = |(id, replaces): (u64, Option<u64>)| Learner {
                id: ReplicaId(id),
                replaces: replaces.map(ReplicaId),
            };
            let learners = (50..).zip(learners).map(learner).collect();
            Configuration::new(ids(voters, always), ids(outgoing, 0), learners, ReplicaId(100))
                .unwrap()
        })
        .boxed()
}

fn entry() -> BoxedStrategy<Entry> {
    let parts = (position(), bytes(0..40));
    parts.prop_map(|(at, payload)| Entry { term: at.term, index: at.index, payload }).boxed()
}

fn body() -> BoxedStrategy<Body> {
    let index = || number().prop_map(Index);
    let lost = prop_oneof![Just(LostCopy::No), Just(LostCopy::Entries), Just(LostCopy::Blank)];
    let asked = (number().prop_map(ReadId), any::<u64>());
    let snapshot = (number().prop_map(SnapshotId), position(), configuration())
        .prop_map(|(id, position, configuration)| SnapshotMeta { id, position, configuration });
    let chunk = (snapshot, number(), bytes(0..40), any::<bool>(), any::<bool>());
    prop_oneof![
        position().prop_map(|last| Body::PreVote { last }),
        any::<bool>().prop_map(|granted| Body::PreVoteAnswer { granted }),
        (position(), any::<bool>()).prop_map(|(last, transfer)| Body::Vote { last, transfer }),
        any::<bool>().prop_map(|granted| Body::VoteAnswer { granted }),
        (position(), vec(entry(), 0..4), index())
            .prop_map(|(previous, entries, commit)| Body::Append { previous, entries, commit }),
        index().prop_map(|index| Body::AppendAck { index }),
        (index(), position(), lost).prop_map(|(previous, hint, lost)| Body::AppendReject {
            previous,
            hint,
            lost
        }),
        (index(), number().prop_map(Round), number().prop_map(Duration::from_nanos))
            .prop_map(|(commit, round, lease)| Body::Heartbeat { commit, round, lease }),
        (number().prop_map(Round), index())
            .prop_map(|(round, commit)| Body::HeartbeatAck { round, commit }),
        chunk.prop_map(|(snapshot, offset, data, last, to_learner)| Body::Snapshot {
            snapshot,
            offset,
            data,
            last,
            to_learner
        }),
        (number().prop_map(SnapshotId), number())
            .prop_map(|(id, offset)| Body::SnapshotAck { id, offset }),
        Just(Body::TimeoutNow),
        asked.clone().prop_map(|(read, nonce)| Body::ReadIndex { read, nonce }),
        (asked, index()).prop_map(|((read, nonce), index)| Body::ReadIndexAnswer {
            read,
            nonce,
            index
        }),
        position().prop_map(|last| Body::Sleep { last }),
        Just(Body::OldTerm),
    ]
    .boxed()
}

pub(crate) fn consensus() -> BoxedStrategy<(GroupId, Message)> {
    let parts = (any::<u32>(), number(), number(), number(), body());
    parts
        .prop_map(|(group, from, to, term, body)| {
            let (from, to, term) = (ReplicaId(from), ReplicaId(to), Term(term));
            (GroupId(group), Message { from, to, term, body })
        })
        .boxed()
}

fn condition() -> BoxedStrategy<Condition> {
    let versions = || vec(number().prop_map(Version), 0..4).prop_map(Vec::into_boxed_slice);
    prop_oneof![
        Just(Condition::Always),
        Just(Condition::Exists),
        Just(Condition::Absent),
        versions().prop_map(Condition::VersionIn),
        versions().prop_map(Condition::VersionNotIn),
    ]
    .boxed()
}

fn write_operation() -> BoxedStrategy<Operation> {
    let ttl = option::of((1_u64..=864_000_000_000).prop_map(Duration::from_millis));
    prop_oneof![
        (key(), bytes(0..40), ttl, condition()).prop_map(|(key, value, ttl, condition)| {
            Operation::Put { key, value, ttl, condition }
        }),
        (key(), condition()).prop_map(|(key, condition)| Operation::Delete { key, condition }),
    ]
    .boxed()
}

fn operation() -> BoxedStrategy<Operation> {
    prop_oneof![key().prop_map(|key| Operation::Get { key }), write_operation()].boxed()
}

fn identity() -> BoxedStrategy<Identity> {
    let session =
        (number(), 1..=u64::MAX, number()).prop_map(|(session, sequence, lowest_open)| {
            Identity::Session { session: SessionId(session), sequence, lowest_open }
        });
    let key = vec(0x21_u8..0x7f, 1..=64).prop_map(|key| Identity::IdempotencyKey(key.into()));
    prop_oneof![Just(Identity::None), key, session].boxed()
}

fn consistency() -> BoxedStrategy<Consistency> {
    prop_oneof![Just(Consistency::Linearizable), Just(Consistency::Stale)].boxed()
}

fn shards() -> BoxedStrategy<Vec<ShardId>> {
    vec((0_u32..4096).prop_map(ShardId), 0..6).boxed()
}

fn list() -> BoxedStrategy<List> {
    let ends = (bytes(0..8), bytes(0..8), option::of(bytes(0..8)), option::of(key()));
    let bounds = (1_usize..=10_000, any::<usize>(), any::<bool>(), consistency());
    (ends, bounds)
        .prop_map(|(ends, bounds)| {
            let (prefix, start, end, after) = ends;
            let (limit, bytes_max, keys_only, consistency) = bounds;
            List { prefix, start, end, after, limit, bytes_max, keys_only, consistency }
        })
        .boxed()
}

fn ask() -> BoxedStrategy<Ask> {
    let atomic = (vec(operation(), 1..4), identity()).prop_map(|(operations, identity)| {
        Ask::Atomic(Batch { operations, atomic: true, identity })
    });
    let part = (vec((0_u16..1000, operation()), 1..4), identity())
        .prop_map(|(operations, identity)| Ask::Part { identity, operations });
    prop_oneof![
        (key(), consistency()).prop_map(|(key, consistency)| Ask::Get(Get { key, consistency })),
        (write_operation(), identity())
            .prop_map(|(operation, identity)| Ask::Write(Write { operation, identity })),
        atomic,
        part,
        (list(), shards()).prop_map(|(list, shards)| Ask::List { list, shards }),
    ]
    .boxed()
}

pub(crate) fn forward() -> BoxedStrategy<Forward> {
    let names = (number(), any::<u32>(), option::of(1..=u64::MAX), number());
    let context = (any::<u32>(), option::of("[a-zé]{1,8}"), bytes(0..60));
    (names, context, ask())
        .prop_map(|((id, shard, replica, epoch), (timeout, principal, trace), ask)| Forward {
            id: RequestId(id),
            shard: ShardId(shard),
            replica: replica.map(ReplicaId),
            epoch: Epoch(epoch),
            timeout: Duration::from_millis(timeout.into()),
            principal: Principal(principal.map(Arc::from)),
            trace: Trace(trace),
            ask,
        })
        .boxed()
}

fn found() -> BoxedStrategy<Found> {
    let parts = (number().prop_map(Version), bytes(0..40), option::of(number()));
    parts.prop_map(|(version, value, ttl_ms)| Found { version, value, ttl_ms }).boxed()
}

fn answered() -> BoxedStrategy<Answered> {
    let version = || number().prop_map(Version);
    let done = prop_oneof![
        option::of(found()).prop_map(Done::Got),
        version().prop_map(Done::Put),
        option::of(version()).prop_map(Done::Deleted),
    ];
    (done, any::<bool>()).prop_map(|(done, replayed)| Answered { done, replayed }).boxed()
}

fn refusal() -> BoxedStrategy<Refusal> {
    let code = (0..Code::ALL.len()).prop_map(|at| Code::ALL[at]);
    let outcome =
        prop_oneof![Just(None), Just(Some(Outcome::NotApplied)), Just(Some(Outcome::Unknown))];
    let rest = (option::of(number().prop_map(Version)), option::of(0_usize..1000), any::<bool>());
    (code, ".{0,20}", outcome, rest)
        .prop_map(|(code, detail, outcome, (current_version, failed_op, replayed))| Refusal {
            code,
            detail: Cow::Owned(detail),
            outcome,
            current_version,
            failed_op,
            replayed,
        })
        .boxed()
}

fn page() -> BoxedStrategy<Page> {
    let item = (key(), found()).prop_map(|(key, found)| Item {
        key,
        version: found.version,
        value: found.value,
        ttl_ms: found.ttl_ms,
    });
    (vec(item, 0..4), any::<bool>(), option::of(number()))
        .prop_map(|(items, more, staleness_ms)| Page { items, more, staleness_ms })
        .boxed()
}

pub(crate) fn reply() -> BoxedStrategy<Reply> {
    let got = (option::of(found()), option::of(number()))
        .prop_map(|(found, staleness_ms)| Got { found, staleness_ms });
    let result = prop_oneof![answered().prop_map(Ok), refusal().prop_map(Err)];
    let not_leader = (any::<u32>(), option::of(1..=u64::MAX), number(), number());
    let told = prop_oneof![
        got.prop_map(Told::Got),
        answered().prop_map(Told::Answered),
        vec(result, 0..4).prop_map(Told::All),
        (page(), shards()).prop_map(|(page, shards)| Told::Page { page, shards }),
        refusal().prop_map(Told::Refused),
        not_leader.prop_map(|(shard, leader, term, epoch)| Told::NotLeader {
            shard: ShardId(shard),
            leader: leader.map(ReplicaId),
            term: Term(term),
            epoch: Epoch(epoch),
        }),
    ];
    (number(), told).prop_map(|(id, told)| Reply { id: RequestId(id), told }).boxed()
}
