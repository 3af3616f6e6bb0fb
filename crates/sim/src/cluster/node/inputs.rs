//! What a process is handed: frames, requests, ends of disk operations, time. It waits in the inboxes of threads.

use std::collections::BTreeMap;

use ringfort_env::DiskCompletion;
use ringfort_log::LogStore;
use ringfort_node::Space;
use ringfort_proto::peer::Frame;
use ringfort_types::request::{Batch, Context, List, Operation, Principal, Trace};
use ringfort_types::{GroupId, Monotonic, NamespaceId, NodeNumber, shard_of_token};

use super::{
    Ask, Asked, Change, ClusterNode, FRAMES_MAX, LogInput, OpenRequest, Owner, Waiter, WorkerInput,
};
use crate::Stopped;

impl ClusterNode {
    /// Takes a frame of another node.
    pub(in crate::cluster) fn handle_frame(&mut self, from: NodeNumber, frame: Frame) {
        if self.frames >= FRAMES_MAX {
            self.frames_dropped += 1;
            return;
        }
        let (inboxes, frames) = (&mut self.inboxes, &mut self.frames);
        frame.divide(self.options.workers, |worker, part| {
            inboxes[usize::from(worker)].push(WorkerInput::Frame(from, part));
            *frames += 1;
        });
    }

    /// Takes a frame of a worker back: no connection took it.
    pub(in crate::cluster) fn handle_unsent(&mut self, worker: usize, frame: Frame) {
        self.inboxes[worker].push(WorkerInput::Unsent(frame));
    }

    /// Takes word of a connection with another node.
    pub(in crate::cluster) fn handle_connection(&mut self, node: NodeNumber, change: Change) {
        for inbox in &mut self.inboxes {
            inbox.push(WorkerInput::Connection(node, change));
        }
    }

    /// Takes a request.
    pub(in crate::cluster) fn handle_request(&mut self, now: Monotonic, asked: Asked) {
        let Asked { client, request, timeout, ask } = asked;
        let context = Context {
            arrived: now,
            deadline: now + timeout,
            principal: Principal::default(),
            trace: Trace::default(),
        };
        self.last_open += 1;
        let open = self.last_open;
        let waiter = Waiter { open, position: 0 };
        let (worker, input, operations) = match ask {
            Ask::Get { get } => {
                (self.worker_of(&get.key), WorkerInput::Get(waiter, context, get), 1)
            }
            Ask::Write { write } => {
                let worker = self.worker_of(write.operation.key());
                (worker, WorkerInput::Write(waiter, context, write), 1)
            }
            Ask::Batch { batch } if batch.atomic => {
                let worker =
                    batch.operations.first().map_or(0, |first| self.worker_of(first.key()));
                (worker, WorkerInput::Atomic(waiter, context, batch), 1)
            }
            Ask::Batch { batch } => {
                return self.handle_batch(open, &context, client, request, batch);
            }
            Ask::List { list } => {
                return self.handle_list(open, &context, client, request, &list);
            }
        };
        self.open_request(open, client, request, operations);
        self.inboxes[worker].push(input);
    }

    fn handle_batch(
        &mut self,
        open: u64,
        context: &Context,
        client: usize,
        request: u64,
        batch: Batch,
    ) {
        self.open_request(open, client, request, batch.operations.len());
        let mut parts: BTreeMap<usize, Vec<(u16, Operation)>> = BTreeMap::new();
        for (position, operation) in (0..).zip(batch.operations) {
            let worker = self.worker_of(operation.key());
            parts.entry(worker).or_default().push((position, operation));
        }
        for (worker, operations) in parts {
            let identity = batch.identity.clone();
            let input = WorkerInput::Batch(open, context.clone(), identity, operations);
            self.inboxes[worker].push(input);
        }
    }

