//! Turns of threads, and how answers get to whoever asked.

use ringfort_env::{DiskOperation, DiskRequest, OperationId};
use ringfort_log::{Headroom, LogEvent, LogStore, SubmissionId};
use ringfort_node::{GetAnswer, Replied, Response, merge_pages};
use ringfort_types::request::{Answered, Context, Done, Identity, Operation};
use ringfort_types::{Code, Monotonic, Refusal};

use super::{
    Change, ClusterNode, LogInput, Look, OpenRequest, Outputs, Owner, Reply, Thread, Waiter,
    WorkerInput, look::take, stopped,
};
use crate::Stopped;
use crate::cluster::mutants::Mutant;

impl ClusterNode {
    /// A thread does its turn, over what it finds.
    ///
    /// # Errors
    /// The process ends.
    pub(in crate::cluster) fn turn(
        &mut self,
        thread: Thread,
        look: Look,
        now: Monotonic,
        out: &mut Outputs,
    ) -> Result<(), Stopped> {
        match thread {
            Thread::Log => {
                let inputs = take(&mut self.log_inbox, look);
                out.taken = (inputs.len(), self.log_inbox.len());
                self.log_turn(inputs, now, out)
            }
            Thread::Worker(worker) => {
                let inputs = take(&mut self.inboxes[worker], look);
                out.taken = (inputs.len(), self.inboxes[worker].len());
                self.worker_turn(worker, inputs, now, out)
            }
        }
    }

    fn log_turn(
        &mut self,
        inputs: Vec<LogInput>,
        now: Monotonic,
        out: &mut Outputs,
    ) -> Result<(), Stopped> {
        for input in inputs {
            match input {
                LogInput::Submit(submission) => {
                    if self.options.mutant == Some(Mutant::DurableAtOnce) {
                        self.tell(usize::from(submission.source.0), submission.id);
                    }
                    self.log.submit(now, submission);
                }
                LogInput::Disk(completion) => self.log.handle_disk(now, completion),
                LogInput::Timer => {
                    if self.log.poll_timer().is_some_and(|due| due <= now) {
                        self.log.handle_timer(now);
                    }
                }
                LogInput::Target(bytes) => self.log.set_log_bytes_target(bytes),
            }
        }
        while let Some(event) = self.log.poll_event() {
            match event {
                LogEvent::Durable { source, id } => self.tell(usize::from(source.0), id),
                LogEvent::WantRebase { groups } => self.want_flush(&groups),
                LogEvent::Headroom { headroom, .. } => {
                    self.log_has_room = headroom == Headroom::Ample;
                    for inbox in &mut self.inboxes {
                        inbox.push(WorkerInput::Headroom(headroom));
                    }
                }
                LogEvent::Failed(error) => return Err(stopped(&error)),
            }
        }
        while let Some(request) = self.log.poll_disk() {
            let request = self.own(Owner::Log, request);
            out.disk.push(request);
        }
        Ok(())
    }

    fn tell(&mut self, source: usize, id: SubmissionId) {
        match self.inboxes.get_mut(source) {
            Some(inbox) => inbox.push(WorkerInput::Durable(id)),
            None => self.founded = true,
        }
    }

    pub(super) fn own(&mut self, owner: Owner, request: DiskRequest) -> DiskRequest {
        self.last_operation += 1;
        let id = OperationId(self.last_operation);
        self.owners.insert(id, (owner, request.id));
        DiskRequest { id, ..request }
    }

    fn worker_turn(
        &mut self,
        number: usize,
        inputs: Vec<WorkerInput>,
        now: Monotonic,
        out: &mut Outputs,
    ) -> Result<(), Stopped> {
        for input in inputs {
            self.handle_input(number, now, input, out)?;
        }
        let worker = &mut self.workers[number];
        worker.poll(now);
        while let Some(submission) = worker.poll_submission() {
            self.log_inbox.push(LogInput::Submit(submission));
        }
        while let Some((to, channel, frame)) = worker.poll_frame() {
            out.frames.push((number, to, channel, frame));
        }
        while let Some(message) = worker.poll_message() {
            out.messages.push(message);
        }
        while let Some((waiter, response)) = self.workers[number].poll_response() {
            self.answer(waiter, response, out);
        }
        while let Some(mut request) = self.workers[number].poll_disk() {
            let is_sync = matches!(request.operation, DiskOperation::SyncData(_));
            if is_sync && self.options.mutant == Some(Mutant::SkipFlushSync) {
                request.operation = DiskOperation::SyncDirectory;
            }
            let request = self.own(Owner::Worker(number), request);
            out.disk.push(request);
        }
        if number == 0 {
            self.poll_member(now, out);
        } else {
            while let Some((from, epoch)) = self.workers[number].poll_epoch_heard() {
                self.inboxes[0].push(WorkerInput::Epoch(from, epoch));
            }
        }
        Ok(())
    }

