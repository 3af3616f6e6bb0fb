//! Listings: one page at a time, a bounded piece of it in each turn, so that whatever else a worker has goes on meanwhile.

use std::time::Duration;

use ringfort_proto::{Ask, RequestId};
use ringfort_replica::{ListQuery, Listed, MachineError, Probed, Ticket};
use ringfort_types::request::{Consistency, Context, Found, Item, List, Page, Principal, Trace};
use ringfort_types::{
    Code, GroupId, Key, Monotonic, NamespaceId, NodeNumber, Refusal, ShardId, shard_of_token,
    token_of_prefix,
};

use super::answers::Gathering;
use super::requests::Place;
use super::stale::milliseconds;
use super::{Waiter, Worker, open_group_mut, open_shard};
use crate::listing::{Ask as Fetch, Listing};
use crate::pending::{Kind, Replied};

/// A listing that this worker works on.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ticket: Ticket,
    principal: Principal,
    trace: Trace,
    listing: Listing,
}

/// Why a listing does not go on.
enum Trouble {
    /// A shard leads, and what it has committed is not yet applied, or what was due is not yet expired.
    NotYet,
    /// A key was met that was due when the listing was asked for.
    Due,
    /// A shard is to be read on another node.
    Elsewhere(ShardId),
    Refused(Refusal),
    Broken(ShardId, MachineError),
}

