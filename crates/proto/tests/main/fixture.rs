//! The bytes of one frame with everything in it, and of a hello. They never change: a node of another version reads them.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use ringfort_proto::cluster::Record;
use ringfort_proto::peer::{
    CatalogDelta, Channel, Consensus, Frame, Gossip, Hello, Led, PairHeartbeat, PairHeartbeatAck,
    Room,
};
use ringfort_proto::{Ask, Forward, PROTOCOL, Reply, RequestId, Told, decode_frame};
use ringfort_raft::{
    Body, Configuration, LostCopy, Message, Position, ReadId, Round, SnapshotId, SnapshotMeta,
};
use ringfort_types::request::{
    Answered, Batch, Condition, Consistency, Done, Found, Get, Got, Identity, Item, List,
    Operation, Page, Principal, Trace, Write,
};
use ringfort_types::{
    Code, Entry, Epoch, GroupId, Index, Key, Outcome, Refusal, ReplicaId, SessionId, ShardId, Term,
    Version,
};

const FRAME: &str = include_str!("../fixtures/frame-v1.hex");
const HELLO: &str = include_str!("../fixtures/hello-v1.hex");

fn key(text: &'static str) -> Key {
    Key::new(text).unwrap()
}

fn at(term: u64, index: u64) -> Position {
    Position { term: Term(term), index: Index(index) }
}

/// One of each kind.
fn bodies() -> Vec<Body> {
    let entry = Entry { term: Term(1), index: Index(2), payload: Bytes::from_static(b"payload") };
    let snapshot = SnapshotMeta {
        id: SnapshotId(1),
        position: at(2, 3),
        configuration: Configuration::founding([ReplicaId(4096), ReplicaId(4097)]),
    };
    let (read, nonce) = (ReadId(1), 2);
    vec![
        Body::PreVote { last: at(1, 2) },
        Body::PreVoteAnswer { granted: true },
        Body::Vote { last: at(1, 2), transfer: true },
        Body::VoteAnswer { granted: true },
        Body::Append { previous: at(1, 2), entries: vec![entry], commit: Index(3) },
        Body::AppendAck { index: Index(1) },
        Body::AppendReject { previous: Index(1), hint: at(2, 3), lost: LostCopy::Blank },
        Body::Heartbeat {
            commit: Index(1),
            round: Round(2),
            lease: Duration::from_nanos(1_500_000_001),
        },
        Body::HeartbeatAck { round: Round(1), commit: Index(2) },
        Body::Snapshot {
            snapshot,
            offset: 4,
            data: Bytes::from_static(b"data"),
            last: true,
            to_learner: true,
        },
        Body::SnapshotAck { id: SnapshotId(1), offset: 2 },
        Body::TimeoutNow,
        Body::ReadIndex { read, nonce },
        Body::ReadIndexAnswer { read, nonce, index: Index(3) },
        Body::Sleep { last: at(1, 2) },
        Body::OldTerm,
    ]
}

fn consensus() -> Vec<Consensus> {
    let message =
        |body| Message { from: ReplicaId(4096), to: ReplicaId(4097), term: Term(5), body };
    bodies().into_iter().map(|body| (GroupId(3), message(body)).into()).collect()
}

fn asks() -> Vec<Ask> {
    let put = |condition| Operation::Put {
        key: key("put"),
        value: Bytes::from_static(b"value"),
        ttl: Some(Duration::from_millis(1500)),
        condition,
    };
    let delete = |condition| Operation::Delete { key: key("delete"), condition };
    let versions = || Box::from([Version(1), Version(300)]);
    let session = Identity::Session { session: SessionId(1), sequence: 2, lowest_open: 3 };
    let list = List {
        prefix: Bytes::from_static(b"p"),
        start: Bytes::from_static(b"pa"),
        end: Some(Bytes::from_static(b"pz")),
        after: Some(key("pb")),
        limit: 100,
        bytes_max: 4_194_304,
        keys_only: true,
        consistency: Consistency::Stale,
    };
    vec![
        Ask::Get(Get { key: key("get"), consistency: Consistency::Stale }),
        Ask::Write(Write {
            operation: put(Condition::VersionIn(versions())),
            identity: Identity::IdempotencyKey(Bytes::from_static(b"idempotency")),
        }),
        Ask::Atomic(Batch {
            operations: vec![Operation::Get { key: key("get") }, put(Condition::Exists)],
            atomic: true,
            identity: session,
        }),
        Ask::Part {
            identity: Identity::None,
            operations: vec![
                (3, delete(Condition::Absent)),
                (7, delete(Condition::VersionNotIn(versions()))),
            ],
        },
        Ask::List { list, shards: vec![ShardId(2), ShardId(5)] },
    ]
}

