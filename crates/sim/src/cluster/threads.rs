//! The host's part: starts of processes, turns of threads, ends of disk operations, frames in and out.

use bytes::BytesMut;
use ringfort_engine::{MemoryEngine, MemoryOptions, StorageEngine};
use ringfort_env::{DiskCompletion, DiskOperation, Lane};
use ringfort_node::NodeGuards;
use ringfort_node::control::Founded;
use ringfort_proto::peer::{Channel, Frame};
use ringfort_proto::{FRAME_BYTES_MAX, decode_frame, put_frame, take_frame};
use ringfort_raft::Guards;
use ringfort_types::NodeNumber;

use super::mix::{MILLI, about};
use super::mutants::Mutant;
use super::network::{Arrival, Carries, LinkId, Network};
use super::node::{Change, ClusterNode, NodeOptions, Outputs, Thread};
use super::queue::Event;
use super::report::{Count, Violation};
use super::{Run, number};
use crate::{PowerLoss, Stopped};

/// How many ticks apart the host looks at what the disk has free.
const HOUSEKEEPING_TICKS: u64 = 25;
/// What a disk without a bound has free, in bytes.
const FREE: u64 = 1 << 40;

impl Run {
    pub(super) fn start_process(&mut self, node: usize) -> Result<(), Violation> {
        if self.machines[node].process.is_some() {
            return Ok(());
        }
        let held_until = self.machines[node].held_until;
        if !self.healed && self.now < held_until {
            self.queue.push(held_until, Event::Start { node });
            return Ok(());
        }
        let options = self.node_options(node);
        if !self.healed && self.chance(self.mix.struck_starts) {
            let operations = self.random.below(60);
            self.machines[node].disk.crash_in(operations);
        }
        let hash_seed = u128::from(self.random.next_u64());
        let mutant = self.options.mutant;
        let engine = || -> Box<dyn StorageEngine> {
            let engine = MemoryEngine::new(MemoryOptions { hash_seed });
            super::mutants::engine(mutant, Box::new(engine))
        };
        let machine = &mut self.machines[node];
        let now = machine.clock.at(self.now);
        match ClusterNode::start(&mut machine.disk, options, now, engine) {
            // It takes what it cannot read for damaged, and goes on; but here nothing goes on.
            Ok(_) if machine.disk.crashed() => {
                self.start_failed(node, &Stopped("the machine went down".to_owned()))
            }
            Ok((process, findings)) => {
                self.began(node, process, &findings);
                Ok(())
            }
            Err(stopped) => self.start_failed(node, &stopped),
        }
    }

    fn node_options(&mut self, node: usize) -> NodeOptions {
        let mix = &self.mix;
        let mutant = self.options.mutant;
        let guards = match mutant {
            Some(Mutant::Without(guard)) => Guards::without(guard),
            _ => Guards::default(),
        };
        let node_guards = match mutant {
            Some(Mutant::WithoutNode(guard)) => NodeGuards::without(guard),
            _ => NodeGuards::default(),
        };
        let founded = match self.machines[node].formed {
            true => Founded::Everything,
            false => Founded::Nothing,
        };
        NodeOptions {
            number: number(node),
            shards: mix.shards,
            workers: mix.workers,
            founded,
            formed: mix.formed.clone(),
            founding: self.founding[node].clone(),
            log: mix.log,
            raft: mix.settings,
            guards,
            node_guards,
            retry_bytes_max: mix.retry_bytes_max,
            requests_max: mix.requests_max,
            unapplied_bytes_max: mix.unapplied_bytes_max,
            limits: mix.limits,
            payload_bytes_target: mix.payload_bytes_target,
            snapshot_bytes_per_second: mix.snapshot_bytes_per_second,
            seed: self.random.next_u64(),
            mutant,
        }
    }

