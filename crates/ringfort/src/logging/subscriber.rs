//! Puts filter, formatter and queue together, and keeps what SIGHUP changes.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::sync::Arc;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::{fmt, reload};

use super::choice::{Filter, Format, Output};
use super::queue::{PATIENCE, Queue, QueueWriter};
use super::sink::Sink;

/// The running log.
pub(crate) struct Logging {
    filter: reload::Handle<Targets, Registry>,
    queue: Arc<Queue>,
}

impl Logging {
    /// Lets other events through from now on.
    pub(crate) fn set_filter(&self, filter: &Filter) {
        if let Err(error) = self.filter.reload(filter.targets()) {
            tracing::warn!(%error, "the level of the log cannot be changed");
        }
    }

    /// Opens the output anew, for logrotate.
    pub(crate) fn reopen(&self) {
        self.queue.reopen();
    }

    /// Waits for the last lines, not for ever.
    pub(crate) fn flush(&self) {
        self.queue.flush(PATIENCE);
    }
}

/// Opens the output and makes it the log of the whole process. Panics are logged too.
///
/// # Errors
/// The output cannot be opened, or the process has a log already.
pub(crate) fn install(filter: &Filter, format: Format, output: &Output) -> io::Result<Logging> {
    let queue = Queue::start(Sink::open(output)?)?;
    let (level, handle) = reload::Layer::new(filter.targets());
    let lines = formatter(format, output, QueueWriter(Arc::clone(&queue)));
    let subscriber = tracing_subscriber::registry().with(level).with(lines);
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    log_panics();
    Ok(Logging { filter: handle, queue })
}

type Subscriber = tracing_subscriber::layer::Layered<reload::Layer<Targets, Registry>, Registry>;

fn formatter(
    format: Format,
    output: &Output,
    writer: QueueWriter,
) -> Box<dyn Layer<Subscriber> + Send + Sync> {
    let colours = *output == Output::Stderr
        && io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A line that cannot be formatted must not end up as a panic of `eprintln!` on a closed standard error.
    let lines = fmt::layer().with_writer(writer).with_ansi(colours).log_internal_errors(false);
    match (format, output) {
        (Format::Json, _) => lines.json().flatten_event(true).boxed(),
        // The journal has time and priority of its own.
        (Format::Text, Output::Journald) => lines.without_time().with_level(false).boxed(),
        (Format::Text, _) => lines.boxed(),
    }
}

/// Panics are events like any other, instead of text on a standard error that may be stuck or nobody reads.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        let message = panic.payload_as_str().unwrap_or("no message");
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured)
            .then(|| tracing::field::display(backtrace));
        tracing::error!(location, backtrace, "a thread panicked: {message}");
    }));
}