fn tells() -> Vec<Told> {
    let found =
        || Found { version: Version(1), value: Bytes::from_static(b"value"), ttl_ms: Some(2) };
    let refusal = Refusal {
        code: Code::PreconditionFailed,
        detail: Cow::Borrowed("detail"),
        outcome: Some(Outcome::NotApplied),
        current_version: Some(Version(0)),
        failed_op: Some(1),
        replayed: true,
    };
    let done = |done| Ok(Answered { done, replayed: true });
    let all = vec![
        done(Done::Got(Some(found()))),
        done(Done::Got(None)),
        done(Done::Put(Version(4))),
        done(Done::Deleted(Some(Version(5)))),
        done(Done::Deleted(None)),
        Err(Refusal { outcome: Some(Outcome::Unknown), ..refusal.clone() }),
    ];
    let item = Item {
        key: key("item"),
        version: Version(1),
        value: Bytes::from_static(b"value"),
        ttl_ms: Some(2),
    };
    vec![
        Told::Got(Got { found: Some(found()), staleness_ms: Some(3) }),
        Told::Answered(Answered { done: Done::Put(Version(1)), replayed: false }),
        Told::All(all),
        Told::Page {
            page: Page { items: vec![item], more: true, staleness_ms: Some(1) },
            shards: vec![ShardId(2), ShardId(5)],
        },
        Told::Refused(refusal),
        Told::NotLeader {
            shard: ShardId(4),
            leader: Some(ReplicaId(4098)),
            term: Term(2),
            epoch: Epoch(3),
        },
    ]
}

fn frame() -> Frame {
    let forward = |(counter, ask)| Forward {
        id: RequestId::new(1, counter),
        shard: ShardId(2),
        replica: Some(ReplicaId(4097)),
        epoch: Epoch(9),
        timeout: Duration::from_millis(5000),
        principal: Principal(Some("alice".into())),
        trace: Trace(Bytes::from_static(b"trace")),
        ask,
    };
    let reply = |(counter, told)| Reply { id: RequestId::new(1, counter), told };
    let boot_id = || Bytes::from_static(&[0xb0; 16]);
    let record =
        Record { key: "settings".to_owned(), version: 3, value: Bytes::from_static(b"record") };
    Frame {
        consensus: consensus(),
        requests: (1..).zip(asks()).map(|pair| forward(pair).into()).collect(),
        answers: (1..).zip(tells()).map(|pair| reply(pair).into()).collect(),
        gossip: Some(Gossip { epoch: 1, boot_id: boot_id(), ..Gossip::default() }),
        delta: Some(CatalogDelta { since: 2, epoch: 3, records: vec![record] }),
        heartbeat: Some(PairHeartbeat {
            round: 1,
            set_version: 2,
            led: vec![Led { group: 1, from: 4096, term: 3 }],
            lease_us: 4,
            boot_id: boot_id(),
            worker: 1,
        }),
        heartbeat_acks: vec![PairHeartbeatAck {
            round: 1,
            set_version: 2,
            unknown_set: true,
            exceptions: vec![3, 300],
            boot_id: boot_id(),
            worker: 1,
            by: 2,
            of: 3,
        }],
        reports: Vec::new(),
        instructions: Vec::new(),
        leads: Vec::new(),
        room: None,
    }
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        cluster_id: Bytes::from_static(&[0xc1; 16]),
        node_id: "node-1".to_owned(),
        incarnation: Bytes::from_static(&[0x1c; 16]),
        boot_id: Bytes::from_static(&[0xb0; 16]),
        number: 1,
        channel: Channel::Requests.into(),
        to: 2,
        version: "0.1.0".to_owned(),
    }
}

/// Lines of 32 bytes.
fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(32).map(|bytes| line(bytes) + "\n").collect()
}

fn unhex(text: &str) -> Bytes {
    let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect::<Vec<_>>().into()
}

#[test]
fn a_frame_has_the_bytes_it_had() {
    assert_eq!(hex(&frame().encode_to_vec()), FRAME);
    assert_eq!(decode_frame(unhex(FRAME)).unwrap(), frame());
}

#[test]
fn a_hello_has_the_bytes_it_had() {
    assert_eq!(hex(&hello().encode_to_vec()), HELLO);
    assert_eq!(Hello::decode(unhex(HELLO)).unwrap(), hello());
}

/// What came to a frame after its first version.
#[test]
fn what_was_added_has_the_bytes_it_had() {
    let room = Frame { room: Some(Room { worker: 1, workers: 2, bytes: 300 }), ..Frame::default() };
    assert_eq!(room.encode_to_vec(), [0x5a, 7, 0x08, 1, 0x10, 2, 0x18, 0xac, 2]);
    let leads = vec![Led { group: 1, from: 4096, term: 3 }];
    let leads = Frame { leads, ..Frame::default() };
    assert_eq!(leads.encode_to_vec(), [0x52, 7, 0x08, 1, 0x10, 0x80, 0x20, 0x18, 3]);
    for frame in [room, leads] {
        assert_eq!(decode_frame(frame.encode_to_vec().into()).unwrap(), frame);
    }
}

/// A newer version's field is skipped, not refused.
#[test]
fn fields_that_are_not_known_are_skipped() {
    let mut bytes = frame().encode_to_vec();
    // Field 1000, of length 1.
    bytes.extend_from_slice(&[0xc2, 0x3e, 1, 7]);
    assert_eq!(decode_frame(bytes.into()).unwrap(), frame());
}
