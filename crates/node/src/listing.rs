//! One page of a listing: merges many shards in key order, a bounded piece of work at a time.
//!
//! ```text
//!   shard 0   a · d · …  ┐
//!   shard 1   b · c · …  ├─▶ smallest head ─▶ page
//!   shard 2   (unknown)  ┘      waits until every source has a head or is at its end
//! ```
//!
//! Shards are asked for keys only, a little more than their even share at a time; the value is read when its key is taken.
//! Between two pieces of work keys may come and go, which a listing allows: what is taken is current when it is taken.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use ringfort_replica::Listed;
use ringfort_types::limits::KEY_BYTES_MAX;
use ringfort_types::request::{Item, List, Page};
use ringfort_types::{Key, Monotonic, ShardId};

/// What a fetch costs, in units of one record looked at: it has to find its place first.
const FETCH_UNITS: usize = 4;
/// Bytes of a value that cost as much as a record looked at.
const UNIT_BYTES: usize = 1024;

/// What of a shard is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    /// Only keys greater than this.
    pub(crate) after: Option<&'a Key>,
    /// Most keys.
    pub(crate) keys: usize,
    /// No further key once the keys have this many bytes.
    pub(crate) key_bytes: usize,
}

/// A page that is being put together.
#[derive(Debug)]
pub(crate) struct Listing {
    list: List,
    /// When it was asked for here.
    asked: Monotonic,
    /// It met a key that was due when it was asked for: such keys are expired before it goes on.
    expires: bool,
    begun: Option<Monotonic>,
    /// How old what its shards had applied may have been when it was begun: of a stale listing.
    bound: Duration,
    sources: Vec<Source>,
    /// Sources that may have more keys, and of which none is known.
    unknown: Vec<usize>,
    heads: BinaryHeap<Reverse<(Key, usize)>>,
    page: Page,
    bytes: usize,
}

#[derive(Debug)]
struct Source {
    shard: ShardId,
    items: VecDeque<Item>,
    rest: Rest,
}

/// What a source has behind its items.
#[derive(Debug)]
enum Rest {
    /// Maybe more, behind this key.
    Behind(Option<Key>),
    /// Nothing.
    End,
}

impl Listing {
    /// A page of which nothing is known.
    pub(crate) fn new(
        list: List,
        shards: impl IntoIterator<Item = ShardId>,
        asked: Monotonic,
    ) -> Self {
        let source = |shard| Source {
            shard,
            items: VecDeque::new(),
            rest: Rest::Behind(list.after.clone()),
        };
        let sources: Vec<_> = shards.into_iter().map(source).collect();
        Self {
            asked,
            expires: false,
            begun: None,
            bound: Duration::ZERO,
            unknown: (0..sources.len()).collect(),
            sources,
            heads: BinaryHeap::new(),
            page: Page::default(),
            bytes: 0,
            list,
        }
    }

    /// What is listed.
    pub(crate) fn list(&self) -> &List {
        &self.list
    }

    /// What is listed, and nothing of what was done for it.
    pub(crate) fn into_list(self) -> List {
        self.list
    }

    /// The same page from its beginning: what waits holds no items.
    pub(crate) fn anew(self) -> Self {
        let shards: Vec<_> = self.shards().collect();
        Self { expires: self.expires, ..Self::new(self.list, shards, self.asked) }
    }

    /// Notes that a key was met that was due when it was asked for.
    pub(crate) fn set_expires(&mut self) {
        self.expires = true;
    }

    /// Whether what was due when it was asked for is expired before it goes on.
    pub(crate) fn expires(&self) -> bool {
        self.expires
    }