    fn handle_input(
        &mut self,
        number: usize,
        now: Monotonic,
        input: WorkerInput,
        out: &mut Outputs,
    ) -> Result<(), Stopped> {
        let worker = &mut self.workers[number];
        match input {
            WorkerInput::Frame(from, mut frame) => {
                self.frames -= 1;
                if number == 0 {
                    let malformed = self.member.handle_frame(now, from, &mut frame);
                    worker.note_malformed(malformed);
                }
                worker.handle_frame(now, from, frame);
            }
            WorkerInput::Unsent(frame) => worker.handle_unsent(now, frame),
            WorkerInput::Connection(node, change) => match change {
                Change::Up => worker.handle_node_up(node),
                Change::RequestsDown => worker.handle_node_down(now, node),
                Change::ConsensusDown => worker.handle_consensus_down(node),
            },
            WorkerInput::Get(waiter, context, get) => {
                if let GetAnswer::Now(result) = worker.get(now, &context, &get, || waiter) {
                    self.answer(waiter, result.map(Replied::Got), out);
                }
            }
            WorkerInput::Write(waiter, context, write) => {
                if let Err(refusal) = worker.write(now, &context, &write, || waiter) {
                    self.answer(waiter, Err(refusal), out);
                }
            }
            WorkerInput::Atomic(waiter, context, batch) => {
                if let Err(refusal) = worker.atomic(now, &context, &batch, || waiter) {
                    self.answer(waiter, Err(refusal), out);
                }
            }
            WorkerInput::List(waiter, context, list) => {
                if let Err(refusal) = worker.list(now, &context, list, || waiter) {
                    self.answer(waiter, Err(refusal), out);
                }
            }
            WorkerInput::Batch(open, context, identity, operations) => {
                self.start_batch(number, now, open, &context, &identity, &operations, out);
            }
            WorkerInput::Durable(id) => worker.handle_durable(id),
            WorkerInput::WantRebase(groups) => worker.handle_want_rebase(&groups),
            WorkerInput::Headroom(headroom) => worker.handle_headroom(headroom),
            WorkerInput::Disk(completion) => {
                worker.handle_disk(completion).map_err(|error| stopped(&error))?;
            }
            WorkerInput::Tick => {
                worker.handle_tick(now);
                if number == 0 {
                    self.tick_member(now);
                }
            }
            WorkerInput::HandOver => {
                let _ = worker.hand_over(now, |_| true);
            }
            WorkerInput::Map(map) => worker.handle_map(&map),
            WorkerInput::Instruct(instruction) => {
                if let Err(error) = worker.instruct(&instruction) {
                    out.messages.push(format!("group {}: not yet: {error}", instruction.group));
                }
            }
            WorkerInput::Report => {
                let reports = worker.reports();
                self.inboxes[0].push(WorkerInput::Reports(reports));
            }
            WorkerInput::Epoch(from, epoch) => self.member.handle_epoch(now, from, epoch),
            WorkerInput::Reports(reports) => self.member.handle_reports(now, reports),
            WorkerInput::CatalogFile(completion) => self.catalog_file.handle_disk(completion),
            WorkerInput::Room(room) => {
                let _ = worker.handle_room(room);
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "a batch and where it goes")]
    fn start_batch(
        &mut self,
        number: usize,
        now: Monotonic,
        open: u64,
        context: &Context,
        identity: &Identity,
        operations: &[(u16, Operation)],
        out: &mut Outputs,
    ) {
        let mut positions = operations.iter().map(|(position, _)| usize::from(*position));
        let waiter = || Waiter { open, position: positions.next().unwrap_or_default() };
        let started = self.workers[number].batch(now, context, identity, operations, waiter);
        for ((position, _), response) in operations.iter().zip(started) {
            if let Some(response) = response {
                let waiter = Waiter { open, position: usize::from(*position) };
                self.answer(waiter, response, out);
            }
        }
    }

    fn answer(&mut self, waiter: Waiter, response: Response, out: &mut Outputs) {
        let Some(open) = self.open.get_mut(&waiter.open) else { return };
        if let Some(bounds) = open.bounds {
            return self.answer_page(waiter.open, bounds, response, out);
        }
        let (mut staleness_ms, page) = (None, None);
        let one = match response {
            Ok(Replied::One(answered)) => Ok(answered),
            Ok(Replied::Got(got)) => {
                staleness_ms = got.staleness_ms;
                Ok(Answered { done: Done::Got(got.found), replayed: false })
            }
            Ok(Replied::All(all)) => {
                let results = Ok(all.into_iter().map(Ok).collect());
                let reply = Reply { results, staleness_ms, page };
                return self.close_request(waiter.open, reply, out);
            }
            Ok(Replied::Each(_) | Replied::Page(_)) => {
                Err(Refusal::new(Code::Internal, "an answer of another kind"))
            }
            Err(refusal) => Err(refusal),
        };
        if open.results.len() == 1 {
            let results = one.map(|answered| vec![Ok(answered)]);
            return self.close_request(waiter.open, Reply { results, staleness_ms, page }, out);
        }
        if open.results[waiter.position].replace(one).is_none() {
            open.left -= 1;
        }
        if open.left == 0 {
            let results = std::mem::take(&mut open.results).into_iter().flatten().collect();
            let reply = Reply { results: Ok(results), staleness_ms, page };
            self.close_request(waiter.open, reply, out);
        }
    }

    /// The first refusal is the answer to the whole.
    fn answer_page(
        &mut self,
        open: u64,
        (limit, bytes_max): (usize, usize),
        response: Response,
        out: &mut Outputs,
    ) {
        let Some(opened) = self.open.get_mut(&open) else { return };
        let (results, page) = match response {
            Ok(Replied::Page(page)) => {
                opened.pages.push(page);
                if opened.pages.len() < opened.results.len() {
                    return;
                }
                let mut pages = std::mem::take(&mut opened.pages);
                let only = if pages.len() == 1 { pages.pop() } else { None };
                let page = only.unwrap_or_else(|| merge_pages(pages, limit, bytes_max));
                (Ok(Vec::new()), Some(page))
            }
            Ok(_) => (Err(Refusal::new(Code::Internal, "an answer of another kind")), None),
            Err(refusal) => (Err(refusal), None),
        };
        self.close_request(open, Reply { results, staleness_ms: None, page }, out);
    }

    fn close_request(&mut self, open: u64, reply: Reply, out: &mut Outputs) {
        if let Some(OpenRequest { client, request, .. }) = self.open.remove(&open) {
            out.replies.push((client, request, reply));
        }
    }
}
