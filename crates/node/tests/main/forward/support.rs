//! Requests, maps and answers for tests of a forwarder.

use std::time::Duration;

use bytes::Bytes;
use ringfort_node::{ForwardConfig, Forwarded, Forwarder};
use ringfort_placement::{Replica, Role, ShardPlacement, Wish};
use ringfort_proto::Ask;
use ringfort_route::BudgetConfig;
use ringfort_types::request::{
    Condition, Consistency, Get, Identity, List, Operation, Principal, Trace, Write,
};
use ringfort_types::{Epoch, Key, Monotonic, NodeId, NodeNumber, ReplicaId, ShardId};

/// Who asks; its worker is 3.
pub(super) const OWN: NodeNumber = NodeNumber(0);

pub(super) fn at(ms: u64) -> Monotonic {
    Monotonic(0) + Duration::from_secs(1000) + Duration::from_millis(ms)
}

pub(super) fn on(node: u16) -> ReplicaId {
    ReplicaId::new(1, NodeNumber(node))
}

pub(super) fn shard(nodes: &[u16]) -> ShardPlacement {
    let replica = |node: &u16| Replica {
        id: on(*node),
        node: NodeId::parse(&format!("n{node}")).unwrap(),
        role: Role::Voter,
        quarantined: false,
    };
    ShardPlacement::new(nodes.iter().map(replica).collect(), Wish::default())
}

pub(super) fn config(seed: u64) -> ForwardConfig {
    ForwardConfig {
        node: OWN,
        worker: 3,
        requests_max: 4096,
        bytes_max: 64 << 20,
        budget: BudgetConfig { burst: 1000, ..BudgetConfig::default() },
        leaderless_max: Duration::from_secs(3),
        seed,
    }
}

/// A forwarder of a cluster with these shards, at its beginning.
pub(super) fn forwarder(shards: &[&[u16]]) -> Forwarder<u32> {
    let mut forwarder = Forwarder::new(at(0), config(11));
    let shards: Vec<_> = shards.iter().map(|nodes| shard(nodes)).collect();
    forwarder.handle_map(Epoch(1), &shards);
    forwarder
}

pub(super) fn identified() -> Identity {
    Identity::IdempotencyKey(Bytes::from_static(b"i"))
}

pub(super) fn key() -> Key {
    Key::new("k").unwrap()
}

pub(super) fn put() -> Operation {
    Operation::Put {
        key: key(),
        value: Bytes::from_static(b"v"),
        ttl: None,
        condition: Condition::Always,
    }
}

pub(super) fn write(identity: Identity) -> Ask {
    Ask::Write(Write { operation: put(), identity })
}

pub(super) fn get(consistency: Consistency) -> Ask {
    Ask::Get(Get { key: key(), consistency })
}

pub(super) fn part(identity: Identity) -> Ask {
    Ask::Part { identity, operations: vec![(4, Operation::Get { key: key() }), (7, put())] }
}

pub(super) fn list(shards: &[u32]) -> Ask {
    let list = List {
        prefix: Bytes::new(),
        start: Bytes::new(),
        end: None,
        after: None,
        limit: 3,
        bytes_max: 1 << 20,
        keys_only: false,
        consistency: Consistency::Linearizable,
    };
    Ask::List { list, shards: shards.iter().copied().map(ShardId).collect() }
}

/// For the first shard of a listing, or shard 0.
pub(super) fn request(ask: Ask, deadline: Monotonic) -> Forwarded {
    let shard = match &ask {
        Ask::List { shards, .. } => shards[0],
        _ => ShardId(0),
    };
    let (principal, trace) = (Principal::default(), Trace::default());
    Forwarded { shard, deadline, principal, trace, ask }
}
