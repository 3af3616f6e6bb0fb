//! The door's backend: hands requests to the worker that owns their shard, on this thread or another.

use std::ops::Range;
use std::rc::Rc;

use ringfort_door::{Backend, MetricsFormat, Observation};
use ringfort_node::{GetAnswer, Replied, Response, merge_pages};
use ringfort_types::request::{
    Answered, Batch, BatchAnswer, ClusterView, Context, Done, Get, Got, Limits, List, Operation,
    Page, ReadyCheck, Write,
};
use ringfort_types::{
    ClusterId, Code, Key, Monotonic, NamespaceId, Outcome, Refusal, ShardId, shard_of_token,
    token_of_prefix,
};
use tokio::sync::oneshot;

use crate::clock;
use crate::metrics;
use crate::view;
use crate::worker_thread::{BytesInFlight, Host};

/// A request's way into the node, on one worker's thread.
pub(crate) struct NodeBackend {
    pub(crate) host: Rc<Host>,
}

impl NodeBackend {
    /// Which worker owns a shard.
    fn worker_of(&self, shard: ShardId) -> usize {
        shard.0 as usize % self.host.shared.workers.len()
    }

    fn is_here(&self, shard: ShardId) -> bool {
        self.worker_of(shard) == self.host.number
    }

    /// The workers that own shards which keys with a prefix may live in.
    fn owners_of(&self, prefix: &[u8]) -> Range<usize> {
        match token_of_prefix(NamespaceId::default(), prefix) {
            None => 0..self.host.shared.workers.len(),
            Some(token) => {
                let owner = self.worker_of(shard_of_token(token, self.host.shared.shards));
                owner..owner + 1
            }
        }
    }

    /// Waits for a write's response. If its worker goes away first, nobody knows what became of it.
    async fn write_response(receiver: oneshot::Receiver<Response>) -> Response {
        receiver.await.unwrap_or_else(|_| {
            Err(Refusal::unknown(
                Code::Unavailable,
                "the server stopped before the write was answered",
            ))
        })
    }

    async fn read_response(receiver: oneshot::Receiver<Response>) -> Result<Got, Refusal> {
        let response = receiver.await.unwrap_or_else(|_| Err(stopped()));
        match response? {
            Replied::Got(got) => Ok(got),
            Replied::One(Answered { done: Done::Got(found), .. }) => {
                Ok(Got { found, staleness_ms: None })
            }
            _ => Err(Refusal::new(Code::Internal, "a read was answered with a write's result")),
        }
    }

    async fn get_here(&self, context: &Context, get: &Get) -> Result<Got, Refusal> {
        let mut receiver = None;
        let answer = self.host.with_worker(|worker| {
            worker.get(clock::now(), context, get, || {
                let (sender, waiting) = oneshot::channel();
                receiver = Some(waiting);
                sender
            })
        });
        match (answer, receiver) {
            (GetAnswer::Now(result), _) => result,
            (GetAnswer::Later, Some(receiver)) => Self::read_response(receiver).await,
            (GetAnswer::Later, None) => Err(Refusal::new(Code::Internal, "a read was lost")),
        }
    }

    async fn atomic(&self, context: &Context, batch: Batch) -> Result<BatchAnswer, Refusal> {
        let Some(first) = batch.operations.first() else {
            return Err(Refusal::not_applied(Code::InvalidArgument, "the batch has no operation"));
        };
        let owner = self.worker_of(self.host.shard_of(first.key()));
        let (sender, receiver) = oneshot::channel();
        let context = context.clone();
        let accepted = self
            .host
            .on_worker(owner, move |worker| {
                worker.atomic(clock::now(), &context, &batch, || sender)
            })
            .await;
        accepted.map_err(|refusal| with_outcome(refusal, Outcome::NotApplied))??;
        match Self::write_response(receiver).await? {
            Replied::All(all) => Ok(all.into_iter().map(Ok).collect()),
            Replied::Each(each) => Ok(each),
            Replied::One(answered) => Ok(vec![Ok(answered)]),
            Replied::Got(_) | Replied::Page(_) => Err(mixed_up()),
        }
    }

