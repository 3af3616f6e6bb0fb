//! The network between nodes: one connection for each ordered pair of nodes and each channel, in order while it lives.
//!
//! ```text
//!   sent ──▶ in flight ──latency──▶ arrives, in order
//!     │          └─ cut: a first part still arrives, the rest never does; then connected anew after a while
//!     └─ the pair is parted: kept until it heals, so many frames at most, or dropped; as the seed says
//! ```
//!
//! Single frames without requests are also lost, doubled and overtaken: TCP does no such thing, Raft must stand it.
//! Bytes are never changed: TCP's checksum and TLS see to that.

use std::collections::VecDeque;

use bytes::Bytes;
use ringfort_proto::peer::{Channel, Frame};

use super::mix::{Mix, about};
use crate::Random;

/// Frames of one connection that are on their way at most; more are dropped, as a full queue does.
const IN_FLIGHT_MAX: usize = 256;
/// Frames that are kept at most while two nodes are parted.
const HELD_MAX: usize = 64;

const CHANNELS: [Channel; 3] = [Channel::Consensus, Channel::Requests, Channel::Snapshots];

/// A connection, as a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkId(pub(super) usize);

/// What is in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    /// What may be lost, or come twice.
    Raft,
    /// Requests or answers.
    Requests,
}

impl Carries {
    pub(super) fn of(frame: &Frame) -> Self {
        match frame.requests.is_empty() && frame.answers.is_empty() {
            true => Self::Raft,
            false => Self::Requests,
        }
    }
}

/// A frame on its way.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) link: LinkId,
    pub(super) bytes: Bytes,
    generation: u64,
}

#[derive(Clone, Debug, Default)]
struct Link {
    connected: bool,
    /// Counts connections.
    generation: u64,
    /// What was sent on the connection before this one still arrives until then.
    drains_until: u64,
    newest_arrival: u64,
    in_flight: usize,
    held: VecDeque<(Bytes, Carries)>,
}

/// What became of frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NetworkCounts {
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) unsent: u64,
    pub(super) doubled: u64,
    pub(super) overtaken: u64,
    pub(super) cuts: u64,
}

/// The network.
#[derive(Debug)]
pub(super) struct Network {
    nodes: usize,
    links: Vec<Link>,
    /// For each ordered pair, how many partitions part it.
    parted: Vec<u32>,
    /// For each ordered pair, how much longer frames take, in nanoseconds.
    slow: Vec<u64>,
    pub(super) random: Random,
    pub(super) counts: NetworkCounts,
    pub(super) healed: bool,
    /// A mutant: requests and answers arrive twice.
    pub(super) doubles_requests: bool,
}

impl Network {
    pub(super) fn new(nodes: usize, random: Random) -> Self {
        let pairs = nodes * nodes;
        let link = Link { connected: true, ..Link::default() };
        Self {
            nodes,
            links: vec![link; pairs * CHANNELS.len()],
            parted: vec![0; pairs],
            slow: vec![0; pairs],
            random,
            counts: NetworkCounts::default(),
            healed: false,
            doubles_requests: false,
        }
    }

    fn pair(&self, link: LinkId) -> usize {
        link.0 / CHANNELS.len() % (self.nodes * self.nodes)
    }

    /// Who sends on a connection, and who gets it.
    pub(super) fn ends(&self, link: LinkId) -> (usize, usize) {
        let pair = self.pair(link);
        (pair / self.nodes, pair % self.nodes)
    }

    /// The connection's channel.
    pub(super) fn channel(link: LinkId) -> Channel {
        CHANNELS[link.0 % CHANNELS.len()]
    }

    /// The connection of two nodes and a channel.
    pub(super) fn link(&self, from: usize, to: usize, channel: Channel) -> Option<LinkId> {
        let channel = CHANNELS.iter().position(|known| *known == channel)?;
        Some(LinkId((from * self.nodes + to) * CHANNELS.len() + channel))
    }

    /// The connection of a frame with few bytes of requests: that for consensus, where it is up and nothing waits for it.
    pub(super) fn link_of_small_requests(&self, from: usize, to: usize) -> Option<LinkId> {
        let consensus = self.link(from, to, Channel::Consensus)?;
        let state = &self.links[consensus.0];
        let is_free = state.connected && state.held.is_empty() && !self.is_parted(from, to);
        if is_free { Some(consensus) } else { self.link(from, to, Channel::Requests) }
    }

    /// Sends a frame; gives when it arrives, if it does, and again if it is doubled. `None`: no connection takes it.
    pub(super) fn send(
        &mut self,
        now: u64,
        link: LinkId,
        bytes: Bytes,
        carries: Carries,
        mix: &Mix,
    ) -> Option<[Option<(u64, Arrival)>; 2]> {
        let parted = self.parted[self.pair(link)] > 0;
        let state = &mut self.links[link.0];
        if parted || !state.connected {
            if mix.holds && state.held.len() < HELD_MAX {
                state.held.push_back((bytes, carries));
                return Some([None, None]);
            }
            self.counts.unsent += 1;
            return None;
        }
        if state.in_flight >= IN_FLIGHT_MAX {
            self.counts.unsent += 1;
            return None;
        }
        Some(self.transmit(now, link, bytes, carries, mix))
    }

