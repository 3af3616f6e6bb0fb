//! Drives lanes: starts them, measures between two moments, awaits them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::arguments::{Arguments, TargetKind};
use crate::cost::{Cost, CostSources, own_cpu_us};
use crate::pace::Pacer;
use crate::progress::Progress;
use crate::record::Recorder;
use crate::target::{
    Client, Endpoint, EtcdClient, Failure, HttpCodec, RespCodec, RoutedClient, WireClient,
    connect_channels,
};
use crate::workload::{Operation, Operations, Values};

/// How long a lane waits before it connects again after it could not.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);

/// When a phase ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// This time after the warm-up.
    Elapsed(Duration),
    /// This many operations after the warm-up.
    Operations(u64),
    /// When there are no more operations to send.
    Exhausted(u64),
}

/// One phase: a load, or the run itself.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) operations: Operations,
    pub(crate) warmup: Duration,
    pub(crate) until: Until,
    pub(crate) rate: Option<f64>,
}

/// What a phase gave.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) recorder: Recorder,
    pub(crate) elapsed: Duration,
    /// What the server spent meanwhile.
    pub(crate) cost: Cost,
    /// What this process spent, in microseconds.
    pub(crate) own_cpu_us: Option<f64>,
    /// The details of the first few failures, for people.
    pub(crate) examples: Vec<String>,
}

/// What lanes share.
#[derive(Debug)]
struct Run {
    operations: RefCell<Operations>,
    recorder: RefCell<Recorder>,
    examples: RefCell<Vec<String>>,
    pacer: Option<Pacer>,
    /// Operations that may still be sent once measuring has begun.
    remaining: Cell<u64>,
    measuring: Cell<bool>,
    stopped: Cell<bool>,
    stopping: Notify,
}

/// One operation and when its latency begins to count.
#[derive(Debug)]
struct Ticket {
    operation: Operation,
    /// Open loop: when it was due.
    due: Option<Instant>,
    measured: bool,
}

impl Run {
    async fn next(&self) -> Option<Ticket> {
        if self.stopped.get() {
            return None;
        }
        let due = match &self.pacer {
            Some(pacer) => Some(pacer.due().await),
            None => None,
        };
        if self.stopped.get() {
            return None;
        }
        let measured = self.measuring.get();
        if measured {
            let left = self.remaining.get().checked_sub(1)?;
            self.remaining.set(left);
        }
        let operation = self.operations.borrow_mut().next()?;
        Some(Ticket { operation, due, measured })
    }

    fn stop(&self) {
        self.stopped.set(true);
        self.stopping.notify_waiters();
        if let Some(pacer) = &self.pacer {
            pacer.release();
        }
    }

    fn record(&self, ticket: &Ticket, started: Instant, result: Result<(), Failure>) {
        match result {
            Ok(()) if !ticket.measured => {}
            Ok(()) => {
                let since = ticket.due.unwrap_or(started);
                let latency = since.elapsed();
                let mut recorder = self.recorder.borrow_mut();
                recorder.succeeded(ticket.operation.kind, latency);
            }
            // A failure during the warm-up is a failure of the run.
            Err(failure) => {
                let mut examples = self.examples.borrow_mut();
                if examples.len() < 5 {
                    examples.push(format!("{}: {}", failure.code, failure.detail));
                }
                self.recorder.borrow_mut().failed(failure.code);
            }
        }
    }
}

async fn run_lane(run: Rc<Run>, values: Rc<Values>, mut client: impl Client) {
    while let Some(ticket) = run.next().await {
        let due = Instant::now();
        if let Err(failure) = client.prepare().await {
            run.record(&ticket, due, Err(failure));
            tokio::select! {
                () = run.stopping.notified() => {}
                () = tokio::time::sleep(RECONNECT_DELAY) => {}
            }
            continue;
        }
        let started = Instant::now();
        let result = client.exchange(&ticket.operation, &values).await;
        run.record(&ticket, started, result);
    }
}