    fn began(&mut self, node: usize, process: ClusterNode, findings: &[String]) {
        self.totals.add(Count::Starts, 1);
        let cached =
            if process.had_catalog_file { Count::CatalogsFound } else { Count::CatalogsMissed };
        self.totals.add(cached, 1);
        let machine = &mut self.machines[node];
        machine.found_all = process.lacks_nothing();
        for shard in process.shards() {
            let name = (shard.shard, shard.replica);
            let new = shard.closed.is_some() && machine.quarantined.insert(name);
            self.totals.add(Count::Quarantines, new.into());
            let lost = shard.status.is_some_and(|status| status.raft.lost);
            self.totals.add(Count::EntriesLost, lost.into());
        }
        machine.begin(process);
        let boot = machine.boot;
        let at = self.now + 1 + self.random.below(self.mix.tick);
        self.queue.push(at, Event::Tick { node, boot });
        self.note(|| format!("node {node} starts: {findings:?}"));
        // The founding waits in the log.
        self.queue.push(self.now + 1, Event::Turn { node, boot, thread: Thread::Log });
        self.plan_turns(node);
        self.flush_others(node);
    }

    /// A start that does not come to its end is tried again, as a supervisor would.
    fn start_failed(&mut self, node: usize, stopped: &Stopped) -> Result<(), Violation> {
        self.totals.add(Count::StartsStruck, 1);
        self.note(|| format!("node {node} cannot start: {}", stopped.0));
        let excused = is_fault(stopped) || stopped.0.contains("no space left");
        let damaged = self.machines[node].damaged;
        if !excused && !damaged {
            let what = format!("node {node} cannot start: {}", stopped.0);
            return Err(Violation { name: "starts", what });
        }
        self.leave_disk(node);
        let wait = self.random.between(20 * MILLI, 500 * MILLI);
        self.queue.push(self.now + wait, Event::Start { node });
        Ok(())
    }

    fn leave_disk(&mut self, node: usize) {
        if self.random.one_in(2) {
            self.machines[node].disk.power_loss(PowerLoss::Any);
        } else {
            self.machines[node].disk.process_crash();
        }
    }

    /// Counts what a process did.
    pub(super) fn gather(&mut self, process: &ClusterNode) {
        self.totals.count_shards(&process.shards());
        self.totals.count_process(&process.log_stats(), &process.worker_stats());
        self.totals.count_member(process);
        self.totals.add(Count::FramesLost, process.frames_dropped);
    }

    /// Plans a turn for each thread of a node that has something to do.
    pub(super) fn plan_turns(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let Some(process) = &machine.process else { return };
        for thread in process.threads() {
            if self.machines[node].take_turn_wish(thread) {
                let late = !self.healed && self.chance(self.mix.late_turns);
                let wait = match late {
                    true => about(&mut self.random, 20 * MILLI),
                    false => 2_000 + self.random.below(30_000),
                };
                let boot = self.machines[node].boot;
                self.queue.push(self.now + wait, Event::Turn { node, boot, thread });
            }
        }
        self.plan_log_timer(node);
    }

    fn plan_log_timer(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let due = machine.process.as_ref().and_then(ClusterNode::log_timer);
        let Some(at) = due.map(|due| machine.clock.when(due).max(self.now + 1)) else { return };
        if machine.timer.is_none_or(|planned| planned > at) {
            machine.timer = Some(at);
            let boot = machine.boot;
            self.queue.push(at, Event::LogTimer { node, boot });
        }
    }

    pub(super) fn ring_log_timer(&mut self, node: usize, boot: u64) {
        let machine = &mut self.machines[node];
        if machine.boot != boot || machine.timer.is_none_or(|planned| planned > self.now) {
            return;
        }
        machine.timer = None;
        if machine.paused {
            let at = self.now + self.mix.tick;
            machine.timer = Some(at);
            self.queue.push(at, Event::LogTimer { node, boot });
        } else if let Some(process) = &mut machine.process {
            process.handle_log_timer();
            self.plan_turns(node);
        }
    }

    pub(super) fn tick(&mut self, node: usize, boot: u64) {
        let machine = &mut self.machines[node];
        if machine.boot != boot {
            return;
        }
        self.queue.push(self.now + self.mix.tick, Event::Tick { node, boot });
        let house = self.random.one_in(HOUSEKEEPING_TICKS);
        self.hand_over(node);
        let machine = &mut self.machines[node];
        if let Some(process) = machine.process.as_mut().filter(|_| !machine.paused) {
            process.handle_tick();
            if house {
                process.handle_free(machine.disk.free().unwrap_or(FREE));
            }
            self.plan_turns(node);
        }
    }