    /// Starts the operations of one worker, in their order, and gives what each of them waits for.
    async fn start_operations(
        &self,
        context: &Context,
        identity: ringfort_types::request::Identity,
        owner: usize,
        operations: Vec<(u16, Operation)>,
    ) -> Vec<(u16, bool, Started)> {
        let positions: Vec<_> = operations
            .iter()
            .map(|(position, operation)| (*position, operation.is_write()))
            .collect();
        let context = context.clone();
        let started = self.host.on_worker(owner, move |worker| {
            let mut receivers = Vec::with_capacity(operations.len());
            let waiter = || {
                let (sender, receiver) = oneshot::channel();
                receivers.push(receiver);
                sender
            };
            let answers = worker.batch(clock::now(), &context, &identity, &operations, waiter);
            let started = |(receiver, answer): (_, Option<Response>)| {
                answer.map_or(Started::Waiting(receiver), Started::Done)
            };
            receivers.into_iter().zip(answers).map(started).collect::<Vec<_>>()
        });
        match started.await {
            Ok(started) => positions
                .into_iter()
                .zip(started)
                .map(|((position, write), s)| (position, write, s))
                .collect(),
            Err(refusal) => {
                let refused = |write| {
                    if write {
                        with_outcome(refusal.clone(), Outcome::NotApplied)
                    } else {
                        refusal.clone()
                    }
                };
                positions
                    .into_iter()
                    .map(|(position, write)| (position, write, Started::Done(Err(refused(write)))))
                    .collect()
            }
        }
    }
}

/// An operation of a batch that was handed over.
enum Started {
    Done(Response),
    Waiting(oneshot::Receiver<Response>),
}

impl Backend for NodeBackend {
    type Admission = BytesInFlight;

    fn now(&self) -> Monotonic {
        clock::now()
    }

    fn limits(&self) -> Limits {
        self.host.shared.limits
    }

    async fn get(&self, context: &Context, get: Get) -> Result<Got, Refusal> {
        let shard = self.host.shard_of(&get.key);
        if self.is_here(shard) {
            return self.get_here(context, &get).await;
        }
        let (sender, receiver) = oneshot::channel();
        let context = context.clone();
        let read = move |worker: &mut crate::worker_thread::NodeWorker| {
            worker.get(clock::now(), &context, &get, || sender)
        };
        match self.host.on_worker(self.worker_of(shard), read).await? {
            GetAnswer::Now(result) => result,
            GetAnswer::Later => Self::read_response(receiver).await,
        }
    }

    async fn write(&self, context: &Context, write: Write) -> Result<Answered, Refusal> {
        let shard = self.host.shard_of(write.operation.key());
        let (sender, receiver) = oneshot::channel();
        if self.is_here(shard) {
            self.host
                .with_worker(|worker| worker.write(clock::now(), context, &write, || sender))?;
        } else {
            let context = context.clone();
            let enqueue = move |worker: &mut crate::worker_thread::NodeWorker| {
                worker.write(clock::now(), &context, &write, || sender)
            };
            let accepted = self.host.on_worker(self.worker_of(shard), enqueue).await;
            accepted.map_err(|refusal| with_outcome(refusal, Outcome::NotApplied))??;
        }
        one(Self::write_response(receiver).await?)
    }

