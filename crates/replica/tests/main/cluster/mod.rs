//! Replicas of one group over engines and logs in memory, in one thread, from a seed: turns, disks, messages and time in any
//! order. What must hold is checked as it happens:
//!
//! - A ticket ends once: answered, lost or refused.
//! - Replicas that have applied the same index hold the same state.
//! - A read sees every write that was answered before it was asked.
//! - At the end every answered write is there, and no refused one.

mod node;
mod random;
mod scripts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ringfort_raft::{Configuration, Message, Settings};
use ringfort_replica::command::CommandIdentity;
use ringfort_replica::{Output, Reading, Replica, Ticket};
use ringfort_sim::Random;
use ringfort_types::{Applied, Index, Key, Monotonic, NodeNumber, ReplicaId};

use crate::support::{key, put};
use node::{Node, Setup};

/// How a ticket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answered,
    Lost,
    Refused,
}

/// What was asked under a ticket.
enum Asked {
    Write,
    /// Writes that were answered when the read was asked.
    Read(BTreeSet<Ticket>),
}

/// A group.
struct Cluster {
    nodes: BTreeMap<ReplicaId, Node>,
    network: Vec<Message>,
    now: Monotonic,
    random: Random,
    settings: Settings,
    asked: BTreeMap<Ticket, (ReplicaId, Asked)>,
    ends: BTreeMap<Ticket, End>,
    hashes: BTreeMap<Index, u128>,
    applied: BTreeMap<ReplicaId, Index>,
    /// Replicas that neither hear nor are heard.
    cut_off: BTreeSet<ReplicaId>,
    story: String,
}

fn id(counter: u64, node: u16) -> ReplicaId {
    ReplicaId::new(counter, NodeNumber(node))
}

fn key_of(ticket: Ticket) -> Key {
    key(&format!("key-{}", ticket.0))
}

