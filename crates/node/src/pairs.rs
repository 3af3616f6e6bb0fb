//! Heartbeats between two nodes, for groups that sleep: what this worker tells each other node, and what it knows of it.
//!
//! ```text
//!   leaders' node                                           followers' node
//!   the set: groups that sleep, led here, a member there
//!   PairHeartbeat(round, version of the set, lease) ──────▶ every group of the set promises, or is an exception
//!   lease renewed, but for exceptions ◀──────────────────── PairHeartbeatAck(round, version, exceptions)
//! ```
//!
//! The set itself goes along until its version is acknowledged. A round is this worker's; each worker of the other node
//! acknowledges for its own groups. Whoever hears nothing for an election timeout wakes the groups between the two nodes, a
//! few at a time; so does a new boot id.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ringfort_types::{BootId, GroupId, Monotonic, NodeNumber, ReplicaId, Term};

/// Rounds whose time of sending is remembered. An acknowledgement of an older one renews nothing.
const ROUNDS_MAX: usize = 64;

/// One group of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Led {
    pub(crate) group: GroupId,
    /// Its leader, here.
    pub(crate) leader: ReplicaId,
    pub(crate) term: Term,
    /// The member on the other node.
    pub(crate) member: ReplicaId,
}

/// What this worker tells one other node.
#[derive(Debug, Default)]
pub(crate) struct Told {
    set: Vec<Led>,
    version: u64,
    /// The newest version that each worker of that node knows.
    known: BTreeMap<u32, u64>,
    round: u64,
    /// When the newest rounds were sent, the last of them last.
    sent: VecDeque<Monotonic>,
    /// When that node last acknowledged the set, or the set was begun.
    heard: Monotonic,
}

/// A sleeping group that another node leads, with leader and term.
pub(crate) type Asleep = (GroupId, ReplicaId, Term);

/// What one worker of another node tells.
#[derive(Debug)]
pub(crate) struct Heard {
    boot: BootId,
    version: u64,
    /// The sleeping groups that it leads.
    pub(crate) set: Vec<Asleep>,
    /// When it was last heard of.
    at: Monotonic,
}

/// All pairs of a worker.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    pub(crate) told: BTreeMap<NodeNumber, Told>,
    pub(crate) heard: BTreeMap<(NodeNumber, u32), Heard>,
    pub(crate) due: Monotonic,
    /// Groups that are to wake, a few in each tick.
    pub(crate) to_wake: VecDeque<GroupId>,
}

impl Told {
    /// Takes the set as it is now, and begins a round. Gives the round, the version, and the set if it has to go along;
    /// `None` if there is nothing to tell.
    pub(crate) fn begin(&mut self, now: Monotonic, set: Vec<Led>) -> Option<(u64, u64, &[Led])> {
        if self.set != set {
            if self.set.is_empty() {
                self.heard = now;
            }
            self.version += 1;
            self.set = set;
        }
        if self.set.is_empty() {
            self.sent.clear();
            return None;
        }
        self.round += 1;
        if self.sent.len() == ROUNDS_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
        let known =
            !self.known.is_empty() && self.known.values().all(|known| *known == self.version);
        Some((self.round, self.version, if known { &[] } else { &self.set }))
    }

    /// Takes an acknowledgement of one worker of the node, `by` of `of`. Gives when its round was sent and the groups that
    /// it speaks for; `None` if it says nothing that counts.
    pub(crate) fn acknowledged(
        &mut self,
        now: Monotonic,
        round: u64,
        version: u64,
        (by, of): (u32, u32),
    ) -> Option<(Monotonic, Vec<Led>)> {
        if version != self.version || round > self.round || of == 0 {
            return None;
        }
        self.known.retain(|worker, _| *worker < of);
        for worker in 0..of {
            self.known.entry(worker).or_default();
        }
        self.known.insert(by, version);
        self.heard = now;
        let back = usize::try_from(self.round - round).ok()?;
        let sent = *self.sent.get(self.sent.len().checked_sub(back + 1)?)?;
        let speaks = |led: &&Led| led.group.shard().unwrap_or_default().0 % of == by;
        Some((sent, self.set.iter().filter(speaks).copied().collect()))
    }

    /// Takes word that a worker of the node does not know the set.
    pub(crate) fn forgotten(&mut self, by: u32) {
        self.known.insert(by, 0);
    }

    /// The groups to wake: nothing was heard of the node for so long.
    pub(crate) fn silent(&mut self, now: Monotonic, timeout: Duration) -> Vec<GroupId> {
        if self.set.is_empty() || now.since(self.heard) < timeout {
            return Vec::new();
        }
        self.heard = now;
        self.set.iter().map(|led| led.group).collect()
    }
}

impl Pairs {
    /// Takes a heartbeat, with this worker's groups of its set where that came along. Gives the set that it stands for, or
    /// `None` where that is not known; and the groups to wake because their leader's node has started anew.
    pub(crate) fn hear(
        &mut self,
        now: Monotonic,
        from: (NodeNumber, u32),
        boot: BootId,
        version: u64,
        set: Option<Vec<Asleep>>,
    ) -> (Option<&[Asleep]>, Vec<GroupId>) {
        let fresh = || Heard { boot, version: 0, set: Vec::new(), at: now };
        let heard = self.heard.entry(from).or_insert_with(fresh);
        let mut orphans = Vec::new();
        if heard.boot != boot {
            orphans = heard.set.iter().map(|(group, _, _)| *group).collect();
            *heard = fresh();
        }
        heard.at = now;
        if let Some(set) = set {
            heard.version = version;
            heard.set = set;
        }
        let known = heard.version == version && version > 0;
        (known.then_some(&heard.set[..]), orphans)
    }

    /// Groups whose leader's node was not heard of for so long. They are forgotten here, until it is heard of again.
    pub(crate) fn silent_leaders(&mut self, now: Monotonic, timeout: Duration) -> Vec<GroupId> {
        let mut groups = Vec::new();
        for heard in self.heard.values_mut() {
            if now.since(heard.at) >= timeout && heard.version > 0 {
                heard.version = 0;
                groups.extend(heard.set.drain(..).map(|(group, _, _)| group));
            }
        }
        groups
    }
}
