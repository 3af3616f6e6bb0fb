//! Verbs that give replicas their inputs: time, proposals, changes, reads, transfers, sleep.

use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{Change, Learner, Priority, Role};
use ringfort_sim::group::GroupDisk;
use ringfort_types::{Monotonic, ReplicaId};

use super::Storage;
use super::args::{Args, Failure, parse_id};
use super::world::World;

/// Rounds after which a cluster that finds no rest has a fault.
const ROUNDS_MAX: usize = 10_000;

impl World {
    /// `propose 1 a b`, `propose 1 size=1000 count=30`: payloads for one replica, taken together.
    pub(super) fn propose(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        let (size, count) = (args.number::<usize>("size")?, args.number::<usize>("count")?);
        let mut payloads = Vec::new();
        while let Some(word) = args.word() {
            payloads.push(Bytes::from(word));
        }
        if let Some(size) = size {
            payloads.extend((0..count.unwrap_or(1)).map(|_| Bytes::from(vec![b'x'; size])));
        }
        for payload in payloads {
            self.cluster.propose(id, payload).ok_or("it does not run")??;
        }
        self.after(id)
    }

    /// `propose-conf 1 add-learner 4 replaces 2`, `promote 4`, `remove 3`: changes that begin together. A learner that is not
    /// there yet joins with a blank disk. With `try`, a refusal is told and not a failure.
    pub(super) fn propose_conf(&mut self, args: &mut Args) -> Result<(), Failure> {
        let tries = args.take_word("try");
        let id = args.id()?;
        let mut changes: Vec<Change> = Vec::new();
        while let Some(word) = args.word() {
            let whom = args.id()?;
            match (word.as_str(), changes.last_mut()) {
                ("add-learner", _) => {
                    changes.push(Change::AddLearner(Learner { id: whom, replaces: None }));
                }
                ("replaces", Some(Change::AddLearner(learner))) => learner.replaces = Some(whom),
                ("promote", _) => changes.push(Change::Promote(whom)),
                ("remove", _) => changes.push(Change::Remove(whom)),
                _ => return Err(format!("no change is called {word}").into()),
            }
        }
        if let Err(refusal) = self.cluster.change(id, &changes).ok_or("it does not run")? {
            if !tries {
                return Err(refusal.into());
            }
            self.tell(format!("{id} refuses: {refusal}"));
            return Ok(());
        }
        for change in &changes {
            if let Change::AddLearner(learner) = change
                && !self.cluster.nodes.contains_key(&learner.id)
            {
                self.join(learner.id);
            }
        }
        self.after(id)
    }

    fn join(&mut self, id: ReplicaId) {
        self.cluster.add(id, GroupDisk::default());
        self.note_start(id);
        self.tell(format!("{id} joins, blank"));
    }

    /// `priority 2 never`: how eager a replica is to lead.
    pub(super) fn priority(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        let priority = match args.word().as_deref() {
            Some("never") => Priority::Never,
            Some("low") => Priority::Low,
            Some("normal") => Priority::Normal,
            _ => return Err("never, low or normal?".into()),
        };
        self.cluster.with(id, |node, _| {
            node.config.priority = priority;
            if let Some(group) = &mut node.group {
                group.set_priority(priority);
            }
        });
        self.after(id)
    }

    /// `campaign 2`: time passes until the replica's patience ends; nobody else is told. `campaign 2 early`: its clock alone
    /// jumps ahead, and stays so.
    pub(super) fn campaign(&mut self, args: &mut Args) -> Result<(), Failure> {
        let early = args.take_word("early");
        let id = args.id()?;
        let group = self.cluster.nodes.get(&id).and_then(|node| node.group.as_ref());
        let group = group.ok_or("it does not run")?;
        if group.role() == Role::Leader {
            return Err("it leads already".into());
        }
        let due = group.deadline().ok_or("it sleeps, or is silent")?;
        let wait = due.since(self.clock(id));
        if early {
            let ahead = i64::try_from(wait.as_nanos())?;
            self.cluster.with(id, |node, _| node.clock_ahead += ahead);
        } else {
            self.cluster.advance(wait);
        }
        self.cluster.tick(id);
        self.after(id)
    }

