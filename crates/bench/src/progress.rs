//! The bar that a person sees while a phase runs. On standard error, and only on a terminal.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::drive::Until;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    until: Until,
}

impl Progress {
    pub(crate) fn new(name: &'static str, until: Until) -> Self {
        let length = match until {
            Until::Elapsed(duration) => millis(duration),
            Until::Operations(operations) | Until::Exhausted(operations) => operations,
        };
        // Hides itself where standard error is no terminal.
        let bar = ProgressBar::new(length);
        let template = "{prefix:>7} [{bar:40}] {percent:>3}% {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(name);
        Self { bar, until }
    }

    /// Moves the bar until it is dropped.
    pub(crate) async fn follow(
        &self,
        started: Instant,
        operations: impl Fn() -> u64,
    ) -> Infallible {
        let mut ticks = tokio::time::interval(TICK);
        let mut last = operations();
        loop {
            ticks.tick().await;
            let now = operations();
            let per_second = (now - last) as f64 / TICK.as_secs_f64();
            last = now;
            self.bar.set_position(match self.until {
                Until::Elapsed(_) => millis(started.elapsed()),
                Until::Operations(_) | Until::Exhausted(_) => now,
            });
            self.bar.set_message(format!("{per_second:.0} operations/s"));
        }
    }

    /// Takes the bar away: the result follows.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
