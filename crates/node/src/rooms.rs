//! By how much other nodes' disks let this worker's shards grow: a put waits for a quorum of disks, not for the leader's alone.
//!
//! ```text
//!   another node's worker, once a second          this worker, which leads
//!   Room(worker, of how many, bytes) ──────────▶  up to so many bytes from here on
//! ```
//!
//! What this worker lets in counts against all of them until they speak again: what others let in meanwhile does not, and has
//! the nodes' reserves.

use std::collections::BTreeMap;

use ringfort_types::{GroupId, NodeNumber};

/// What other nodes said of their disks.
#[derive(Debug)]
pub(crate) struct Rooms {
    /// Bytes that this worker has let in since its start.
    admitted: u64,
    nodes: BTreeMap<NodeNumber, Workers>,
    /// The smallest of all bounds.
    lowest: u64,
}

/// The bound of each worker of a node, in bytes of `admitted`; nothing is known of a worker that has not spoken.
#[derive(Debug)]
struct Workers {
    of: u32,
    until: BTreeMap<u32, u64>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { admitted: 0, nodes: BTreeMap::new(), lowest: u64::MAX }
    }
}

impl Rooms {
    /// Takes word of a node's worker, one of so many, on the room in bytes that it has. Gives whether that makes sense.
    pub(crate) fn handle(&mut self, node: NodeNumber, (by, of): (u32, u32), bytes: u64) -> bool {
        if by >= of || of > u32::from(u16::MAX) {
            return false;
        }
        let workers = self.nodes.entry(node).or_insert(Workers { of, until: BTreeMap::new() });
        if workers.of != of {
            *workers = Workers { of, until: BTreeMap::new() };
        }
        workers.until.insert(by, self.admitted.saturating_add(bytes));
        let all = self.nodes.values().flat_map(|workers| workers.until.values());
        self.lowest = all.copied().min().unwrap_or(u64::MAX);
        true
    }

    /// Notes that shards were let grow by so many bytes.
    pub(crate) fn admit(&mut self, bytes: u64) {
        self.admitted = self.admitted.saturating_add(bytes);
    }

    /// Whether every node that has spoken has so many bytes of room.
    pub(crate) fn all_have(&self, bytes: u64) -> bool {
        self.admitted.saturating_add(bytes) <= self.lowest
    }

    /// Nodes that have no room for some of their groups, as this worker reckons.
    pub(crate) fn full(&self) -> impl Iterator<Item = NodeNumber> {
        let is_full =
            |workers: &Workers| workers.until.values().any(|until| *until <= self.admitted);
        self.nodes.iter().filter(move |(_, workers)| is_full(workers)).map(|(node, _)| *node)
    }

    /// The room in bytes that a node has for a group; [`u64::MAX`] where it has not said.
    pub(crate) fn of(&self, node: NodeNumber, group: GroupId) -> u64 {
        let until = self.nodes.get(&node).and_then(|workers| {
            let worker = group.shard().map_or(0, |shard| shard.0 % workers.of);
            workers.until.get(&worker)
        });
        until.map_or(u64::MAX, |until| until.saturating_sub(self.admitted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: NodeNumber = NodeNumber(1);

    #[test]
    fn room_is_used_up_until_the_node_speaks_again() {
        let mut rooms = Rooms::default();
        assert!(rooms.all_have(u64::MAX), "nobody has spoken");
        assert!(rooms.handle(B, (0, 1), 100));
        assert!(rooms.all_have(100) && !rooms.all_have(101));
        rooms.admit(60);
        assert_eq!((rooms.of(B, GroupId(1)), rooms.all_have(41)), (40, false));
        rooms.admit(60);
        assert_eq!(rooms.of(B, GroupId(1)), 0);
        assert_eq!(rooms.full().collect::<Vec<_>>(), [B]);
        assert!(rooms.handle(B, (0, 1), 100));
        assert!(rooms.all_have(100));
        assert_eq!(rooms.full().count(), 0);
        assert_eq!(rooms.of(NodeNumber(2), GroupId(1)), u64::MAX);
    }

    #[test]
    fn each_worker_speaks_for_its_own_groups() {
        let mut rooms = Rooms::default();
        assert!(rooms.handle(B, (1, 2), 7));
        // Shards 0 and 1, and the catalog.
        let of = |rooms: &Rooms| [1, 2, 0].map(|group| rooms.of(B, GroupId(group)));
        assert_eq!(of(&rooms), [u64::MAX, 7, u64::MAX]);
        assert!(rooms.handle(B, (0, 2), 0));
        assert_eq!(of(&rooms), [0, 7, 0]);
        // It has started anew with one worker.
        assert!(rooms.handle(B, (0, 1), 9));
        assert_eq!(of(&rooms), [9, 9, 9]);
        for senseless in [(0, 0), (2, 2), (0, 1 << 16)] {
            assert!(!rooms.handle(B, senseless, 0));
        }
        assert_eq!(of(&rooms), [9, 9, 9]);
    }
}