    /// `tick`, `tick 300ms 1 2`: so much time passes (a heartbeat, if it is not said), and these replicas are told, or all.
    pub(super) fn tick(&mut self, args: &mut Args) -> Result<(), Failure> {
        let heartbeat = self.cluster.settings().heartbeat;
        let time = args.time()?.unwrap_or(heartbeat);
        let ids = self.ids_or_all(args)?;
        self.cluster.advance(time);
        for id in ids {
            self.cluster.tick(id);
            self.after(id)?;
        }
        Ok(())
    }

    /// `pass 1s`: time passes, and nobody is told.
    pub(super) fn pass(&mut self, args: &mut Args) -> Result<(), Failure> {
        let time = args.time()?.ok_or("for how long?")?;
        self.cluster.advance(time);
        Ok(())
    }

    /// `clock 2 ahead=300ms`: from now on the replica's clock is ahead of the others by so much.
    pub(super) fn set_clock(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        let ahead = args.time_of("ahead")?.ok_or("by how much?")?;
        let ahead = i64::try_from(ahead.as_nanos())?;
        self.cluster.with(id, |node, _| node.clock_ahead = ahead);
        Ok(())
    }

    /// `run 2s`: so much time passes in heartbeats, with everything done that there is to do.
    pub(super) fn run(&mut self, args: &mut Args) -> Result<(), Failure> {
        let heartbeat = self.cluster.settings().heartbeat;
        let time = args.time()?.ok_or("for how long?")?;
        let ids = self.ids_or_all(args)?;
        let mut passed = Duration::ZERO;
        while passed < time {
            self.cluster.advance(heartbeat);
            passed += heartbeat;
            for id in &ids {
                self.cluster.tick(*id);
                self.after(*id)?;
            }
            self.rest(&ids)?;
        }
        Ok(())
    }

    /// `settle 2`: everything that the hosts of these replicas have to do; messages stay in the network.
    pub(super) fn settle(&mut self, args: &mut Args) -> Result<(), Failure> {
        for id in self.ids_or_all(args)? {
            self.after(id)?;
            self.host(id)?;
        }
        Ok(())
    }

    /// `stabilize`, `stabilize 1 2`: these replicas, or all, settle and get their messages, until nothing is left to do.
    pub(super) fn stabilize(&mut self, args: &mut Args) -> Result<(), Failure> {
        let ids = self.ids_or_all(args)?;
        self.rest(&ids)
    }

    fn rest(&mut self, ids: &[ReplicaId]) -> Result<(), Failure> {
        for _ in 0..ROUNDS_MAX {
            // Where storage lags, disks move once no message is left.
            if self.storage != Storage::Lazy || self.takes_nothing(ids) {
                for id in ids {
                    self.after(*id)?;
                    self.host(*id)?;
                }
            }
            if self.takes_nothing(ids) {
                return Ok(());
            }
            let network = std::mem::take(&mut self.cluster.network);
            let (now, later) = network
                .into_iter()
                .partition::<Vec<_>, _>(|flight| ids.contains(&flight.message.to));
            self.cluster.network = later;
            for flight in now {
                self.receive(&flight.message)?;
            }
        }
        Err("the cluster finds no rest".into())
    }

    fn takes_nothing(&self, ids: &[ReplicaId]) -> bool {
        self.cluster.network.iter().all(|flight| !ids.contains(&flight.message.to))
    }

    /// `read 1`: asks for a read. `read 1 now`: says whether one may be served at once.
    pub(super) fn read(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        if args.take_word("now") {
            let serves = self.serves(id);
            self.say(format!("{id} {}", if serves { "serves at once" } else { "does not serve" }));
            return Ok(());
        }
        let read = self.cluster.read(id).ok_or("it does not run")??;
        self.tell(format!("{id} is asked for read {}", read.0));
        self.after(id)
    }

    /// Whether a replica may serve a read at once.
    pub(super) fn serves(&self, id: ReplicaId) -> bool {
        let group = self.cluster.nodes.get(&id).and_then(|node| node.group.as_ref());
        group.is_some_and(|group| group.can_read_now(self.clock(id)))
    }

