//! What a thread finds in its inbox. Inputs of one source come in order; nothing is promised between sources.

use super::{LogInput, WorkerInput};

/// Where an input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Source {
    /// Time, and what the host says of itself.
    Host,
    /// Other nodes.
    Peers,
    /// Clients.
    Clients,
    /// Another thread: the log's, a worker's, the member's.
    Threads,
    /// The disk.
    Disk,
}

impl Source {
    pub(in crate::cluster) const ALL: [Self; 5] =
        [Self::Host, Self::Peers, Self::Clients, Self::Threads, Self::Disk];
}

/// What a turn takes of what waits; the rest waits for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Look {
    /// Everything.
    All,
    /// The oldest, so many sixteenths of all, rounded up.
    Part(usize),
    /// All but what is of this source.
    Without(Source),
}

/// An input with its source.
pub(super) trait Sourced {
    fn source(&self) -> Source;
}

impl Sourced for LogInput {
    fn source(&self) -> Source {
        match self {
            Self::Submit(_) => Source::Threads,
            Self::Disk(_) => Source::Disk,
            Self::Timer | Self::Target(_) => Source::Host,
        }
    }
}

impl Sourced for WorkerInput {
    fn source(&self) -> Source {
        match self {
            Self::Tick | Self::Room(_) | Self::HandOver => Source::Host,
            Self::Frame(..) | Self::Unsent(_) | Self::Connection(..) => Source::Peers,
            Self::Get(..)
            | Self::Write(..)
            | Self::Atomic(..)
            | Self::List(..)
            | Self::Batch(..) => Source::Clients,
            Self::Durable(_)
            | Self::WantRebase(_)
            | Self::Headroom(_)
            | Self::Map(_)
            | Self::Instruct(_)
            | Self::Report
            | Self::Reports(_) => Source::Threads,
            Self::Disk(_) | Self::CatalogFile(_) => Source::Disk,
        }
    }
}

/// Takes out of an inbox what a turn finds there.
pub(super) fn take<T: Sourced>(inbox: &mut Vec<T>, look: Look) -> Vec<T> {
    match look {
        Look::All => std::mem::take(inbox),
        Look::Part(sixteenths) => inbox.drain(..(inbox.len() * sixteenths).div_ceil(16)).collect(),
        Look::Without(source) => inbox.extract_if(.., |input| input.source() != source).collect(),
    }
}