impl Cluster {
    /// A group of so many voters, all running.
    fn new(voters: u16, settings: Settings, seed: u64) -> Self {
        let ids: Vec<_> = (0..voters).map(|node| id(1, node)).collect();
        let founding = Configuration::founding(ids.iter().copied());
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            network: Vec::new(),
            now: Monotonic(1_000_000_000),
            random: Random::new(seed),
            settings,
            asked: BTreeMap::new(),
            ends: BTreeMap::new(),
            hashes: BTreeMap::new(),
            applied: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            story: format!("RINGFORT_SEED={seed} with {voters} voters"),
        };
        for id in ids {
            cluster.add(id, founding.clone());
        }
        cluster
    }

    /// Adds a replica and starts it; a blank founding configuration is that of one that joins.
    fn add(&mut self, id: ReplicaId, founding: Configuration) {
        let setup = Setup { founding, settings: self.settings };
        self.nodes.insert(id, Node::new(id, setup));
        self.start(id);
    }

    fn node(&mut self, id: ReplicaId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    fn replica(&self, id: ReplicaId) -> &Replica {
        self.nodes[&id].replica.as_ref().unwrap()
    }

    fn ids(&self) -> Vec<ReplicaId> {
        self.nodes.keys().copied().collect()
    }

    /// Whoever leads, of the newest term.
    fn leader(&self) -> Option<ReplicaId> {
        let running = self.nodes.values().filter_map(|node| node.replica.as_ref());
        let leaders = running.filter(|replica| replica.leads());
        leaders.max_by_key(|replica| replica.leader().term).map(Replica::id)
    }

    // --- inputs ---

    fn start(&mut self, id: ReplicaId) {
        let now = self.now;
        self.node(id).start(now);
        self.applied.remove(&id);
        self.note_applied(id);
    }

    fn crash(&mut self, id: ReplicaId) {
        let pending = self.nodes[&id].writes_pending();
        let durable = self.random.index(pending + 1);
        self.node(id).crash(durable);
        // Nobody waits for its answers any more.
        for (ticket, (at, _)) in &self.asked {
            if *at == id {
                self.ends.entry(*ticket).or_insert(End::Lost);
            }
        }
    }

    fn ask(&mut self, at: ReplicaId, asked: Asked) -> Ticket {
        let ticket = Ticket(self.asked.len() as u64 + 1);
        self.asked.insert(ticket, (at, asked));
        ticket
    }

    /// Enqueues a write at a replica that leads.
    fn write(&mut self, at: ReplicaId) -> Ticket {
        let ticket = self.ask(at, Asked::Write);
        let operation = put(std::str::from_utf8(key_of(ticket).as_bytes()).unwrap(), "value");
        let now = self.now;
        let Node { replica, engine, .. } = self.node(at);
        let identity = CommandIdentity::None;
        let replica = replica.as_mut().unwrap();
        replica.enqueue(engine, now, ticket, &identity, false, &[operation]).unwrap();
        ticket
    }

    /// Enqueues a read.
    fn read(&mut self, at: ReplicaId) -> Ticket {
        let answered = self.ends.iter().filter(|(_, end)| **end == End::Answered);
        let must_see = answered.map(|(ticket, _)| *ticket);
        let must_see = must_see.filter(|ticket| matches!(self.asked[ticket].1, Asked::Write));
        let must_see = must_see.collect();
        let ticket = self.ask(at, Asked::Read(must_see));
        let now = self.now;
        self.node(at).replica.as_mut().unwrap().enqueue_read(now, ticket);
        ticket
    }

    /// Time passes, and every replica is told.
    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        let now = self.now;
        for node in self.nodes.values_mut() {
            if let Some(replica) = &mut node.replica {
                replica.handle_tick(&node.engine, now).unwrap();
            }
        }
    }

    /// Takes a replica's turn.
    fn turn(&mut self, at: ReplicaId) {
        let now = self.now;
        let out = self.node(at).turn(now);
        let Output { messages, answers, reads, lost, refused, .. } = out;
        self.network.extend(messages.into_iter().map(|(_, message)| message));
        for (ticket, _) in answers {
            self.end(ticket, End::Answered);
        }
        for ticket in reads {
            self.check_read(at, ticket);
            self.end(ticket, End::Answered);
        }
        for ticket in lost {
            self.end(ticket, End::Lost);
        }
        for (ticket, _) in refused {
            self.end(ticket, End::Refused);
        }
        self.note_applied(at);
    }

    /// Delivers one message, by its place.
    fn deliver(&mut self, place: usize) {
        let message = self.network.remove(place);
        let cut = self.cut_off.contains(&message.from) || self.cut_off.contains(&message.to);
        let now = self.now;
        if !cut && let Some(node) = self.nodes.get_mut(&message.to) {
            node.receive(now, message);
        }
    }

    /// Turns, disks and messages, in order, until nothing is left to do. Time stands still.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut busy = false;
            for id in self.ids() {
                self.turn(id);
                if self.node(id).is_installing() {
                    self.node(id).flush();
                }
                while self.node(id).sync() {
                    busy = true;
                    self.turn(id);
                }
            }
            for _ in 0..self.network.len() {
                busy = true;
                self.deliver(0);
            }
            if !busy {
                return;
            }
        }
        panic!("{}: it never comes to rest", self.story);
    }

    /// Time passes until something holds.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            self.settle();
            if holds(self) {
                return;
            }
            self.pass(Duration::from_millis(20));
        }
        panic!("{}: it never happens that {what}", self.story);
    }

    /// Time passes until somebody leads.
    fn elect(&mut self) -> ReplicaId {
        self.until("somebody leads", |cluster| {
            let leader = cluster.leader().filter(|id| !cluster.cut_off.contains(id));
            let raft = leader.map(|id| cluster.replica(id).status().raft);
            raft.is_some_and(|raft| raft.applied == raft.last)
        });
        self.leader().unwrap()
    }

    // --- checks ---

    fn end(&mut self, ticket: Ticket, end: End) {
        let before = self.ends.insert(ticket, end);
        assert_eq!(before, None, "{}: {ticket:?} ends as {end:?} too", self.story);
    }

    fn check_read(&self, at: ReplicaId, ticket: Ticket) {
        let Asked::Read(must_see) = &self.asked[&ticket].1 else {
            panic!("{}: {ticket:?} is no read", self.story);
        };
        for write in must_see {
            assert!(self.holds(at, *write), "{}: {ticket:?} misses {write:?}", self.story);
        }
    }

    fn holds(&self, at: ReplicaId, write: Ticket) -> bool {
        let node = &self.nodes[&at];
        let replica = node.replica.as_ref().unwrap();
        let reading = replica.get(&node.engine, self.now, &key_of(write)).unwrap();
        matches!(reading, Reading::Found(Some(_)))
    }

    /// Replicas that have applied the same index hold the same state.
    fn note_applied(&mut self, id: ReplicaId) {
        let Some(replica) = &self.nodes[&id].replica else { return };
        let applied = replica.applied();
        if self.applied.insert(id, applied) == Some(applied) {
            return;
        }
        // While a snapshot is installed the store is ahead of what the replica counts as applied.
        let (stored, hash) = replica.applied_state(&self.nodes[&id].engine).unwrap();
        let Applied { index, .. } = stored;
        let known = *self.hashes.entry(index).or_insert(hash);
        assert_eq!(known, hash, "{}: replica {id} has another state at {index}", self.story);
    }

    /// Everything heals, and what was promised is there everywhere.
    fn check_end(&mut self) {
        self.cut_off.clear();
        for id in self.ids() {
            self.node(id).stalled = false;
            if self.nodes[&id].replica.is_none() {
                self.start(id);
            }
        }
        let leader = self.elect();
        let last = self.write(leader);
        let members = self.replica(leader).configuration().members();
        self.until("every member has applied the last write", |cluster| {
            members.iter().all(|id| cluster.holds(*id, last))
        });
        assert_eq!(self.ends[&last], End::Answered);
        for (ticket, end) in &self.ends {
            if !matches!(self.asked[ticket].1, Asked::Write) || *end == End::Lost {
                continue;
            }
            for id in &members {
                let held = self.holds(*id, *ticket);
                let story = &self.story;
                assert_eq!(held, *end == End::Answered, "{story}: {ticket:?} at {id}: {end:?}");
            }
        }
        let (index, hash) = (self.replica(leader).applied(), self.nodes[&leader].hash());
        for id in members {
            assert_eq!((self.replica(id).applied(), self.nodes[&id].hash()), (index, hash));
            let (node, status) = (&self.nodes[&id], self.replica(id).status());
            assert_eq!(status.log_bytes, node.durable_log_bytes(), "{}: of {id}", self.story);
        }
    }
}
