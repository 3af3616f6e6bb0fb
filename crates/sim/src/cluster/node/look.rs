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
            | Self::Epoch(..)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox() -> Vec<WorkerInput> {
        let mut inbox = Vec::new();
        for room in 0..8 {
            inbox.extend([WorkerInput::Room(room), WorkerInput::Report]);
        }
        inbox
    }

    /// What an inbox holds of the host, and how much else.
    fn contents(inbox: &[WorkerInput]) -> (Vec<u64>, usize) {
        let rooms = inbox.iter().filter_map(|input| match input {
            WorkerInput::Room(room) => Some(*room),
            _ => None,
        });
        let rooms: Vec<_> = rooms.collect();
        let others = inbox.len() - rooms.len();
        (rooms, others)
    }

    #[test]
    fn what_is_taken_and_what_is_left_are_in_order_and_all_there_is() {
        for look in
            (0..=16).map(Look::Part).chain(Source::ALL.map(Look::Without)).chain([Look::All])
        {
            let mut left = inbox();
            let taken = take(&mut left, look);
            let (mut rooms, others) = contents(&taken);
            let (later, others_later) = contents(&left);
            rooms.extend(later);
            assert_eq!(rooms, [0, 1, 2, 3, 4, 5, 6, 7], "{look:?}");
            assert_eq!(others + others_later, 8, "{look:?}");
        }
    }

    #[test]
    fn a_look_takes_what_it_says() {
        let taken = |look| contents(&take(&mut inbox(), look));
        assert_eq!(taken(Look::Part(0)), (vec![], 0));
        assert_eq!(taken(Look::Part(3)), (vec![0, 1], 1));
        assert_eq!(taken(Look::Without(Source::Host)), (vec![], 8));
        assert_eq!(taken(Look::Without(Source::Threads)), ((0..8).collect(), 0));
        assert_eq!(taken(Look::Without(Source::Disk)), taken(Look::All));
        // One that waits alone is taken with any part.
        assert_eq!(take(&mut vec![WorkerInput::Tick], Look::Part(1)).len(), 1);
    }
}