/// Runs one phase. Must be called within a [`tokio::task::LocalSet`].
///
/// # Errors
/// Nothing answers at the endpoint, or a named server process cannot be read.
pub(crate) async fn drive(
    arguments: &Arguments,
    endpoints: &[Endpoint],
    values: &Rc<Values>,
    phase: Phase,
) -> anyhow::Result<Measured> {
    let run = Rc::new(Run {
        operations: RefCell::new(phase.operations),
        recorder: RefCell::new(Recorder::new()?),
        examples: RefCell::default(),
        pacer: phase.rate.map(Pacer::new),
        remaining: Cell::new(match phase.until {
            Until::Operations(operations) => operations,
            Until::Elapsed(_) | Until::Exhausted(_) => u64::MAX,
        }),
        measuring: Cell::new(phase.warmup.is_zero()),
        stopped: Cell::new(false),
        stopping: Notify::new(),
    });
    let costs = CostSources::new(arguments.target, endpoints, &arguments.server_pids);
    let mut before = costs.sample().await?;
    let mut own_before = own_cpu_us();
    let mut started = Instant::now();
    let mut lanes = start_lanes(arguments, endpoints, &run, values).await?;
    let progress = Progress::new(phase.name, phase.until);
    let watch = async {
        if !phase.warmup.is_zero() {
            tokio::time::sleep(phase.warmup).await;
            before = costs.sample().await?;
            own_before = own_cpu_us();
            started = Instant::now();
            run.measuring.set(true);
        }
        let end = tokio::time::sleep(match phase.until {
            Until::Elapsed(duration) => duration,
            // Bounded by the number of operations, each with a timeout.
            Until::Operations(_) | Until::Exhausted(_) => Duration::from_secs(365 * 86_400),
        });
        tokio::select! {
            () = end => {}
            () = join(&mut lanes) => {}
            result = tokio::signal::ctrl_c() => result.context("cannot listen for Ctrl-C")?,
            never = progress.follow(started, || run.recorder.borrow().operations()) => match never {},
        }
        run.stop();
        join(&mut lanes).await;
        anyhow::Ok(())
    };
    match &run.pacer {
        None => watch.await?,
        Some(pacer) => tokio::select! {
            result = watch => result?,
            result = pacer.run() => result.context("the pacer's timer failed")?,
        },
    }
    let elapsed = started.elapsed();
    let own_cpu_us = own_cpu_us().zip(own_before).map(|(late, early)| late - early);
    let cost = costs.sample().await?.since(&before);
    progress.finish();
    let run = Rc::into_inner(run).context("a lane is still running")?;
    Ok(Measured {
        recorder: run.recorder.into_inner(),
        elapsed,
        cost,
        own_cpu_us,
        examples: run.examples.into_inner(),
    })
}

async fn join(lanes: &mut JoinSet<()>) {
    while let Some(ended) = lanes.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

async fn start_lanes(
    arguments: &Arguments,
    endpoints: &[Endpoint],
    run: &Rc<Run>,
    values: &Rc<Values>,
) -> anyhow::Result<JoinSet<()>> {
    let mut lanes = JoinSet::new();
    let timeout = arguments.timeout;
    let allow_absent = arguments.allow_absent;
    let listed = arguments.endpoints.join(", ");
    let failed =
        |failure: Failure| anyhow::anyhow!("cannot connect to {listed}: {}", failure.detail);
    let channels = match arguments.target {
        TargetKind::Etcd => {
            connect_channels(endpoints, arguments.etcd_channels, timeout).await.map_err(failed)?
        }
        TargetKind::Ringfort | TargetKind::Redis => Vec::new(),
    };
    let routed = arguments.route.then(|| RoutedClient::new(endpoints, timeout, allow_absent));
    let routed = routed.transpose().map_err(failed)?;
    for lane in 0..arguments.connections {
        let endpoint = endpoints[lane % endpoints.len()].clone();
        let (run, values) = (Rc::clone(run), Rc::clone(values));
        match (arguments.target, &routed) {
            (TargetKind::Ringfort, Some(routed)) => {
                lanes.spawn_local(run_lane(run, values, routed.clone()));
            }
            (TargetKind::Ringfort, None) => {
                let codec = HttpCodec::new(&endpoint);
                let mut client = WireClient::new(codec, endpoint, timeout, allow_absent);
                client.prepare().await.map_err(failed)?;
                lanes.spawn_local(run_lane(run, values, client));
            }
            (TargetKind::Redis, _) => {
                let mut client = WireClient::new(RespCodec, endpoint, timeout, allow_absent);
                client.prepare().await.map_err(failed)?;
                lanes.spawn_local(run_lane(run, values, client));
            }
            (TargetKind::Etcd, _) => {
                let channel = channels[lane % channels.len()].clone();
                let client = EtcdClient::new(channel, timeout, allow_absent);
                lanes.spawn_local(run_lane(run, values, client));
            }
        }
    }
    Ok(lanes)
}