    /// Every worker lists what is its own: see the server's backend.
    fn handle_list(
        &mut self,
        open: u64,
        context: &Context,
        client: usize,
        request: u64,
        list: &List,
    ) {
        self.open_request(open, client, request, self.workers.len());
        if let Some(opened) = self.open.get_mut(&open) {
            opened.bounds = Some((list.limit, list.bytes_max));
        }
        for (position, inbox) in self.inboxes.iter_mut().enumerate() {
            let waiter = Waiter { open, position };
            inbox.push(WorkerInput::List(waiter, context.clone(), list.clone()));
        }
    }

    fn open_request(&mut self, open: u64, client: usize, request: u64, operations: usize) {
        let results = vec![None; operations];
        let (pages, bounds) = (Vec::new(), None);
        let opened = OpenRequest { client, request, results, left: operations, pages, bounds };
        self.open.insert(open, opened);
    }

    fn worker_of(&self, key: &ringfort_types::Key) -> usize {
        let shard = shard_of_token(key.token(NamespaceId::default()), self.options.shards);
        shard.0 as usize % self.workers.len()
    }

    /// Takes the passing of time.
    pub(in crate::cluster) fn handle_tick(&mut self) {
        for inbox in &mut self.inboxes {
            if !inbox.iter().any(|input| matches!(input, WorkerInput::Tick)) {
                inbox.push(WorkerInput::Tick);
            }
        }
    }

    /// Takes what the disk has free: see the server's housekeeping.
    pub(in crate::cluster) fn handle_free(&mut self, free: u64) {
        let (mut largest_store, mut unflushed, mut total) = (0, 0, 0);
        for shard in self.shards() {
            let in_log = shard.status.map_or(0, |status| status.log_bytes);
            largest_store = shard.stored.bytes.max(largest_store);
            unflushed += shard.stored.bytes.min(in_log);
            total += shard.stored.bytes;
        }
        let workers = self.workers.len() as u64;
        let segment = self.options.log.segment_bytes;
        let (free, share) = (free / workers, segment / workers);
        let room = Space { free, segment: share, largest_store, unflushed }.room();
        for inbox in &mut self.inboxes {
            inbox.push(WorkerInput::Room(room));
        }
        let target = if self.log_has_room && room > 0 {
            self.options.log.log_bytes_target.max(total)
        } else {
            2 * segment
        };
        self.log_inbox.push(LogInput::Target(target));
    }

    /// Has stores flushed, as the log would ask for when it is long.
    pub(in crate::cluster) fn want_flush(&mut self, groups: &[GroupId]) {
        for inbox in &mut self.inboxes {
            inbox.push(WorkerInput::WantRebase(groups.to_vec()));
        }
    }

    /// Has everything that is led here handed over.
    pub(in crate::cluster) fn want_hand_over(&mut self) {
        for inbox in &mut self.inboxes {
            inbox.push(WorkerInput::HandOver);
        }
    }

    /// Takes the end of a disk operation.
    pub(in crate::cluster) fn handle_disk(
        &mut self,
        completion: DiskCompletion,
    ) -> Result<(), Stopped> {
        let Some((owner, id)) = self.owners.remove(&completion.id) else {
            return Err(Stopped(format!("operation {:?} was never asked for", completion.id)));
        };
        let completion = DiskCompletion { id, ..completion };
        match owner {
            Owner::Log => self.log_inbox.push(LogInput::Disk(completion)),
            Owner::CatalogFile => self.inboxes[0].push(WorkerInput::CatalogFile(completion)),
            Owner::Worker(worker) => self.inboxes[worker].push(WorkerInput::Disk(completion)),
        }
        Ok(())
    }

    /// When the log wants its timer to ring, if it has not just rung.
    pub(in crate::cluster) fn log_timer(&self) -> Option<Monotonic> {
        let rung = self.log_inbox.iter().any(|input| matches!(input, LogInput::Timer));
        if rung { None } else { self.log.poll_timer() }
    }

    /// The log's timer rings.
    pub(in crate::cluster) fn handle_log_timer(&mut self) {
        self.log_inbox.push(LogInput::Timer);
    }
}
