//! Where an entry stands in a log, in the order that elections compare.

use std::fmt;

use ringfort_types::{Applied, Entry, Index, Term};

/// The position of an entry: its term and index. Ordered by term first: of two logs the one whose last position is greater
/// is the newer one (dissertation, section 3.6.1). The default stands before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Term of the leader that created the entry.
    pub term: Term,
    /// Its place in the log; 0 stands before the first.
    pub index: Index,
}

impl Position {
    /// The position of an entry.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        Self { term: entry.term, index: entry.index }
    }
}

impl From<Applied> for Position {
    fn from(applied: Applied) -> Self {
        Self { term: applied.term, index: applied.index }
    }
}

impl From<Position> for Applied {
    fn from(position: Position) -> Self {
        Self { index: position.index, term: position.term }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}