impl<W> Worker<W> {
    /// Lists one page of the keys of the shards that are this worker's to care for, wherever they are led; it comes under the
    /// waiter.
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
        let shards = self.shards_of(&list.prefix);
        let is_here = |shard: &ShardId| {
            let stale = list.consistency == Consistency::Stale;
            self.place_of(*shard) == Place::Here
                || (stale && open_shard(&self.slots, *shard).is_ok())
        };
        let (here, elsewhere): (Vec<_>, Vec<_>) = shards.into_iter().partition(is_here);
        if elsewhere.is_empty() {
            return self.list_here(now, context, list, here, || Waiter::Host(waiter()));
        }
        let parts = self.forwarder.divide(&elsewhere);
        self.gather_pages(now, context, &list, here, parts, Waiter::Host(waiter()));
        Ok(())
    }

    /// Takes back a listing that was to go to another node: its shards are led by several by now, or here.
    pub(super) fn list_returned(
        &mut self,
        now: Monotonic,
        context: &Context,
        list: &List,
        shards: Vec<ShardId>,
        waiter: Waiter<W>,
    ) {
        let is_here = |shard: &ShardId| self.place_of(*shard) == Place::Here;
        let (here, elsewhere): (Vec<_>, Vec<_>) = shards.into_iter().partition(is_here);
        let parts = self.forwarder.divide(&elsewhere);
        self.gather_pages(now, context, list, here, parts, waiter);
    }

    /// Lists shards of several nodes, and merges what they give.
    fn gather_pages(
        &mut self,
        now: Monotonic,
        context: &Context,
        list: &List,
        here: Vec<ShardId>,
        parts: Vec<(Option<NodeNumber>, Vec<ShardId>)>,
        waiter: Waiter<W>,
    ) {
        // Those that this node is wrongly believed to lead go by themselves, so that each learns who does.
        let is_own = |node: Option<NodeNumber>| node == Some(self.config.node);
        let split = |(node, shards): (_, Vec<ShardId>)| match is_own(node) {
            true => shards.into_iter().map(|shard| vec![shard]).collect(),
            false => vec![shards],
        };
        let parts: Vec<Vec<ShardId>> = parts.into_iter().flat_map(split).collect();
        let gathering = self.gatherings.begin(Gathering::Pages {
            waiter,
            missing: parts.len() + usize::from(!here.is_empty()),
            pages: Vec::new(),
            limit: list.limit,
            bytes_max: list.bytes_max,
        });
        let page = || Waiter::Page { gathering };
        for shards in parts {
            let Some(first) = shards.first().copied() else { continue };
            let ask = Ask::List { list: list.clone(), shards };
            self.forward(now, context, first, ask, page());
        }
        if !here.is_empty()
            && let Err(refusal) = self.list_here(now, context, list.clone(), here, page)
        {
            self.answer(page(), Err(refusal));
        }
    }

    pub(super) fn list_here(
        &mut self,
        now: Monotonic,
        context: &Context,
        list: List,
        shards: Vec<ShardId>,
        waiter: impl FnOnce() -> Waiter<W>,
    ) -> Result<(), Refusal> {
        if self.pending.len() >= self.config.requests_max {
            return Err(self.overloaded(false));
        }
        if context.deadline <= now {
            let detail = "the request's time passed before it was begun";
            return Err(Refusal::new(Code::Timeout, detail));
        }
        let listing = Listing::new(list, shards, now);
        match self.ready(now, &listing) {
            Ok(_) | Err(Trouble::NotYet) => {}
            Err(trouble) => return Err(self.refusal_of(trouble)),
        }
        let ticket = self.pending.insert(context.deadline, Kind::Read, waiter());
        let (principal, trace) = (context.principal.clone(), context.trace.clone());
        self.listings.push_back(Asked { ticket, principal, trace, listing });
        self.listing_due = true;
        Ok(())
    }

    /// The shards that are this worker's to care for, led here or not, and that keys with a prefix may live in.
    fn shards_of(&self, prefix: &[u8]) -> Vec<ShardId> {
        let (workers, own) = (u32::from(self.config.workers), u32::from(self.config.source.0));
        match token_of_prefix(NamespaceId::default(), prefix) {
            None => (own..self.config.shards).step_by(workers as usize).map(ShardId).collect(),
            Some(token) => {
                let shard = shard_of_token(token, self.config.shards);
                (shard.0 % workers == own).then_some(shard).into_iter().collect()
            }
        }
    }

    /// Works on listings, in the order they came; those that have to wait for a shard let others pass.
    pub(super) fn work_on_listings(&mut self, now: Monotonic) {
        self.listing_due = false;
        let mut units = self.config.limits.listing_units_per_turn;
        for _ in 0..self.listings.len() {
            let Some(asked) = self.listings.pop_front() else { return };
            let Asked { ticket, principal, trace, mut listing } = asked;
            if !self.pending.contains(ticket) {
                continue;
            }
            let ready = self.ready(now, &listing).and_then(|()| self.expire_for(now, &listing));
            match ready.and_then(|()| self.work_on(now, &mut listing, &mut units)) {
                Ok(Some(page)) => {
                    let stale = listing.list().consistency == Consistency::Stale;
                    let staleness_ms = listing.age(now).filter(|_| stale).map(milliseconds);
                    self.respond(ticket, Ok(Replied::Page(Page { staleness_ms, ..page })));
                }
                Ok(None) => {
                    self.stats.listings_put_off += 1;
                    self.listings.push_front(Asked { ticket, principal, trace, listing });
                    self.listing_due = true;
                    return;
                }
                // From its beginning: what waits for a shard holds no items meanwhile.
                Err(Trouble::NotYet) => {
                    self.probe_for(now, &listing);
                    let listing = listing.anew();
                    self.listings.push_back(Asked { ticket, principal, trace, listing });
                }
                // A read compares no clock: the key goes first, through the log, and the page begins behind that.
                Err(Trouble::Due) => {
                    listing.set_expires();
                    let listing = listing.anew();
                    self.listings.push_back(Asked { ticket, principal, trace, listing });
                    self.listing_due = true;
                }
                Err(Trouble::Elsewhere(shard)) => {
                    self.list_elsewhere(now, Asked { ticket, principal, trace, listing }, shard);
                }
                Err(trouble) => {
                    let refusal = self.refusal_of(trouble);
                    self.respond(ticket, Err(refusal));
                }
            }
        }
    }

    /// Another node leads a shard by now: the listing begins anew, there and here, within its time.
    fn list_elsewhere(&mut self, now: Monotonic, asked: Asked, shard: ShardId) {
        let Asked { ticket, principal, trace, listing } = asked;
        let Some((deadline, waiter)) = self.pending.take_back(ticket) else { return };
        if let Waiter::Peer { node, id, .. } = waiter {
            // Who asked knows how to go on.
            return self.tell_not_leader(node, RequestId(id), shard);
        }
        let shards: Vec<_> = listing.shards().collect();
        let context = Context { arrived: now, deadline, principal, trace };
        self.list_returned(now, &context, &listing.into_list(), shards, waiter);
    }

    fn work_on(
        &self,
        now: Monotonic,
        listing: &mut Listing,
        units: &mut usize,
    ) -> Result<Option<Page>, Trouble> {
        if listing.begun().is_none() {
            let bound = self.bound_of(now, listing);
            listing.set_bound(bound);
        }
        let (list, asked) = (listing.list().clone(), listing.asked());
        let stale = list.consistency == Consistency::Stale;
        let broken = |shard| move |error| Trouble::Broken(shard, error);
        let fetch = |shard, ask: Fetch<'_>| -> Result<Listed, Trouble> {
            let query = ListQuery {
                namespace: NamespaceId::default(),
                prefix: list.prefix.clone(),
                start: list.start.clone(),
                end: list.end.clone(),
                after: ask.after.cloned(),
                limit: ask.keys,
                key_bytes_max: ask.key_bytes,
            };
            let open = open_shard(&self.slots, shard).map_err(Trouble::Refused)?;
            let replica = &open.replica;
            let listed = replica.list(self.engine.as_ref(), now, &query).map_err(broken(shard))?;
            let was_due = |due| !stale && replica.was_due(now, asked, due);
            if listed.first_due.is_some_and(was_due) { Err(Trouble::Due) } else { Ok(listed) }
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
        match open.replica.get_applied(self.engine.as_ref(), now, &key) {
            Ok(found) => Ok(found.map(|Found { version, value, ttl_ms }| Item {
                key,
                version,
                value,
                ttl_ms,
            })),
            Err(error) => Err(Trouble::Broken(shard, error)),
        }
    }

    /// Whether every shard of a listing can be read now: one without a shard that has keys of it would not be true.
    fn ready(&self, now: Monotonic, listing: &Listing) -> Result<(), Trouble> {
        let mut ready = Ok(());
        let stale = listing.list().consistency == Consistency::Stale;
        for shard in listing.shards() {
            let replica = match open_shard(&self.slots, shard) {
                Ok(open) => &open.replica,
                Err(_) if self.is_elsewhere(shard) => return Err(Trouble::Elsewhere(shard)),
                Err(refusal) => return Err(Trouble::Refused(refusal)),
            };
            let readable = match stale {
                true => replica.staleness(now).is_some(),
                // Only a leader can have something expired.
                false => {
                    replica.is_current(now, listing.asked())
                        && (replica.leads() || !listing.expires())
                }
            };
            if readable {
                continue;
            }
            if !stale && !replica.leads() && self.is_elsewhere(shard) {
                return Err(Trouble::Elsewhere(shard));
            }
            if !stale && !replica.leads() {
                let detail = format!("shard {shard} has no leader");
                return Err(Trouble::Refused(Refusal::new(Code::Unavailable, detail)));
            }
            if stale && replica.leader().leader.is_none() {
                let detail = "no bound can be given for how old a listing would be";
                return Err(Trouble::Refused(Refusal::new(Code::Unavailable, detail)));
            }
            ready = Err(Trouble::NotYet);
        }
        ready
    }

    /// Has what was due when a listing was asked for expired in all its shards, once it has met such a key.
    fn expire_for(&mut self, now: Monotonic, listing: &Listing) -> Result<(), Trouble> {
        let mut expired = Ok(());
        for shard in listing.shards().filter(|_| listing.expires()) {
            let group = GroupId::of_shard(shard);
            let open = open_group_mut(&mut self.slots, group).map_err(Trouble::Refused)?;
            let before = open.replica.load();
            let left = open.replica.expire_due(self.engine.as_ref(), now, listing.asked());
            let after = open.replica.load();
            self.load = self.load.moved(before, after);
            if after.queued > before.queued {
                self.mark_dirty(group);
            }
            if left.map_err(|error| Trouble::Broken(shard, error))? {
                expired = Err(Trouble::NotYet);
            }
        }
        expired
    }

    fn is_elsewhere(&self, shard: ShardId) -> bool {
        self.forwarder.routes().is_elsewhere(shard)
    }

    /// Asks the leaders of a listing's shards how far they are: other nodes' for a stale one, this node's for the others,
    /// where no lease says that they still lead.
    fn probe_for(&mut self, now: Monotonic, listing: &Listing) {
        for group in listing.shards().map(GroupId::of_shard) {
            if let Ok(open) = open_group_mut(&mut self.slots, group)
                && !open.replica.is_current(now, listing.asked())
                && open.replica.probe(now) != Probed::Waiting
            {
                self.mark_dirty(group);
            }
        }
    }

    /// How old what the replicas of a listing's shards have applied may be.
    fn bound_of(&self, now: Monotonic, listing: &Listing) -> Duration {
        let of = |shard| open_shard(&self.slots, shard).ok()?.replica.staleness(now);
        listing.shards().filter_map(of).max().unwrap_or_default()
    }

    fn refusal_of(&mut self, trouble: Trouble) -> Refusal {
        match trouble {
            Trouble::Refused(refusal) => refusal,
            Trouble::Broken(shard, error) => self.close(GroupId::of_shard(shard), &error),
            Trouble::NotYet | Trouble::Due | Trouble::Elsewhere(_) => {
                Refusal::new(Code::Unavailable, "a shard cannot be read yet")
            }
        }
    }
}