    /// `transfer 1 2`: 1 hands over to 2.
    pub(super) fn transfer(&mut self, args: &mut Args) -> Result<(), Failure> {
        let (id, to) = (args.id()?, args.id()?);
        let done = self.cluster.with(id, |node, now| {
            let now = node.clock(now);
            node.group.as_mut().map(|group| group.transfer(now, to))
        });
        done.flatten().ok_or("it does not run")??;
        self.after(id)
    }

    /// `unreachable 1 2`: 1 is told that what it sent to 2 may not have arrived.
    pub(super) fn unreachable(&mut self, args: &mut Args) -> Result<(), Failure> {
        let (id, peer) = (args.id()?, args.id()?);
        self.cluster.with(id, |node, _| {
            if let Some(group) = &mut node.group {
                group.handle_unreachable(peer);
            }
        });
        self.after(id)
    }

    /// `sleep`: time passes, with everything done, until everybody who runs sleeps.
    pub(super) fn sleep(&mut self, args: &mut Args) -> Result<(), Failure> {
        let ids = self.ids_or_all(args)?;
        let settings = *self.cluster.settings();
        let rounds = settings.sleep_after.as_nanos() / settings.heartbeat.as_nanos().max(1) + 5;
        for _ in 0..rounds {
            let nodes = &self.cluster.nodes;
            let awake = ids.iter().filter_map(|id| nodes.get(id)?.group.as_ref());
            if awake.filter(|group| !group.is_asleep()).count() == 0 {
                return Ok(());
            }
            self.cluster.advance(settings.heartbeat);
            for id in &ids {
                self.cluster.tick(*id);
                self.after(*id)?;
            }
            self.rest(&ids)?;
        }
        Err("somebody does not sleep".into())
    }

    /// `wake 2`, `wake 2 promised=300ms`: the host wakes it, because a node may be lost; a promise lasts for so long from now.
    pub(super) fn wake(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        let promised = args.time_of("promised")?;
        self.cluster.with(id, |node, now| {
            let now = node.clock(now);
            let until = promised.map_or(Monotonic(0), |promised| now + promised);
            if let Some(group) = &mut node.group {
                group.handle_wake(now, until);
            }
        });
        self.after(id)
    }

    /// `pair-heartbeat 1 2`: 1's node has one heartbeat for all its groups with 2's. `term=` is what it says it leads.
    pub(super) fn pair_heartbeat(&mut self, args: &mut Args) -> Result<(), Failure> {
        let (from, to) = (args.id()?, args.id()?);
        let term = args.term_of("term")?;
        let lease = args.time_of("lease")?.unwrap_or(self.cluster.settings().lease);
        let leads = self.cluster.nodes.get(&from).and_then(|node| node.group.as_ref());
        let term = term.or(leads.map(|group| group.leader().term)).ok_or("of which term?")?;
        let covered = self.cluster.with(to, |node, now| {
            let now = node.clock(now);
            node.group
                .as_mut()
                .is_some_and(|group| group.handle_pair_heartbeat(now, from, term, lease))
        });
        let says = if covered == Some(true) { "covers" } else { "makes an exception of" };
        self.say(format!("{to}'s node {says} this group"));
        self.after(to)
    }

    /// `pair-ack 2 1 ago=50ms`: 2's node acknowledges to 1's what that sent so long ago, and makes no exception of this group.
    pub(super) fn pair_ack(&mut self, args: &mut Args) -> Result<(), Failure> {
        let (from, to) = (args.id()?, args.id()?);
        let ago = args.time_of("ago")?.unwrap_or_default();
        let leads = self.cluster.nodes.get(&to).and_then(|node| node.group.as_ref());
        let here = leads.map(|group| group.leader().term);
        let term = args.term_of("term")?.or(here).ok_or("of which term?")?;
        self.cluster.with(to, |node, now| {
            let now = node.clock(now);
            let sent = Monotonic(now.0.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(0)));
            if let Some(group) = &mut node.group {
                group.handle_pair_ack(now, from, term, sent);
            }
        });
        self.after(to)
    }

    /// The replicas that are named, or all.
    pub(super) fn ids_or_all(&self, args: &mut Args) -> Result<Vec<ReplicaId>, Failure> {
        let mut ids = Vec::new();
        while let Some(word) = args.word() {
            ids.push(parse_id(&word)?);
        }
        Ok(if ids.is_empty() { self.cluster.ids() } else { ids })
    }
}
