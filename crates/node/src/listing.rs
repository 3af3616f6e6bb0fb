//! Merges the listings of many shards into one, in key order, fetching from each only as much as is needed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use ringfort_types::request::{Item, Page};
use ringfort_types::{Key, ShardId};

/// Bounds of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageBounds {
    /// Most items, at least 1.
    pub(crate) limit: usize,
    /// The page ends once keys and values reach this many bytes, with at least one item.
    pub(crate) bytes_max: usize,
}

struct Source {
    shard: ShardId,
    items: VecDeque<Item>,
    /// The last fetch gave as many items as were asked for: there may be more.
    more: bool,
}

/// Merges one page. `fetch` gives at most so many keys of a shard behind a key, in order, and fewer only at the shard's
/// end; `complete` adds what an item that is taken is to have.
pub(crate) fn merge<E>(
    shards: &[ShardId],
    after: Option<&Key>,
    bounds: PageBounds,
    mut fetch: impl FnMut(ShardId, Option<&Key>, usize) -> Result<Vec<Item>, E>,
    mut complete: impl FnMut(ShardId, Item) -> Result<Item, E>,
) -> Result<Page, E> {
    // Keys are spread evenly, so a little more than an even share of the page is what a shard usually gives.
    let share = (bounds.limit / shards.len().max(1)) * 5 / 4 + 4;
    let share = share.min(bounds.limit);
    let mut sources = Vec::with_capacity(shards.len());
    let mut heads = BinaryHeap::with_capacity(shards.len());
    for shard in shards {
        let items = VecDeque::from(fetch(*shard, after, share)?);
        if let Some(first) = items.front() {
            heads.push(Reverse((first.key.clone(), sources.len())));
        }
        sources.push(Source { shard: *shard, more: items.len() == share, items });
    }
    let mut page = Page::default();
    let mut bytes = 0;
    while let Some(Reverse((_, position))) = heads.pop() {
        if page.items.len() >= bounds.limit || bytes >= bounds.bytes_max {
            page.more = true;
            break;
        }
        let source = &mut sources[position];
        if let Some(item) = source.items.pop_front() {
            if source.items.is_empty() && source.more {
                source.items = fetch(source.shard, Some(&item.key), share)?.into();
                source.more = source.items.len() == share;
            }
            let item = complete(source.shard, item)?;
            bytes += item.key.as_bytes().len() + item.value.len();
            page.items.push(item);
        }
        if let Some(next) = source.items.front() {
            heads.push(Reverse((next.key.clone(), position)));
        }
    }
    Ok(page)
}

/// Merges pages of different workers, each in order, under the same bounds.
#[must_use]
pub fn merge_pages(pages: Vec<Page>, limit: usize, bytes_max: usize) -> Page {
    let more_behind = pages
        .iter()
        .filter(|page| page.more)
        .filter_map(|page| page.items.last())
        .map(|item| item.key.clone())
        .min();
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
    Page { items, more }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use ringfort_types::Version;

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

    #[test]
    fn pages_over_shards_visit_every_key_once_in_order() {
        let shards: Vec<ShardId> = (0..7).map(ShardId).collect();
        let all: Vec<String> = (0..500).map(|n| format!("{n:04}")).collect();
        // Deliberately uneven: shard 0 holds half of all.
        let of = |n: usize| if n.is_multiple_of(2) { 0 } else { n % 7 };
        for (limit, bytes_max) in [(1, 1000), (3, 1000), (100, 1000), (1000, 100_000), (50, 12)] {
            let mut seen = Vec::new();
            let mut after = None;
            loop {
                let page = merge(
                    &shards,
                    after.as_ref(),
                    PageBounds { limit, bytes_max },
                    |shard, after, count| {
                        let after = after.map(|key| key.as_bytes().to_vec());
                        let mine =
                            all.iter().enumerate().filter(|(n, _)| of(*n) == shard.0 as usize);
                        let behind = mine.filter(|(_, key)| {
                            after.as_ref().is_none_or(|a| key.as_bytes() > a.as_slice())
                        });
                        Ok::<_, ()>(behind.take(count).map(|(_, key)| item(key)).collect())
                    },
                    |_, item| Ok(Item { value: Bytes::from_static(b"v"), ..item }),
                )
                .unwrap();
                seen.extend(keys(&page));
                after = page.items.last().map(|item| item.key.clone());
                if !page.more {
                    break;
                }
                assert!(!page.items.is_empty());
            }
            assert_eq!(seen, all, "limit {limit}, {bytes_max} bytes");
        }
    }

    #[test]
    fn a_page_that_ended_early_bounds_what_the_others_may_add() {
        let first = Page { items: vec![item("a"), item("c")], more: true };
        let second = Page { items: vec![item("b"), item("e")], more: false };
        let page = merge_pages(vec![first, second], 10, 1000);
        assert_eq!(keys(&page), ["a", "b", "c"], "d may follow c in the first");
        assert!(page.more);
    }
}
