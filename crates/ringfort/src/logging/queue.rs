//! The queue between those who log and the thread that writes.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::sink::Sink;

/// Lines that may wait.
const LINES_MAX: usize = 16_384;
/// Bytes of lines that may wait.
const BYTES_MAX: usize = 8 << 20;

/// How long the end of the process waits for the last lines.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Errors of modules of this name are the last words of a process that ends at once (a failed disk): they wait to be
/// written, not for ever.
const FATAL: &str = "::fatal";

/// A formatted event.
pub(super) struct Line {
    pub(super) level: Level,
    pub(super) text: Vec<u8>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Line>,
    bytes: usize,
    /// The sink is to be opened anew before the next line.
    reopen: bool,
    /// The writer holds lines that are not yet written.
    writing: bool,
}

/// Bounded in lines and bytes; what does not fit is counted as lost.
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to do for the writer.
    work: Condvar,
    /// Everything was written.
    idle: Condvar,
    lost: AtomicU64,
}

impl Queue {
    /// A queue with its writer thread, which lives as long as the process.
    pub(super) fn start(sink: Sink) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            state: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            lost: AtomicU64::new(0),
        });
        let writer = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.write_for_ever(sink))?;
        Ok(queue)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if something did, lines would still be lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Line) {
        let mut state = self.lock();
        if state.lines.len() >= LINES_MAX || state.bytes + line.text.len() > BYTES_MAX {
            drop(state);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.bytes += line.text.len();
        state.lines.push_back(line);
        drop(state);
        self.work.notify_one();
    }

    /// Has the sink opened anew before the next line.
    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.work.notify_one();
    }

    /// Waits until all lines are written, at most this long: a sink that is stuck must not keep the process alive.
    pub(super) fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        while state.writing || !state.lines.is_empty() {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return;
            }
            let waited = self.idle.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn write_for_ever(&self, mut sink: Sink) {
        loop {
            let (lines, reopen) = self.next_work();
            if reopen && let Err(error) = sink.reopen() {
                tracing::warn!(%error, "the log's output cannot be opened anew; the old one goes on");
            }
            let failed = sink.write(&lines);
            let lost = if failed > 0 {
                self.lost.fetch_add(failed, Ordering::Relaxed);
                0
            } else if lines.is_empty() {
                0
            } else {
                self.lost.swap(0, Ordering::Relaxed)
            };
            if lost > 0 {
                tracing::warn!(lost, "log lines were lost: their output failed or was too slow");
            }
            self.done();
        }
    }

    fn next_work(&self) -> (VecDeque<Line>, bool) {
        let mut state = self.lock();
        while state.lines.is_empty() && !state.reopen {
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.bytes = 0;
        state.writing = true;
        let reopen = std::mem::take(&mut state.reopen);
        (std::mem::take(&mut state.lines), reopen)
    }

    fn done(&self) {
        self.lock().writing = false;
        self.idle.notify_all();
    }
}

/// Hands each formatted event to the queue.
#[derive(Clone)]
pub(super) struct QueueWriter(pub(super) Arc<Queue>);

/// One event being formatted: the formatter writes it in one piece.
pub(super) struct LineWriter<'a> {
    queue: &'a Queue,
    level: Level,
    /// The process ends right after this event.
    last: bool,
}

impl io::Write for LineWriter<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.queue.push(Line { level: self.level, text: text.to_vec() });
        if self.last {
            self.queue.flush(PATIENCE);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for QueueWriter {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { queue: &self.0, level: Level::INFO, last: false }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> LineWriter<'a> {
        LineWriter {
            queue: &self.0,
            level: *event.level(),
            last: *event.level() == Level::ERROR && event.target().ends_with(FATAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::sink::tests::{Gate, gated};

    fn line(text: &str) -> Line {
        Line { level: Level::INFO, text: text.as_bytes().to_vec() }
    }

    #[test]
    fn a_stuck_sink_costs_lines_and_nobody_waits() {
        let (sink, gate) = gated();
        let queue = Queue::start(sink).unwrap();
        for _ in 0..=2 * LINES_MAX {
            queue.push(line("x\n"));
        }
        let lost = queue.lost.load(Ordering::Relaxed);
        assert!(lost >= 1, "{lost}");
        queue.flush(Duration::from_millis(1));
        Gate::open(&gate);
        queue.flush(Duration::from_secs(60));
        assert!(queue.lock().lines.is_empty());
    }

    #[test]
    fn a_failing_sink_is_counted_and_gets_the_next_lines() {
        let (sink, gate) = gated();
        Gate::fail(&gate, true);
        Gate::open(&gate);
        let queue = Queue::start(sink).unwrap();
        queue.push(line("a\n"));
        queue.flush(Duration::from_secs(60));
        assert_eq!(queue.lost.load(Ordering::Relaxed), 1);
        Gate::fail(&gate, false);
        queue.push(line("b\n"));
        queue.flush(Duration::from_secs(60));
        assert_eq!(Gate::written(&gate), b"b\n");
        assert_eq!(queue.lost.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn last_words_are_written_before_the_process_goes_on() {
        use tracing_subscriber::layer::SubscriberExt;

        let (sink, gate) = gated();
        Gate::open(&gate);
        let queue = Queue::start(sink).unwrap();
        let layer = tracing_subscriber::fmt::layer().with_writer(QueueWriter(queue));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "ringfort_server::fatal", "the disk failed");
            let written = String::from_utf8(Gate::written(&gate)).unwrap();
            assert!(written.contains("the disk failed"), "{written}");
        });
    }
}
