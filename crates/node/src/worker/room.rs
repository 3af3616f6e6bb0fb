//! By how much shards may grow: what the host said of this node's disk, and other nodes of theirs.

use std::time::Duration;

use ringfort_log::Headroom;
use ringfort_proto::peer::{self, Channel};
use ringfort_raft::{Guards, quorum_value};
use ringfort_types::{GroupId, Monotonic, NodeNumber};

use super::{Worker, open_group};

/// Between two words on this worker's room, unless it ends or begins.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Whose disk a put does not fit on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    Own,
    Quorum,
}

impl Short {
    /// For people.
    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::Own => {
                "the disk is full up to its reserve, or gives the log no more room; deletes and reads go on"
            }
            Self::Quorum => {
                "too few of the shard's nodes have a disk that is not full up to its reserve; deletes and reads go on"
            }
        }
    }
}

impl<W> Worker<W> {
    /// Takes the bytes by which this worker's shards may grow until it is told again. Gives whether a put was refused for
    /// want of room on this node since the last time.
    pub fn handle_room(&mut self, bytes: u64) -> bool {
        let before = self.own_room();
        self.room = bytes;
        self.tell_room_soon(before);
        std::mem::take(&mut self.refused_for_room)
    }

    /// Takes the log's word on how far it can be written.
    pub fn handle_headroom(&mut self, headroom: Headroom) {
        let before = self.own_room();
        self.headroom = headroom;
        self.tell_room_soon(before);
    }

    /// Others must not wait to hear that there is none, or some again.
    fn tell_room_soon(&mut self, before: u64) {
        if (before == 0) != (self.own_room() == 0) {
            self.room_due = Monotonic::default();
        }
    }

    fn own_room(&self) -> u64 {
        if self.headroom == Headroom::Ample { self.room } else { 0 }
    }

    pub(super) fn tick_room(&mut self, now: Monotonic) {
        if now < self.room_due {
            return;
        }
        self.room_due = now + TELL_EVERY;
        self.rooms.handle_tick(now, &self.nodes);
        let room = peer::Room {
            worker: self.config.source.0.into(),
            workers: self.config.workers.into(),
            bytes: self.own_room(),
        };
        for node in &self.nodes {
            self.outbox.frame(*node, Channel::Consensus).room = Some(room);
        }
    }

    /// Takes word of how much room another node has.
    pub(super) fn handle_peer_room(&mut self, now: Monotonic, from: NodeNumber, room: &peer::Room) {
        if !self.rooms.handle(now, from, (room.worker, room.workers), room.bytes) {
            self.stats.frames_malformed += 1;
        }
    }

    /// Nodes whose disks let shards grow by nothing worth mention, or by less than a put asked for a moment ago; this one among
    /// them, as far as this worker knows.
    #[must_use]
    pub fn full_nodes(&self) -> Vec<NodeNumber> {
        let is_full = self.own_room() < self.rooms.needed(self.now);
        self.rooms.full(self.now).chain(is_full.then_some(self.config.node)).collect()
    }

    /// Whose disk keeps a group from growing by so many bytes; `None`: it may.
    ///
    /// The leader's own has to have room, whatever others have: without its log it leads nobody. The catalog's records are
    /// small, and may be what brings room: they have the reserve.
    pub(super) fn short_of_room(&self, group: GroupId, growth: u64) -> Option<Short> {
        if group == GroupId::CATALOG {
            return None;
        }
        if growth > self.own_room() {
            return Some(Short::Own);
        }
        if growth == 0 || self.rooms.all_have(growth) {
            return None;
        }
        let configuration = open_group(&self.slots, group).ok()?.replica.configuration();
        let room = quorum_value(configuration, Guards::default(), |id| match id.node() {
            node if node == self.config.node => self.own_room(),
            node => self.rooms.of(node, group),
        });
        room.is_some_and(|room| growth > room).then_some(Short::Quorum)
    }
}
