//! Verbs of the network: which messages arrive, when, how often, and in what order.

use ringfort_raft::Message;
use ringfort_sim::group::InFlight;

use super::args::{Args, Failure, parse_ids};
use super::filter::Filter;
use super::world::World;

impl World {
    /// `deliver from=1 to=2 kind=append`: what is under way now and is meant arrives, in order. What that leads to waits.
    pub(super) fn deliver(&mut self, args: &mut Args) -> Result<(), Failure> {
        let filter = Filter::take(args)?;
        let meant = self.take_flights(&filter)?;
        for flight in meant {
            self.receive(&flight.message)?;
        }
        Ok(())
    }

    /// `drop to=3`: what is under way and is meant is lost.
    pub(super) fn lose(&mut self, args: &mut Args) -> Result<(), Failure> {
        let filter = Filter::take(args)?;
        for flight in self.take_flights(&filter)? {
            let line = self.show_message(&flight.message);
            self.tell(format!("lost {line}"));
        }
        Ok(())
    }

    /// `dup to=2 kind=append`: what is under way and is meant is so twice.
    pub(super) fn dup(&mut self, args: &mut Args) -> Result<(), Failure> {
        let filter = Filter::take(args)?;
        for place in self.places(&filter)? {
            let again = self.cluster.network[place].clone();
            let line = self.show_message(&again.message);
            self.cluster.network.push(again);
            self.tell(format!("twice {line}"));
        }
        Ok(())
    }

    /// `reorder to=2`: what is under way and is meant changes places, last first.
    pub(super) fn reorder(&mut self, args: &mut Args) -> Result<(), Failure> {
        let filter = Filter::take(args)?;
        let places = self.places(&filter)?;
        for (place, other) in places.iter().zip(places.iter().rev()).take(places.len() / 2) {
            self.cluster.network.swap(*place, *other);
        }
        Ok(())
    }

    /// `hold from=3 kind=ack`: what is meant, under way or sent later, arrives only once it is released.
    pub(super) fn hold(&mut self, args: &mut Args) -> Result<(), Failure> {
        let filter = Filter::take(args)?;
        let network = std::mem::take(&mut self.cluster.network);
        let (held, rest) =
            network.into_iter().partition::<Vec<_>, _>(|flight| filter.fits(&flight.message));
        self.cluster.network = rest;
        self.held.extend(held);
        self.holds.push(filter);
        Ok(())
    }

    /// `release`: what is held is under way again, behind everything else, and nothing is held any more.
    pub(super) fn release(&mut self, _: &mut Args) -> Result<(), Failure> {
        self.holds.clear();
        self.cluster.network.append(&mut self.held);
        Ok(())
    }

    /// `partition 1 2/3`: nothing passes between the two sides any more. `partition from=1 to=2/3`: nothing passes this way.
    /// What is under way already is not affected.
    pub(super) fn partition(&mut self, args: &mut Args) -> Result<(), Failure> {
        let (from, to) = (args.key("from"), args.key("to"));
        let both = from.is_none() && to.is_none();
        let from = from.or_else(|| args.word()).ok_or("between whom?")?;
        let to = to.or_else(|| args.word()).ok_or("between whom?")?;
        for from in parse_ids(&from)? {
            for to in parse_ids(&to)? {
                self.cut.insert((from, to));
                if both {
                    self.cut.insert((to, from));
                }
            }
        }
        Ok(())
    }

    /// `heal`: everything passes again.
    pub(super) fn heal(&mut self, _: &mut Args) -> Result<(), Failure> {
        self.cut.clear();
        Ok(())
    }

    /// `replay from=1 to=2 kind=append number=1`: of all messages ever sent, those that are meant arrive, once more.
    pub(super) fn replay(&mut self, args: &mut Args) -> Result<(), Failure> {
        let filter = Filter::take(args)?;
        let places = filter.places(self.history.iter());
        let meant: Vec<Message> = places.iter().map(|place| self.history[*place].clone()).collect();
        if meant.is_empty() {
            return Err("no such message was ever sent".into());
        }
        for message in meant {
            let line = self.show_message(&message);
            self.tell(format!("again {line}"));
            self.receive(&message)?;
        }
        Ok(())
    }

    fn places(&self, filter: &Filter) -> Result<Vec<usize>, Failure> {
        let places = filter.places(self.cluster.network.iter().map(|flight| &flight.message));
        if places.is_empty() { Err("no such message is under way".into()) } else { Ok(places) }
    }

    fn take_flights(&mut self, filter: &Filter) -> Result<Vec<InFlight>, Failure> {
        let places = self.places(filter)?;
        let mut taken: Vec<_> =
            places.iter().rev().map(|place| self.cluster.network.remove(*place)).collect();
        taken.reverse();
        Ok(taken)
    }
}
