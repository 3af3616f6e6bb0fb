//! `ringfort server`: one node, from its configuration to its last flush.
//!
//! ```text
//!   configuration ──► log ──► start ──► serving ──SIGTERM, SIGINT, end of the parent──► stop ──► exit 0
//!                               │          │ ▲
//!                               │          └─┘ SIGHUP: level and output of the log, certificates
//!                               └─ a stop while starting: exit 0 at once (nothing was promised yet)
//! ```
//!
//! A second SIGTERM or SIGINT ends the process at once: what was acknowledged is on the disk anyway.

use std::io::Read;
use std::sync::mpsc::{self, Receiver, Sender};

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::ServerArguments;
use crate::config::{Effective, Problems, Sources};
use crate::exit::{Exit, Failure};
use crate::host::{self, Certificates};
use crate::logging::{self, Logging, Output};
use crate::{output, scheduling};

pub(crate) fn run(arguments: &ServerArguments) -> Result<Exit, Failure> {
    // Before any thread is started.
    scheduling::run_in_batches();
    let sources =
        Sources::with_environment(arguments.config.clone(), arguments.settings.set.clone());
    let effective = match Effective::load(&sources) {
        Ok(effective) => effective,
        Err(problems) => {
            output::say(&problems.to_string());
            return Ok(Exit::Usage);
        }
    };
    let log = match start_log(&effective) {
        Ok(log) => log,
        Err(problems) => {
            output::say(&problems.to_string());
            return Ok(Exit::Usage);
        }
    };
    let ended = serve(arguments, &sources, &effective, &log);
    log.flush();
    ended
}

fn start_log(effective: &Effective) -> Result<Logging, Problems> {
    let settings = &effective.settings.logging;
    logging::install(&settings.level, settings.format, &settings.output).map_err(|error| {
        let mut problems = Problems::default();
        problems.add(effective.origin("logging.output"), "logging.output", error.to_string());
        problems
    })
}

/// What happens to a running node.
enum Event {
    Stop(&'static str),
    Reload,
    Started(Result<host::Node, host::NotStarted>),
    Stopped,
}

fn serve(
    arguments: &ServerArguments,
    sources: &Sources,
    effective: &Effective,
    log: &Logging,
) -> Result<Exit, Failure> {
    let (sender, events) = mpsc::channel();
    watch_signals(sender.clone())?;
    if arguments.stop_with_stdin {
        watch_parent(sender.clone())?;
    }
    let certificates = Certificates::default();
    start_node(effective, certificates.clone(), sender.clone())?;
    let mut node = None;
    let why = loop {
        match next(&events)? {
            Event::Reload => {
                reload(sources, log);
                reload_certificates(&certificates);
            }
            Event::Started(Ok(started)) => {
                tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
                node = Some(started);
            }
            Event::Started(Err(error)) => return Err(cannot_start(effective, &error)),
            Event::Stop(why) => break why,
            Event::Stopped => {}
        }
    };
    tracing::info!("stopping: {why}");
    match node {
        Some(node) => stop_node(node, sender, &events),
        None => Ok(Exit::Done),
    }
}

fn next(events: &Receiver<Event>) -> Result<Event, Failure> {
    events.recv().map_err(|_| Failure::not_done("nobody watches for signals any more"))
}

/// What kept the node from starting, on standard error and in the log, once where they are the same.
fn cannot_start(effective: &Effective, error: &host::NotStarted) -> Failure {
    let what = match error.setting {
        Some(key) => format!("{key} ({}): {}", effective.origin(key), error.what),
        None => error.what.clone(),
    };
    if effective.settings.logging.output != Output::Stderr {
        tracing::error!("cannot start: {what}");
    }
    Failure::new(error.exit, format_args!("cannot start: {what}"))
}

/// Starts the node beside the signals, so that a long replay can be interrupted.
fn start_node(
    effective: &Effective,
    certificates: Certificates,
    events: Sender<Event>,
) -> Result<(), Failure> {
    let settings = effective.settings.clone();
    spawn("start", move || {
        let started = host::start(&settings, &certificates);
        send(&events, Event::Started(started));
    })
}

/// Stops the node beside the signals, so that a second one can end it at once.
fn stop_node(
    node: host::Node,
    sender: Sender<Event>,
    events: &Receiver<Event>,
) -> Result<Exit, Failure> {
    spawn("stop", move || {
        node.stop();
        send(&sender, Event::Stopped);
    })?;
    loop {
        match next(events)? {
            Event::Stopped => return Ok(Exit::Done),
            Event::Stop("the parent process ended") | Event::Reload | Event::Started(_) => {}
            Event::Stop(_) => {
                return Err(Failure::not_done(
                    "asked twice: ended before requests in flight were answered",
                ));
            }
        }
    }
}

/// Nobody receives any more only when the process ends.
fn send(events: &Sender<Event>, event: Event) {
    events.send(event).unwrap_or_default();
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let spawned = std::thread::Builder::new().name(name.into()).spawn(work);
    spawned.map(drop).map_err(|error| Failure::not_done(format_args!("no thread: {error}")))
}

/// Takes over the signals before anything is started: none is lost.
fn watch_signals(events: Sender<Event>) -> Result<(), Failure> {
    let runtime = super::runtime()?;
    let entered = runtime.enter();
    let watch = |kind| {
        signal(kind)
            .map_err(|error| Failure::not_done(format_args!("signals cannot be watched: {error}")))
    };
    let mut terminate = watch(SignalKind::terminate())?;
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut hangup = watch(SignalKind::hangup())?;
    // Watched so that it does not end the process: a file that may not grow is a disk that is full.
    let mut file_size = watch(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
    drop(entered);
    spawn("signals", move || {
        runtime.block_on(async {
            loop {
                let event = tokio::select! {
                    Some(()) = terminate.recv() => Event::Stop("SIGTERM"),
                    Some(()) = interrupt.recv() => Event::Stop("SIGINT"),
                    Some(()) = hangup.recv() => Event::Reload,
                    Some(()) = file_size.recv() => continue,
                    else => return,
                };
                send(&events, event);
            }
        });
    })
}

/// Watches standard input, which a parent keeps open as long as it lives.
fn watch_parent(events: Sender<Event>) -> Result<(), Failure> {
    spawn("parent", move || {
        let mut ignored = [0; 64];
        let mut input = std::io::stdin().lock();
        while matches!(input.read(&mut ignored), Ok(1..)) {}
        send(&events, Event::Stop("the parent process ended"));
    })
}

/// Reads the configuration again. Only the level of the log changes; the log's file is opened anew.
fn reload(sources: &Sources, log: &Logging) {
    log.reopen();
    match Effective::load(sources) {
        Ok(effective) => {
            let level = &effective.settings.logging.level;
            log.set_filter(level);
            tracing::info!(
                level = level.as_str(),
                "SIGHUP: the log's level was read again and its output opened anew"
            );
        }
        Err(problems) => {
            for problem in &problems.0 {
                tracing::warn!("SIGHUP: the configuration was read again and is wrong: {problem}");
            }
        }
    }
}

/// Has the certificates read again from the files they came from.
fn reload_certificates(certificates: &Certificates) {
    match certificates.reload() {
        Ok(false) => {}
        Ok(true) => tracing::info!("SIGHUP: the certificates were read again"),
        Err(error) => {
            tracing::warn!("SIGHUP: the certificates stay as they were: {error}");
        }
    }
}