    /// The shards that are asked.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.sources.iter().map(|source| source.shard)
    }

    /// Notes how old what its shards have applied may be. Before it is begun.
    pub(crate) fn set_bound(&mut self, bound: Duration) {
        self.bound = bound;
    }

    /// How old its items may be by now; `None` before it is begun.
    pub(crate) fn age(&self, now: Monotonic) -> Option<Duration> {
        Some(self.bound + now.since(self.begun?))
    }

    /// When it was asked for: none of its items may be older, unless it is stale.
    pub(crate) fn asked(&self) -> Monotonic {
        self.asked
    }

    /// When its first key was looked for, if that was: no item is older.
    pub(crate) fn begun(&self) -> Option<Monotonic> {
        self.begun
    }

    /// Works on, at most about `units` records' worth of it, of which the rest is left in `units`. `fetch` gives keys of a
    /// shard in order; `complete` gives an item that is taken as it now stands, or nothing if its key has gone. Gives the
    /// page once it is complete.
    pub(crate) fn work<E>(
        &mut self,
        now: Monotonic,
        units: &mut usize,
        mut fetch: impl FnMut(ShardId, Ask<'_>) -> Result<Listed, E>,
        mut complete: impl FnMut(ShardId, Item) -> Result<Option<Item>, E>,
    ) -> Result<Option<Page>, E> {
        self.begun.get_or_insert(now);
        loop {
            let full =
                self.page.items.len() >= self.list.limit || self.bytes >= self.list.bytes_max;
            if full && !self.heads.is_empty() {
                self.page.more = true;
                return Ok(Some(std::mem::take(&mut self.page)));
            }
            if *units == 0 {
                return Ok(None);
            }
            if let Some(position) = self.unknown.pop() {
                let cost = self.fetch(position, *units, &mut fetch)?;
                *units = units.saturating_sub(cost);
            } else if let Some(Reverse((_, position))) = self.heads.pop() {
                let cost = self.take(position, &mut complete)?;
                *units = units.saturating_sub(cost);
            } else {
                return Ok(Some(std::mem::take(&mut self.page)));
            }
        }
    }

    /// Asks a source for more.
    fn fetch<E>(
        &mut self,
        position: usize,
        records: usize,
        fetch: &mut impl FnMut(ShardId, Ask<'_>) -> Result<Listed, E>,
    ) -> Result<usize, E> {
        // Keys are spread evenly, so a little more than an even share of the page is what a shard usually gives.
        let shards = self.sources.len();
        let share = |all: usize| all / shards * 5 / 4;
        let source = &mut self.sources[position];
        let Rest::Behind(after) = &source.rest else { return Ok(0) };
        let listed = fetch(
            source.shard,
            Ask {
                after: after.as_ref(),
                keys: (share(self.list.limit) + 4).min(self.list.limit).min(records),
                key_bytes: share(self.list.bytes_max) + KEY_BYTES_MAX,
            },
        )?;
        let cost = FETCH_UNITS + listed.items.len();
        source.items = listed.items.into();
        source.rest = listed.behind.map_or(Rest::End, |key| Rest::Behind(Some(key)));
        self.note_head(position);
        Ok(cost)
    }

    /// Takes the first item of a source.
    fn take<E>(
        &mut self,
        position: usize,
        complete: &mut impl FnMut(ShardId, Item) -> Result<Option<Item>, E>,
    ) -> Result<usize, E> {
        let source = &mut self.sources[position];
        let mut cost = 1;
        if let Some(item) = source.items.pop_front()
            && let Some(item) = complete(source.shard, item)?
        {
            cost += item.value.len() / UNIT_BYTES;
            self.bytes += item.key.as_bytes().len() + item.value.len();
            self.page.items.push(item);
        }
        self.note_head(position);
        Ok(cost)
    }

    fn note_head(&mut self, position: usize) {
        let source = &self.sources[position];
        match (source.items.front(), &source.rest) {
            (Some(first), _) => self.heads.push(Reverse((first.key.clone(), position))),
            (None, Rest::Behind(_)) => self.unknown.push(position),
            (None, Rest::End) => {}
        }
    }
}

/// Merges pages of different workers, each in order, under the same bounds. Its age is that of the oldest.
#[must_use]
pub fn merge_pages(pages: Vec<Page>, limit: usize, bytes_max: usize) -> Page {
    let more_behind = pages
        .iter()
        .filter(|page| page.more)
        .filter_map(|page| page.items.last())
        .map(|item| item.key.clone())
        .min();
    let staleness_ms = pages.iter().filter_map(|page| page.staleness_ms).max();
    let mut items: Vec<Item> = pages.into_iter().flat_map(|page| page.items).collect();
    items.sort_by(|a, b| a.key.cmp(&b.key));
    // Behind the last key of a page that has more, that page's next key may be the smallest one.
    let known = more_behind
        .as_ref()
        .map_or(items.len(), |last| items.partition_point(|item| item.key <= *last));
    let mut bytes = 0;
    let mut taken = 0;
    while taken < known.min(limit) && (taken == 0 || bytes < bytes_max) {
        bytes += items[taken].key.as_bytes().len() + items[taken].value.len();
        taken += 1;
    }
    let more = taken < items.len() || more_behind.is_some();
    items.truncate(taken);
    Page { items, more, staleness_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use ringfort_types::Version;
    use ringfort_types::request::Consistency;

    const NOW: Monotonic = Monotonic(1);

    fn item(key: &str) -> Item {
        let key = Key::new(key.to_owned()).unwrap();
        Item { key, version: Version(1), value: Bytes::new(), ttl_ms: None }
    }

    fn keys(page: &Page) -> Vec<String> {
        page.items
            .iter()
            .map(|item| String::from_utf8_lossy(item.key.as_bytes()).into_owned())
            .collect()
    }

    fn list(limit: usize, bytes_max: usize, after: Option<Key>) -> List {
        List {
            prefix: Bytes::new(),
            start: Bytes::new(),
            end: None,
            after,
            limit,
            bytes_max,
            keys_only: false,
            consistency: Consistency::Linearizable,
        }
    }

    /// What a shard of these keys answers.
    fn fetch<'a>(keys: impl Iterator<Item = &'a String>, ask: Ask<'_>) -> Listed {
        let after = ask.after.map(|key| key.as_bytes().to_vec());
        let behind =
            keys.filter(|key| after.as_ref().is_none_or(|a| key.as_bytes() > a.as_slice()));
        let items: Vec<_> = behind.take(ask.keys).map(|key| item(key)).collect();
        let behind = items.last().filter(|_| items.len() == ask.keys).map(|item| item.key.clone());
        Listed { items, first_due: None, behind }
    }

    #[test]
    fn pages_over_shards_visit_every_key_once_in_order() {
        let all: Vec<String> = (0..500).map(|n| format!("{n:04}")).collect();
        // Deliberately uneven: shard 0 holds half of all.
        let of = |n: usize| if n.is_multiple_of(2) { 0 } else { n % 7 };
        for (limit, bytes_max, units_max) in [
            (1, 1000, 10),
            (3, 1000, 100),
            (100, 1000, 1),
            (1000, 100_000, 5),
            (1000, 100_000, 100_000),
            (50, 12, 7),
        ] {
            let mut seen = Vec::new();
            let mut after = None;
            loop {
                let mut listing =
                    Listing::new(list(limit, bytes_max, after), (0..7).map(ShardId), NOW);
                let page = loop {
                    let mut units = units_max;
                    let page = listing.work(
                        NOW,
                        &mut units,
                        |shard, ask| {
                            let mine = all.iter().enumerate();
                            let mine = mine.filter(|(n, _)| of(*n) == shard.0 as usize);
                            let listed = fetch(mine.map(|(_, key)| key), ask);
                            assert!(listed.items.len() <= units_max);
                            Ok::<_, ()>(listed)
                        },
                        |_, item| Ok(Some(Item { value: Bytes::from_static(b"v"), ..item })),
                    );
                    match page.unwrap() {
                        Some(page) => break page,
                        None => assert_eq!(units, 0, "it stops for want of units only"),
                    }
                };
                assert!(page.items.len() <= limit);
                seen.extend(keys(&page));
                after = page.items.last().map(|item| item.key.clone());
                if !page.more {
                    break;
                }
                assert!(!page.items.is_empty());
            }
            assert_eq!(seen, all, "limit {limit}, {bytes_max} bytes, {units_max} units");
        }
    }

    #[test]
    fn what_goes_while_the_page_is_put_together_is_left_out() {
        let all: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        let mut listing = Listing::new(list(3, 1000, None), [ShardId(0)], NOW);
        let gone = |item: &Item| item.key.as_bytes() < b"5".as_slice();
        let page = listing.work(
            NOW,
            &mut 1000,
            |_, ask| Ok::<_, ()>(fetch(all.iter(), ask)),
            |_, item| Ok(Some(item).filter(|item| !gone(item))),
        );
        let page = page.unwrap().unwrap();
        assert_eq!((keys(&page).join(""), page.more), ("567".to_owned(), true));
    }

    #[test]
    fn a_page_that_ended_early_bounds_what_the_others_may_add() {
        let first = Page { items: vec![item("a"), item("c")], more: true, staleness_ms: Some(2) };
        let second = Page { items: vec![item("b"), item("e")], more: false, staleness_ms: Some(1) };
        let page = merge_pages(vec![first, second], 10, 1000);
        assert_eq!(keys(&page), ["a", "b", "c"], "d may follow c in the first");
        assert!(page.more);
        assert_eq!(page.staleness_ms, Some(2));
    }
}
