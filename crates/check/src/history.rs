//! Histories as JSON lines: one event a line.

use std::io::{BufRead, Write};

use crate::Event;

/// A history that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file failed.
    #[error("history: {0}")]
    Io(#[from] std::io::Error),
    /// A line is no event.
    #[error("history, line {line}: {source}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Reads a history. Empty lines are skipped.
///
/// # Errors
/// The source fails, or a line is no event.
pub fn read_history(from: impl BufRead) -> Result<Vec<Event>, HistoryError> {
    let mut events = Vec::new();
    for (index, line) in from.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let event = serde_json::from_str(&line)
            .map_err(|source| HistoryError::Line { line: index + 1, source })?;
        events.push(event);
    }
    Ok(events)
}

/// Writes a history.
///
/// # Errors
/// The sink fails.
pub fn write_history(mut to: impl Write, events: &[Event]) -> Result<(), HistoryError> {
    for event in events {
        serde_json::to_writer(&mut to, event).map_err(std::io::Error::from)?;
        to.write_all(b"\n")?;
    }
    Ok(to.flush()?)
}
