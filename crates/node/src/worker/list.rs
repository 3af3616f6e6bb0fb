//! Listings: one page at a time, a bounded piece of it in each turn, so that whatever else a worker has goes on meanwhile.

use ringfort_replica::{ListQuery, Listed, MachineError, Reading, Ticket};
use ringfort_types::request::{Consistency, Context, Item, List, Page};
use ringfort_types::{
    Code, GroupId, Key, Monotonic, NamespaceId, Refusal, ShardId, shard_of_token, token_of_prefix,
};

use super::{Worker, open_shard};
use crate::listing::{Ask, Listing};
use crate::pending::{Kind, Replied};

/// Work on listings in one turn, in units of a record looked at: well below a millisecond.
const UNITS_PER_TURN: usize = 1024;

/// Why a listing does not go on.
enum Trouble {
    /// A shard leads, and what it has committed is not yet applied.
    NotYet,
    Refused(Refusal),
    Broken(ShardId, MachineError),
}

impl<W> Worker<W> {
    /// Lists one page of the keys of this worker's shards; it comes under the waiter.
    ///
    /// # Errors
    /// It was refused: too many requests are under way, or a shard that may hold such keys cannot be read.
    pub fn list(
        &mut self,
        now: Monotonic,
        context: &Context,
        list: List,
        waiter: impl FnOnce() -> W,
    ) -> Result<(), Refusal> {
        if self.pending.len() >= self.config.requests_max {
            return Err(self.overloaded(false));
        }
        if context.deadline <= now {
            let detail = "the request's time passed before it was begun";
            return Err(Refusal::new(Code::Timeout, detail));
        }
        let shards = self.shards_of(&list.prefix);
        let listing = Listing::new(list, shards);
        match self.ready(now, &listing) {
            Ok(()) | Err(Trouble::NotYet) => {}
            Err(trouble) => return Err(self.refusal_of(trouble)),
        }
        let ticket = self.pending.insert(context.deadline, Kind::Read, waiter());
        self.listings.push_back((ticket, listing));
        self.listing_due = true;
        Ok(())
    }

    /// This worker's shards that keys with a prefix may live in.
    fn shards_of(&self, prefix: &[u8]) -> Vec<ShardId> {
        match token_of_prefix(NamespaceId::default(), prefix) {
            None => self.mine.iter().filter_map(|group| group.shard()).collect(),
            Some(token) => {
                let shard = shard_of_token(token, self.config.shards);
                let mine = self.mine.binary_search(&GroupId::of_shard(shard)).is_ok();
                mine.then_some(shard).into_iter().collect()
            }
        }
    }

    /// Works on listings, in the order they came; those that have to wait for a shard let others pass.
    pub(super) fn work_on_listings(&mut self, now: Monotonic) {
        self.listing_due = false;
        let mut units = UNITS_PER_TURN;
        for _ in 0..self.listings.len() {
            let Some((ticket, mut listing)) = self.listings.pop_front() else { return };
            if !self.pending.contains(ticket) {
                continue;
            }
            match self.work_on(now, &mut listing, &mut units) {
                Ok(Some(page)) => {
                    let staleness_ms = staleness_ms(&listing, now);
                    self.respond(ticket, Ok(Replied::Page(Page { staleness_ms, ..page })));
                }
                Ok(None) => {
                    self.listings.push_front((ticket, listing));
                    self.listing_due = true;
                    return;
                }
                // From its beginning: what waits for a shard holds no items meanwhile.
                Err(Trouble::NotYet) => self.wait_for_shard(ticket, listing),
                Err(trouble) => {
                    let refusal = self.refusal_of(trouble);
                    self.respond(ticket, Err(refusal));
                }
            }
        }
    }

    fn wait_for_shard(&mut self, ticket: Ticket, listing: Listing) {
        let shards: Vec<_> = listing.shards().collect();
        let listing = Listing::new(listing.into_list(), shards);
        self.listings.push_back((ticket, listing));
    }

    fn work_on(
        &self,
        now: Monotonic,
        listing: &mut Listing,
        units: &mut usize,
    ) -> Result<Option<Page>, Trouble> {
        self.ready(now, listing)?;
        let list = listing.list().clone();
        let broken = |shard| move |error| Trouble::Broken(shard, error);
        let fetch = |shard, ask: Ask<'_>| -> Result<Listed, Trouble> {
            let query = ListQuery {
                namespace: NamespaceId::default(),
                prefix: list.prefix.clone(),
                start: list.start.clone(),
                end: list.end.clone(),
                after: ask.after.cloned(),
                limit: ask.keys,
                key_bytes_max: ask.key_bytes,
                records_max: ask.records,
            };
            let open = open_shard(&self.slots, shard).map_err(Trouble::Refused)?;
            open.replica.list(self.engine.as_ref(), now, &query).map_err(broken(shard))
        };
        let complete = |shard, item: Item| -> Result<Option<Item>, Trouble> {
            if list.keys_only {
                return Ok(Some(item));
            }
            self.item(shard, now, item.key)
        };
        listing.work(now, units, fetch, complete)
    }

    /// A listed key as it is now; `None` if it has gone.
    fn item(&self, shard: ShardId, now: Monotonic, key: Key) -> Result<Option<Item>, Trouble> {
        let open = open_shard(&self.slots, shard).map_err(Trouble::Refused)?;
        match open.replica.get(self.engine.as_ref(), now, &key) {
            Ok(Reading::Found(Some(found))) => Ok(Some(Item {
                key,
                version: found.version,
                value: found.value,
                ttl_ms: found.ttl_ms,
            })),
            Ok(Reading::Found(None) | Reading::Due(..)) => Ok(None),
            Err(error) => Err(Trouble::Broken(shard, error)),
        }
    }

    /// Whether every shard of a listing can be read now: one without a shard that has keys of it would not be true.
    fn ready(&self, now: Monotonic, listing: &Listing) -> Result<(), Trouble> {
        let mut ready = Ok(());
        for shard in listing.shards() {
            let replica = &open_shard(&self.slots, shard).map_err(Trouble::Refused)?.replica;
            if replica.can_read_now(now) {
                continue;
            }
            if listing.list().consistency == Consistency::Stale {
                let detail = "no bound can be given for how old a listing would be";
                return Err(Trouble::Refused(Refusal::new(Code::Unavailable, detail)));
            }
            if !replica.leads() {
                let detail = format!("shard {shard} has no leader");
                return Err(Trouble::Refused(Refusal::new(Code::Unavailable, detail)));
            }
            ready = Err(Trouble::NotYet);
        }
        ready
    }

    fn refusal_of(&mut self, trouble: Trouble) -> Refusal {
        match trouble {
            Trouble::Refused(refusal) => refusal,
            Trouble::Broken(shard, error) => self.close(GroupId::of_shard(shard), &error),
            Trouble::NotYet => Refusal::new(Code::Unavailable, "a shard cannot be read yet"),
        }
    }
}

/// A leader's own state is never behind: items are as old as the first look for them.
fn staleness_ms(listing: &Listing, now: Monotonic) -> Option<u64> {
    let age = now.since(listing.begun()?);
    let ms = u64::try_from(age.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    (listing.list().consistency == Consistency::Stale).then_some(ms)
}