    pub(super) fn turn(&mut self, node: usize, boot: u64, thread: Thread) -> Result<(), Violation> {
        let machine = &mut self.machines[node];
        if machine.boot != boot {
            return Ok(());
        }
        machine.planned[thread.number()] = false;
        if machine.process.is_none() || machine.paused {
            return Ok(());
        }
        let look = self.look_of_turn();
        let machine = &mut self.machines[node];
        let Some(process) = machine.process.as_mut().filter(|_| !machine.paused) else {
            return Ok(());
        };
        let mut out = Outputs::default();
        let result = process.turn(thread, look, machine.clock.at(self.now), &mut out);
        machine.formed |= process.is_founded();
        self.count_look(look, out.taken.0, out.taken.1);
        if let Err(stopped) = result {
            return self.stopped(node, &stopped);
        }
        for request in out.disk {
            let lane = request.lane;
            self.machines[node].submit(request);
            self.plan_disk(node, lane);
        }
        for (worker, to, channel, frame) in out.frames {
            if (self.refuses_frame() || !self.send_frame(node, to, channel, &frame)?)
                && let Some(process) = &mut self.machines[node].process
            {
                process.handle_unsent(worker, frame);
            }
        }
        for (to, frame) in out.words {
            // What gossip does not reach now, it reaches later.
            let _ = self.send_frame(node, to, Channel::Consensus, &frame)?;
        }
        if let Some(finding) = out.findings.pop() {
            let what = format!("node {node}: {finding}");
            return Err(Violation { name: "the_catalog_makes_maps", what });
        }
        for (client, request, reply) in out.replies {
            self.send_reply(node, client, request, reply);
        }
        for message in out.messages {
            self.note(|| format!("node {node}: {message}"));
        }
        self.plan_turns(node);
        Ok(())
    }

    /// A process ends by itself, which it may only where its disk fails.
    fn stopped(&mut self, node: usize, stopped: &Stopped) -> Result<(), Violation> {
        self.note(|| format!("node {node} stops: {}", stopped.0));
        if !is_fault(stopped) {
            let what = format!("node {node} stops: {}", stopped.0);
            return Err(Violation { name: "processes_go_on", what });
        }
        let power = self.machines[node].disk.crashed() && self.random.one_in(2);
        self.end_process(node, power);
        Ok(())
    }

    pub(super) fn plan_disk(&mut self, node: usize, lane: Lane) {
        let machine = &mut self.machines[node];
        let number = usize::from(lane == Lane::Background);
        let Some(request) = machine.disk.front(lane).filter(|_| !machine.busy[number]) else {
            return;
        };
        let takes = match &request.operation {
            DiskOperation::SyncData(_) | DiskOperation::SyncDirectory => {
                about(&mut self.random, self.mix.sync * machine.disk_factor)
            }
            DiskOperation::WriteAt { bytes, .. } => 10_000 + 2 * bytes.len() as u64,
            _ => 20_000,
        };
        machine.busy[number] = true;
        let at = self.now.max(machine.stalled_until[number]) + takes;
        let boot = machine.boot;
        self.queue.push(at, Event::Disk { node, boot, lane });
    }

    pub(super) fn complete_disk(
        &mut self,
        node: usize,
        boot: u64,
        lane: Lane,
    ) -> Result<(), Violation> {
        let machine = &mut self.machines[node];
        if machine.boot != boot {
            return Ok(());
        }
        machine.busy[usize::from(lane == Lane::Background)] = false;
        let completion = machine.disk.complete(lane);
        if machine.disk.crashed() {
            let power = self.random.one_in(2);
            self.end_process(node, power);
            return Ok(());
        }
        let Some(completion) = completion else { return self.hand_completion(node, lane, None) };
        match self.completion_waits(lane) {
            0 => self.hand_completion(node, lane, Some(completion)),
            wait => {
                self.plan_late(node, lane, wait, completion);
                Ok(())
            }
        }
    }

