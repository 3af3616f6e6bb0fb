//! By how much other nodes' disks let this worker's shards grow: a put waits for a quorum of disks, not for the leader's alone.
//!
//! ```text
//!   another node's worker, once a second          this worker, which leads
//!   Room(worker, of how many, bytes) ──────────▶  up to so many bytes from here on
//! ```
//!
//! What this worker lets in counts against all of them until they speak again: what others let in meanwhile does not, and has
//! the nodes' reserves. A node that is silent has no room: a quorum that can do without it does not need its disk, and one that
//! cannot has none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ringfort_types::{GroupId, Monotonic, NodeNumber};

/// A node that has said nothing for so long, several times the time between two words, is silent.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// Who has less room than so many bytes is full: the next put may be one too many, and whoever is asked about the cluster says so.
const FULL_BELOW: u64 = 1 << 20;
/// So long is somebody full who had more, and too little for a put: whoever looks for the cause of a refusal finds it.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// What other nodes said of their disks.
#[derive(Debug)]
pub(crate) struct Rooms {
    /// Bytes that this worker has let in since its start.
    admitted: u64,
    nodes: BTreeMap<NodeNumber, Workers>,
    /// The smallest of all bounds.
    lowest: u64,
    /// When a put was refused last, and by how many bytes a shard would have grown by it.
    refused: Option<(Monotonic, u64)>,
}

/// The bound of each worker of a node, in bytes of `admitted`; nothing is known of a worker that has not spoken.
#[derive(Debug)]
struct Workers {
    /// How many it has; 0: it has not said.
    of: u32,
    /// When it last spoke, or was first expected to.
    heard: Monotonic,
    silent: bool,
    until: BTreeMap<u32, u64>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { admitted: 0, nodes: BTreeMap::new(), lowest: u64::MAX, refused: None }
    }
}

impl Rooms {
    /// Takes word of a node's worker, one of so many, on the room in bytes that it has. Gives whether that makes sense.
    pub(crate) fn handle(
        &mut self,
        now: Monotonic,
        node: NodeNumber,
        (by, of): (u32, u32),
        bytes: u64,
    ) -> bool {
        if by >= of || of > u32::from(u16::MAX) {
            return false;
        }
        let workers = self.nodes.entry(node).or_insert_with(|| Workers::expected(now));
        if workers.of != of {
            *workers = Workers { of, ..Workers::expected(now) };
        }
        workers.until.insert(by, self.admitted.saturating_add(bytes));
        (workers.heard, workers.silent) = (now, false);
        self.reckon();
        true
    }

    /// Takes the passing of time: these nodes are expected to speak, and only these.
    pub(crate) fn handle_tick(&mut self, now: Monotonic, nodes: &BTreeSet<NodeNumber>) {
        self.nodes.retain(|node, _| nodes.contains(node));
        for node in nodes {
            let workers = self.nodes.entry(*node).or_insert_with(|| Workers::expected(now));
            workers.silent = now.since(workers.heard) >= SILENT_AFTER;
        }
        self.reckon();
    }

    fn reckon(&mut self) {
        let silent = self.nodes.values().any(|workers| workers.silent).then_some(0);
        let all = self.nodes.values().flat_map(|workers| workers.until.values()).copied();
        self.lowest = all.chain(silent).min().unwrap_or(u64::MAX);
    }

    /// Notes that shards were let grow by so many bytes.
    pub(crate) fn admit(&mut self, bytes: u64) {
        self.admitted = self.admitted.saturating_add(bytes);
    }

    /// Whether every node that has spoken has so many bytes of room.
    pub(crate) fn all_have(&self, bytes: u64) -> bool {
        self.admitted.saturating_add(bytes) <= self.lowest
    }

    /// Notes that a shard was not let grow by so many bytes.
    pub(crate) fn refuse(&mut self, now: Monotonic, bytes: u64) {
        self.refused = Some((now, bytes));
    }

    /// Who has less room than so many bytes is full.
    pub(crate) fn needed(&self, now: Monotonic) -> u64 {
        let lately = self.refused.filter(|(at, _)| now.since(*at) < REFUSED_FOR);
        lately.map_or(FULL_BELOW, |(_, bytes)| bytes.max(FULL_BELOW))
    }

    /// Nodes that are full for some of their groups, as this worker reckons; not those that are silent.
    pub(crate) fn full(&self, now: Monotonic) -> impl Iterator<Item = NodeNumber> {
        let speak = self.nodes.iter().filter(|(_, workers)| !workers.silent);
        let end = self.admitted.saturating_add(self.needed(now));
        let ends = move |until: &u64| *until < end;
        speak.filter(move |(_, workers)| workers.until.values().any(ends)).map(|(node, _)| *node)
    }

