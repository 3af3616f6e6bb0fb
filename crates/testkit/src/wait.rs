//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a condition is left alone before it is looked at again.
const PAUSE: Duration = Duration::from_millis(3);

/// Asks again and again until the condition gives something.
///
/// # Errors
/// The condition failed, or gave nothing by the deadline; the message says what was awaited.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = condition()? {
            return Ok(answer);
        }
        if Instant::now() >= end {
            bail!("waited {deadline:?} in vain for {what}");
        }
        std::thread::sleep(PAUSE);
    }
}