    /// Tells a process of the end of an operation, if there is word of it, and goes on with the lane.
    pub(super) fn hand_completion(
        &mut self,
        node: usize,
        lane: Lane,
        completion: Option<DiskCompletion>,
    ) -> Result<(), Violation> {
        if let (Some(completion), Some(process)) = (completion, &mut self.machines[node].process)
            && let Err(stopped) = process.handle_disk(completion)
        {
            return self.stopped(node, &stopped);
        }
        self.plan_disk(node, lane);
        self.plan_turns(node);
        Ok(())
    }

    /// Hands a frame to its connection. Gives whether that took it.
    fn send_frame(
        &mut self,
        from: usize,
        to: NodeNumber,
        channel: Channel,
        frame: &Frame,
    ) -> Result<bool, Violation> {
        let mut bytes = BytesMut::new();
        put_frame(frame, &mut bytes)
            .map_err(|error| Violation { name: "frames_can_be_sent", what: error.to_string() })?;
        let bytes = bytes.freeze();
        self.weigh_bytes(&bytes);
        let to = usize::from(to.0);
        let link = match channel {
            Channel::Requests if bytes.len() <= self.mix.along_bytes_max => {
                self.network.link_of_small_requests(from, to)
            }
            _ => self.network.link(from, to, channel),
        };
        let Some(link) = link else { return Ok(false) };
        if channel == Channel::Requests {
            let is_along = Network::channel(link) == Channel::Consensus;
            let count = if is_along { Count::RequestsAlong } else { Count::RequestsApart };
            self.totals.add(count, 1);
        }
        let arrivals = self.network.send(self.now, link, bytes, Carries::of(frame), &self.mix);
        let taken = arrivals.is_some();
        self.push_arrivals(arrivals.into_iter().flatten().flatten().collect());
        Ok(taken)
    }

    fn weigh_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.weigh(u64::from_le_bytes(word));
        }
    }

    pub(super) fn push_arrivals(&mut self, arrivals: Vec<(u64, Arrival)>) {
        for (at, arrival) in arrivals {
            self.queue.push(at, Event::Arrive(arrival));
        }
    }

    pub(super) fn arrive(&mut self, arrival: Arrival) -> Result<(), Violation> {
        let (from, to) = self.network.ends(arrival.link);
        let Some(bytes) = self.network.arrive(self.now, arrival) else { return Ok(()) };
        let Some(process) = &mut self.machines[to].process else { return Ok(()) };
        let malformed = |what: String| Violation { name: "frames_can_be_read", what };
        let mut bytes = BytesMut::from(&bytes[..]);
        let frame = take_frame(&mut bytes, FRAME_BYTES_MAX)
            .map_err(|error| malformed(error.to_string()))?;
        let frame = frame.ok_or_else(|| malformed("a frame is cut short".to_owned()))?;
        let frame = decode_frame(frame).map_err(|error| malformed(error.to_string()))?;
        process.handle_frame(number(from), frame);
        self.plan_turns(to);
        Ok(())
    }

    /// Tells a node what became of a connection with another.
    pub(super) fn tell_of_connection(&mut self, node: usize, with: usize, change: Change) {
        if let Some(process) = &mut self.machines[node].process {
            process.handle_connection(number(with), change);
            self.plan_turns(node);
        }
    }

    pub(super) fn connect(&mut self, link: LinkId) {
        let (from, to) = self.network.ends(link);
        let up = self.machines[from].process.is_some() && self.machines[to].process.is_some();
        let arrivals = match up {
            true => self.network.connect(self.now, link, &self.mix),
            false => None,
        };
        match arrivals {
            Some(arrivals) => {
                self.push_arrivals(arrivals);
                self.tell_of_connection(from, to, Change::Up);
            }
            None => self.plan_connect(link),
        }
    }
}

/// Whether a process stopped because its disk failed on request.
fn is_fault(stopped: &Stopped) -> bool {
    ["(injected)", "the machine"].iter().any(|words| stopped.0.contains(words))
}