    /// The room in bytes that a node has for a group; [`u64::MAX`] where it has not said.
    pub(crate) fn of(&self, node: NodeNumber, group: GroupId) -> u64 {
        let Some(workers) = self.nodes.get(&node) else { return u64::MAX };
        if workers.silent {
            return 0;
        }
        let worker = group.shard().and_then(|shard| shard.0.checked_rem(workers.of)).unwrap_or(0);
        let until = workers.until.get(&worker);
        until.map_or(u64::MAX, |until| until.saturating_sub(self.admitted))
    }
}

impl Workers {
    /// Of a node that is to speak from now on.
    fn expected(now: Monotonic) -> Self {
        Self { of: 0, heard: now, silent: false, until: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: NodeNumber = NodeNumber(1);
    const NOW: Monotonic = Monotonic(1_000_000_000);

    #[test]
    fn room_is_used_up_until_the_node_speaks_again() {
        let mut rooms = Rooms::default();
        assert!(rooms.all_have(u64::MAX), "nobody has spoken");
        assert!(rooms.handle(NOW, B, (0, 1), 100));
        assert!(rooms.all_have(100) && !rooms.all_have(101));
        rooms.admit(60);
        assert_eq!((rooms.of(B, GroupId(1)), rooms.all_have(41)), (40, false));
        rooms.admit(60);
        assert_eq!(rooms.of(B, GroupId(1)), 0);
        assert_eq!(rooms.full(NOW).collect::<Vec<_>>(), [B]);
        assert!(rooms.handle(NOW, B, (0, 1), FULL_BELOW));
        assert!(rooms.all_have(FULL_BELOW));
        assert_eq!(rooms.full(NOW).count(), 0);
        assert_eq!(rooms.of(NodeNumber(2), GroupId(1)), u64::MAX);
    }

    #[test]
    fn a_node_with_too_little_room_for_a_put_is_full_for_a_while() {
        let mut rooms = Rooms::default();
        assert!(rooms.handle(NOW, B, (0, 1), 2 * FULL_BELOW));
        rooms.refuse(NOW, 2 * FULL_BELOW);
        assert_eq!(rooms.full(NOW).count(), 0, "it had room for that, others had not");
        rooms.refuse(NOW, 2 * FULL_BELOW + 1);
        assert_eq!(rooms.full(NOW).collect::<Vec<_>>(), [B]);
        assert_eq!(rooms.full(NOW + REFUSED_FOR).count(), 0);
        assert!(rooms.handle(NOW, B, (0, 1), 3 * FULL_BELOW));
        assert_eq!(rooms.full(NOW).count(), 0);
        rooms.refuse(NOW, 1);
        assert!(rooms.handle(NOW, B, (0, 1), FULL_BELOW - 1));
        assert_eq!(rooms.full(NOW).collect::<Vec<_>>(), [B], "little is as good as nothing");
    }

    #[test]
    fn each_worker_speaks_for_its_own_groups() {
        let mut rooms = Rooms::default();
        assert!(rooms.handle(NOW, B, (1, 2), 7));
        // Shards 0 and 1, and the catalog.
        let of = |rooms: &Rooms| [1, 2, 0].map(|group| rooms.of(B, GroupId(group)));
        assert_eq!(of(&rooms), [u64::MAX, 7, u64::MAX]);
        assert!(rooms.handle(NOW, B, (0, 2), 0));
        assert_eq!(of(&rooms), [0, 7, 0]);
        // It has started anew with one worker.
        assert!(rooms.handle(NOW, B, (0, 1), 9));
        assert_eq!(of(&rooms), [9, 9, 9]);
        for senseless in [(0, 0), (2, 2), (0, 1 << 16)] {
            assert!(!rooms.handle(NOW, B, senseless, 0));
        }
        assert_eq!(of(&rooms), [9, 9, 9]);
    }

    #[test]
    fn a_silent_node_has_no_room_and_is_not_called_full() {
        let mut rooms = Rooms::default();
        let nodes = BTreeSet::from([B, NodeNumber(2)]);
        assert!(rooms.handle(NOW, B, (0, 1), 1000));
        rooms.handle_tick(NOW, &nodes);
        assert!(rooms.all_have(1000), "the other has not spoken yet");
        let later = NOW + SILENT_AFTER;
        assert!(rooms.handle(later, B, (0, 1), 1000));
        rooms.handle_tick(later, &nodes);
        let of = |rooms: &Rooms| [1, 2].map(|node| rooms.of(NodeNumber(node), GroupId(1)));
        assert_eq!((of(&rooms), rooms.all_have(1)), ([1000, 0], false));
        rooms.admit(2000);
        rooms.handle_tick(later + SILENT_AFTER, &nodes);
        assert_eq!((of(&rooms), rooms.full(later).count()), ([0, 0], 0));
        // It has left.
        rooms.handle_tick(later + SILENT_AFTER, &BTreeSet::new());
        assert!(rooms.all_have(u64::MAX));
    }
}