    async fn batch(&self, context: &Context, batch: Batch) -> Result<BatchAnswer, Refusal> {
        if batch.atomic {
            return self.atomic(context, batch).await;
        }
        let count = batch.operations.len();
        let workers = self.host.shared.workers.len();
        let mut by_worker: Vec<Vec<(u16, Operation)>> = (0..workers).map(|_| Vec::new()).collect();
        for (position, operation) in (0..).zip(batch.operations) {
            let owner = self.worker_of(self.host.shard_of(operation.key()));
            by_worker[owner].push((position, operation));
        }
        let mut started = Vec::with_capacity(count);
        for (owner, operations) in by_worker.into_iter().enumerate() {
            if !operations.is_empty() {
                started.extend(
                    self.start_operations(context, batch.identity.clone(), owner, operations).await,
                );
            }
        }
        started.sort_unstable_by_key(|(position, _, _)| *position);
        let mut answers = Vec::with_capacity(count);
        for (_, write, started) in started {
            let response = match started {
                Started::Done(response) => response,
                Started::Waiting(receiver) if write => Self::write_response(receiver).await,
                Started::Waiting(receiver) => receiver.await.unwrap_or_else(|_| Err(stopped())),
            };
            answers.push(response.and_then(one));
        }
        Ok(answers)
    }

    async fn list(&self, context: &Context, list: List) -> Result<Page, Refusal> {
        let (limit, bytes_max) = (list.limit, list.bytes_max);
        let mut waiting = Vec::new();
        for owner in self.owners_of(&list.prefix) {
            let (sender, receiver) = oneshot::channel();
            let (context, list) = (context.clone(), list.clone());
            let begin = move |worker: &mut crate::worker_thread::NodeWorker| {
                worker.list(clock::now(), &context, list, || sender)
            };
            self.host.on_worker(owner, begin).await??;
            waiting.push(receiver);
        }
        let mut pages = Vec::with_capacity(waiting.len());
        for receiver in waiting {
            match receiver.await.unwrap_or_else(|_| Err(stopped()))? {
                Replied::Page(page) => pages.push(page),
                Replied::Got(_) | Replied::One(_) | Replied::All(_) | Replied::Each(_) => {
                    return Err(Refusal { outcome: None, ..mixed_up() });
                }
            }
        }
        match pages.pop() {
            Some(only) if pages.is_empty() => Ok(only),
            Some(last) => {
                pages.push(last);
                Ok(merge_pages(pages, limit, bytes_max))
            }
            None => Ok(Page::default()),
        }
    }

    async fn cluster(&self, _context: &Context) -> Result<ClusterView, Refusal> {
        view::cluster(&self.host).await
    }

    async fn drain_node(&self, _context: &Context, node: &str) -> Result<(), Refusal> {
        Err(view::refuse_change(&self.host, node, "drained"))
    }

    async fn remove_node(&self, _context: &Context, node: &str) -> Result<(), Refusal> {
        Err(view::refuse_change(&self.host, node, "removed"))
    }

    async fn init_cluster(&self, _context: &Context) -> Result<ClusterId, Refusal> {
        Err(view::refuse_init(&self.host))
    }

    async fn readiness(&self) -> Vec<ReadyCheck> {
        view::readiness(&self.host).await
    }

    async fn metrics(&self, format: MetricsFormat) -> String {
        metrics::encode(&self.host, format).await
    }

    fn admit(&self, bytes: usize) -> Result<BytesInFlight, Refusal> {
        self.host.admit(bytes)
    }

    fn observe(&self, observation: Observation) {
        self.host.requests.borrow_mut().observe(observation);
    }

    fn shard_of(&self, key: &Key) -> ShardId {
        self.host.shard_of(key)
    }
}

fn one(replied: Replied) -> Result<Answered, Refusal> {
    match replied {
        Replied::One(answered) => Ok(answered),
        Replied::Got(got) => Ok(Answered { done: Done::Got(got.found), replayed: false }),
        Replied::All(_) | Replied::Each(_) | Replied::Page(_) => Err(mixed_up()),
    }
}

fn mixed_up() -> Refusal {
    Refusal::unknown(Code::Internal, "a request was answered as one of another kind")
}

fn with_outcome(refusal: Refusal, outcome: Outcome) -> Refusal {
    Refusal { outcome: Some(outcome), ..refusal }
}

fn stopped() -> Refusal {
    Refusal::new(Code::Unavailable, "the server stopped before the request was answered")
}
