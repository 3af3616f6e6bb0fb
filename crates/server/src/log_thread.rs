//! The log thread: feeds the log core and executes its appends and syncs, one after the other. What comes in during a
//! sync gathers in the inbox and makes up the next batch.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use ringfort_env::{Disk, DiskCompletion, DiskError, DiskOperation, DiskRequest, Lane};
use ringfort_node::host::{
    FileLog, Headroom, LogEvent, LogStats, LogStore, SourceId, Submission, SubmissionId,
};
use ringfort_types::GroupId;
use tokio::sync::oneshot;

use crate::background::Job;
use crate::clock;
use crate::disk::FileDisk;
use crate::fatal;
use crate::metrics::{Latencies, Sizes};

/// What the log thread is told.
pub(crate) enum LogInput {
    /// To be written.
    Submit(Submission),
    /// A background operation of the log has ended.
    Disk(DiskCompletion),
    /// What a worker holds, in bytes, and whether the disk has no room for more.
    Holdings { source: SourceId, bytes: u64, short: bool },
    /// Asks for the counters, and for what each batch was like.
    Stats(oneshot::Sender<(LogStats, LogFigures)>),
    /// Everything is durable that will ever come: the thread ends.
    Stop,
}

/// What the log thread tells a worker.
#[derive(Clone, Debug)]
pub(crate) enum LogOutput {
    Durable(SubmissionId),
    WantRebase(Vec<GroupId>),
    Headroom(Headroom),
}

/// Where the log's words go.
pub(crate) trait LogListener: Send + 'static {
    /// Tells one source.
    fn tell(&self, source: SourceId, output: LogOutput);
    /// Tells all of them.
    fn tell_all(&self, output: &LogOutput);
}

/// The log thread's own.
pub(crate) struct LogThread<L> {
    pub(crate) log: FileLog,
    pub(crate) disk: FileDisk,
    pub(crate) inbox: Receiver<LogInput>,
    /// The other end of the inbox, for completions from the background.
    pub(crate) to_self: Sender<LogInput>,
    pub(crate) background: Sender<Job>,
    pub(crate) listener: L,
    /// The log is allowed this size, or that of the data if that is larger.
    pub(crate) log_bytes_min: u64,
    /// Size of a segment.
    pub(crate) segment_bytes: u64,
    /// As the log told it last.
    pub(crate) headroom: Headroom,
    /// What batches were like.
    pub(crate) figures: LogFigures,
}

/// What the batches of the log were like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogFigures {
    /// How long the sync of each took.
    pub(crate) syncs: Latencies,
    /// Bytes of each, padding included; they are multiples of 512.
    pub(crate) batch_bytes: Sizes<9>,
    /// Records of each; none in one that only marks the one before as durable.
    pub(crate) batch_records: Sizes<0>,
}

impl LogFigures {
    /// A sync has ended, which took so long; the log counted this before and after.
    fn observe(&mut self, took: Duration, before: &LogStats, after: &LogStats) {
        self.syncs.observe(took);
        // One sync, one batch. Where it failed, the process is about to end.
        self.batch_bytes.observe(after.bytes - before.bytes);
        self.batch_records.observe(after.records - before.records);
    }
}

impl<L: LogListener> LogThread<L> {
    /// Starts the thread.
    pub(crate) fn start(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("log".into()).spawn(move || fatal::guard(|| self.run()))
    }

    fn run(mut self) {
        let mut holdings = BTreeMap::new();
        let mut stopping = false;
        self.settle();
        while !stopping {
            let Some(first) = self.wait() else { break };
            let mut next = first;
            while let Some(input) = next.take() {
                let now = clock::now();
                match input {
                    LogInput::Submit(submission) => self.log.submit(now, submission),
                    LogInput::Disk(completion) => self.log.handle_disk(now, completion),
                    LogInput::Holdings { source, bytes, short } => {
                        holdings.insert(source, (bytes, short));
                        self.log.set_log_bytes_target(self.target(&holdings));
                    }
                    LogInput::Stats(reply) => drop(reply.send((self.log.stats(), self.figures))),
                    LogInput::Stop => stopping = true,
                }
                next = self.inbox.try_recv().ok();
            }
            self.settle();
        }
    }

    /// How large the log may be: as large as the data, so that flushing costs no more than writing did; as small as can be
    /// where the disk has no room, so that flushes give its space back.
    fn target(&self, holdings: &BTreeMap<SourceId, (u64, bool)>) -> u64 {
        if self.headroom != Headroom::Ample || holdings.values().any(|(_, short)| *short) {
            return 2 * self.segment_bytes;
        }
        let data = holdings.values().map(|(bytes, _)| bytes).sum();
        self.log_bytes_min.max(data)
    }

    /// Waits for something to do. `None`: nobody can send any more; `Some(None)`: the log's timer is due.
    fn wait(&mut self) -> Option<Option<LogInput>> {
        let Some(due) = self.log.poll_timer() else {
            return self.inbox.recv().ok().map(Some);
        };
        let now = clock::now();
        if due > now {
            match self.inbox.recv_timeout(due.since(now)) {
                Ok(input) => return Some(Some(input)),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.log.handle_timer(clock::now());
        Some(None)
    }

    /// Executes and tells until the log wants nothing more.
    fn settle(&mut self) {
        loop {
            while let Some(event) = self.log.poll_event() {
                self.tell(event);
            }
            let Some(request) = self.log.poll_disk() else {
                break;
            };
            match request.lane {
                Lane::Log => {
                    let began = clock::now();
                    let result = self.disk.execute(&request.operation);
                    let ended = clock::now();
                    let before = self.log.stats();
                    self.log.handle_disk(ended, DiskCompletion { id: request.id, result });
                    if let DiskOperation::SyncData(_) = request.operation {
                        self.figures.observe(ended.since(began), &before, &self.log.stats());
                    }
                }
                Lane::Background => self.send_to_background(request),
            }
        }
    }

    fn send_to_background(&self, request: DiskRequest) {
        let to_self = self.to_self.clone();
        // The log thread outlives the background thread's work; a completion that nobody takes is of no use either.
        let done = Box::new(move |completion| drop(to_self.send(LogInput::Disk(completion))));
        drop(self.background.send(Job { request, done }));
    }

    fn tell(&mut self, event: LogEvent) {
        match event {
            LogEvent::Durable { source, id } => self.listener.tell(source, LogOutput::Durable(id)),
            LogEvent::WantRebase { groups } => {
                self.listener.tell_all(&LogOutput::WantRebase(groups));
            }
            LogEvent::Headroom { headroom, why } => {
                self.headroom = headroom;
                report(headroom, why.as_ref());
                self.listener.tell_all(&LogOutput::Headroom(headroom));
            }
            LogEvent::Failed(error) => fatal::disk_failed(&error),
        }
    }
}

fn report(headroom: Headroom, why: Option<&DiskError>) {
    let why = why.map_or_else(String::new, |error| format!(": {error}"));
    match headroom {
        Headroom::Ample => tracing::info!("the log gets segments again; puts are accepted"),
        Headroom::Short => {
            tracing::warn!(
                "the log gets no further segment, and puts are refused until it does{why}"
            );
        }
        Headroom::Exhausted => tracing::warn!("the log is full: deletes are refused too{why}"),
    }
}
