//! Three replicas of one group in one thread, without disk, network or state machine: what is measured is the core alone.
//!
//! Writes are durable at once, messages arrive in the next turn of their receiver, and applying an entry adds up its bytes.

use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{
    Config, Configuration, Effects, Group, Message, Position, ProposeError, Restored, Role,
    Settings,
};
use ringfort_types::{Monotonic, ReplicaId};

/// What every proposal says.
pub(crate) const PAYLOAD: [u8; 256] = [0x5a; 256];
/// Replicas of the group.
pub(crate) const REPLICAS: usize = 3;

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Messages received.
    pub(crate) messages: u64,
    /// Entries applied, by all replicas together.
    pub(crate) applied: u64,
    /// Bytes of their payloads.
    pub(crate) bytes: u64,
}

/// One group of three.
pub(crate) struct Trio {
    pub(crate) groups: [Group; REPLICAS],
    inboxes: [Vec<Message>; REPLICAS],
    pub(crate) now: Monotonic,
    pub(crate) counts: Counts,
}

impl Trio {
    /// A group that has elected its first replica.
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        let founding = Configuration::founding((1..=REPLICAS as u64).map(ReplicaId));
        let now = Monotonic(1_000_000_000);
        let group = |replica| {
            let mut config = Config::new(ReplicaId(replica), seed);
            config.settings = settings;
            let restored = Restored { configuration: founding.clone(), ..Restored::default() };
            Group::new(config, restored, now)
        };
        let mut trio = Self {
            groups: [group(1), group(2), group(3)],
            inboxes: [const { Vec::new() }; REPLICAS],
            now,
            counts: Counts::default(),
        };
        trio.elect();
        trio
    }

    fn elect(&mut self) {
        let settings = Settings::default();
        // Past the quiet time, and past any election timeout.
        self.now = self.now + settings.lease_max + 3 * settings.election_timeout;
        self.groups[0].handle_tick(self.now);
        self.settle();
        assert_eq!(self.groups[0].role(), Role::Leader);
        // A heartbeat tells the others that the first entry is committed.
        self.pass(settings.heartbeat);
    }

    /// Proposes to the leader.
    pub(crate) fn propose(&mut self, payload: Bytes) -> Result<Position, ProposeError> {
        self.groups[0].propose(self.now, payload)
    }

    /// Gives one replica what arrived for it, and does what it asks for.
    pub(crate) fn turn(&mut self, place: usize) -> bool {
        let mut arrived = std::mem::take(&mut self.inboxes[place]);
        let mut busy = !arrived.is_empty();
        self.counts.messages += arrived.len() as u64;
        for message in arrived.drain(..) {
            self.groups[place].handle_message(self.now, message);
        }
        self.inboxes[place] = arrived;
        while self.groups[place].has_effects() {
            let effects = self.groups[place].poll_effects();
            if !self.execute(place, effects) {
                break;
            }
            busy = true;
        }
        busy
    }

    /// Gives whether there was anything to do.
    fn execute(&mut self, place: usize, effects: Effects) -> bool {
        let Effects { persist, messages, apply, .. } = effects;
        let busy = persist.is_some() || !messages.is_empty() || !apply.is_empty();
        for message in messages {
            let to = usize::try_from(message.to.0 - 1).unwrap();
            self.inboxes[to].push(message);
        }
        if let Some(persist) = persist {
            self.groups[place].handle_persisted(persist.id);
        }
        if let Some(last) = apply.last() {
            self.counts.applied += apply.len() as u64;
            self.counts.bytes += apply.iter().map(|entry| entry.payload.len() as u64).sum::<u64>();
            self.groups[place].handle_applied(last.index);
        }
        busy
    }

    /// Turns until nobody has anything to do.
    pub(crate) fn settle(&mut self) {
        while (0..REPLICAS).fold(false, |busy, place| self.turn(place) | busy) {}
    }

    /// Lets time pass, and ticks those that are due.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for group in &mut self.groups {
            if group.deadline().is_some_and(|due| due <= self.now) {
                group.handle_tick(self.now);
            }
        }
        self.settle();
    }
}