    fn transmit(
        &mut self,
        now: u64,
        link: LinkId,
        bytes: Bytes,
        carries: Carries,
        mix: &Mix,
    ) -> [Option<(u64, Arrival)>; 2] {
        let raft = carries == Carries::Raft && !self.healed;
        let mut chance = |of_1024: u64| raft && self.random.below(1024) < of_1024;
        if chance(mix.loss) {
            self.counts.lost += 1;
            return [None, None];
        }
        let overtaken = chance(mix.overtaken);
        let doubled =
            chance(mix.doubled) || (self.doubles_requests && carries == Carries::Requests);
        let slow = if self.healed { 0 } else { self.slow[self.pair(link)] };
        let latency = about(&mut self.random, mix.latency) + slow;
        let state = &mut self.links[link.0];
        let generation = state.generation;
        let at = if overtaken {
            self.counts.overtaken += 1;
            now + 10 * latency
        } else {
            state.newest_arrival = state.newest_arrival.max(now + latency) + 1;
            state.newest_arrival
        };
        state.in_flight += 1;
        let again = doubled.then(|| {
            self.counts.doubled += 1;
            state.in_flight += 1;
            let later = at + about(&mut self.random, 20 * mix.latency);
            (later, Arrival { link, bytes: bytes.clone(), generation })
        });
        [Some((at, Arrival { link, bytes, generation })), again]
    }

    /// Takes a frame off the way; `None`: its connection was cut before it arrived.
    pub(super) fn arrive(&mut self, now: u64, arrival: Arrival) -> Option<Bytes> {
        let pair = self.pair(arrival.link);
        let state = &mut self.links[arrival.link.0];
        let current = state.generation == arrival.generation;
        if current {
            state.in_flight = state.in_flight.saturating_sub(1);
        }
        let drains = state.generation == arrival.generation + 1 && now <= state.drains_until;
        // What was on its way as two nodes were parted waits like what is sent then.
        if self.parted[pair] > 0 || !(current || drains) {
            self.counts.lost += 1;
            return None;
        }
        self.counts.delivered += 1;
        Some(arrival.bytes)
    }

    /// Cuts a connection. What is to arrive until a time still does. Gives whether there was one.
    pub(super) fn cut(&mut self, link: LinkId, drains_until: u64) -> bool {
        let state = &mut self.links[link.0];
        let was = std::mem::take(&mut state.connected);
        if was {
            self.counts.cuts += 1;
            state.generation += 1;
            state.in_flight = 0;
            state.newest_arrival = 0;
            state.drains_until = drains_until;
        }
        was
    }

    /// Connects anew, if the nodes can see each other; gives what had waited for it.
    pub(super) fn connect(
        &mut self,
        now: u64,
        link: LinkId,
        mix: &Mix,
    ) -> Option<Vec<(u64, Arrival)>> {
        let (from, to) = self.ends(link);
        if self.is_parted(from, to) || self.is_parted(to, from) {
            return None;
        }
        self.links[link.0].connected = true;
        Some(self.release(now, link, mix))
    }

    fn release(&mut self, now: u64, link: LinkId, mix: &Mix) -> Vec<(u64, Arrival)> {
        let held = std::mem::take(&mut self.links[link.0].held);
        let sent = |(bytes, carries)| self.transmit(now, link, bytes, carries, mix);
        held.into_iter().flat_map(sent).flatten().collect()
    }

    /// Forgets what waits for a connection: the process that would have sent it is gone.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.links[link.0].held.clear();
    }

    /// All connections from or to a node.
    pub(super) fn links_of(&self, node: usize) -> Vec<LinkId> {
        let all = (0..self.links.len()).map(LinkId);
        all.filter(|link| {
            let (from, to) = self.ends(*link);
            from != to && (from == node || to == node)
        })
        .collect()
    }

    /// All connections from one node to another.
    pub(super) fn links_between(&self, from: usize, to: usize) -> Vec<LinkId> {
        CHANNELS.iter().filter_map(|channel| self.link(from, to, *channel)).collect()
    }

    pub(super) fn is_parted(&self, from: usize, to: usize) -> bool {
        self.parted[from * self.nodes + to] > 0
    }

    /// Parts ordered pairs.
    pub(super) fn part(&mut self, pairs: &[(usize, usize)]) {
        for (from, to) in pairs {
            self.parted[from * self.nodes + to] += 1;
        }
    }

    /// The most partitions that part one pair.
    pub(super) fn partitions(&self) -> u32 {
        self.parted.iter().copied().max().unwrap_or(0)
    }

    /// Ends a partition; gives what had waited for it on connections that still live.
    pub(super) fn join(
        &mut self,
        now: u64,
        pairs: &[(usize, usize)],
        mix: &Mix,
    ) -> Vec<(u64, Arrival)> {
        let mut arrivals = Vec::new();
        for (from, to) in pairs {
            let parted = &mut self.parted[from * self.nodes + to];
            *parted = parted.saturating_sub(1);
            if *parted > 0 {
                continue;
            }
            for link in self.links_between(*from, *to) {
                if self.links[link.0].connected {
                    arrivals.extend(self.release(now, link, mix));
                }
            }
        }
        arrivals
    }

    /// Frames from one node to another take longer by so many nanoseconds.
    pub(super) fn slow(&mut self, from: usize, to: usize, by: u64) {
        self.slow[from * self.nodes + to] = by;
    }
}
