//! Listings, page by page: all keys of an era, or all there are, over all shards, each page from any node.
//!
//! What a page shows and what it leaves out are reads: an item was current at some time during its page, and a key of that
//! part which is not there was absent at some time during it, or it would have been present throughout. So the checker judges
//! listings with everything else; here only their order is.

use std::collections::BTreeSet;

use ringfort_check::{Event as Asking, Operation, Outcome};
use ringfort_types::Code;
use ringfort_types::request::Page;

use super::Run;
use super::clients::Wake;
use super::mix::{MILLI, Mix, about};
use super::node::Reply;
use super::queue::Event;
use super::report::{Count, Violation};
use super::words;
use crate::Random;

/// A listing under way.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    /// Of which era; `None`: of everything.
    pub(super) era: Option<u64>,
    /// The last key of the page before.
    pub(super) after: Option<String>,
    pub(super) limit: usize,
    pub(super) bytes_max: usize,
}

impl Listing {
    pub(super) fn choose(random: &mut Random, era: u64) -> Self {
        let era = era.saturating_sub(u64::from(random.one_in(4)));
        let limit = [1 + random.index(6), 100][random.index(2)];
        Self { era: Some(era), after: None, limit, bytes_max: [200, 4 << 20][random.index(2)] }
    }

    pub(super) fn prefix(&self) -> String {
        self.era.map(|era| format!("s{era}.")).unwrap_or_default()
    }

    /// The keys that it must show if they are there: those that anybody may have written.
    fn keys(&self, mix: &Mix, history: &[Asking]) -> BTreeSet<String> {
        match self.era {
            Some(era) => (0..mix.keys).map(|name| format!("s{era}.{name}")).collect(),
            None => history.iter().map(|event| event.key.clone()).collect(),
        }
    }
}

fn broken(what: String) -> Violation {
    Violation { name: "listings_are_in_order", what }
}

/// The items of a page, each with its key, value and version.
///
/// # Errors
/// They are not in order, or no part of the listing.
fn items(listing: &Listing, page: &Page) -> Result<Vec<(String, String, u64)>, Violation> {
    let mut before = listing.after.clone();
    let mut items = Vec::new();
    for item in &page.items {
        let key = String::from_utf8_lossy(item.key.as_bytes()).into_owned();
        let follows = before.as_ref().is_none_or(|before| *before < key);
        if !follows || !key.starts_with(&listing.prefix()) {
            return Err(broken(format!("{listing:?} shows {key} after {before:?}")));
        }
        before = Some(key.clone());
        items.push((key, words::name_of(&item.value), item.version.0));
    }
    if page.items.len() > listing.limit || (page.more && page.items.is_empty()) {
        return Err(broken(format!("{listing:?}: {} items, more: {}", items.len(), page.more)));
    }
    Ok(items)
}

impl Run {
    /// A client is handed a page, or none.
    pub(super) fn handle_page(&mut self, client: usize, reply: &Reply) -> Result<(), Violation> {
        let Some((listing, invoked)) = self.crowd.listing(client) else { return Ok(()) };
        let page = match (&reply.page, &reply.results) {
            (Some(page), _) => page,
            (None, Err(refusal))
                if matches!(refusal.code, Code::Unavailable | Code::Timeout | Code::Overloaded) =>
            {
                return self.told(client, None, None);
            }
            _ => return Err(broken(format!("{listing:?} was answered with {reply:?}"))),
        };
        let items = items(&listing, page)?;
        self.totals.add(Count::Pages, 1);
        self.record_page(client, &listing, invoked, &items, page.more);
        if page.more {
            let after = items.into_iter().next_back().map(|(key, _, _)| key);
            let request = self.crowd.turn_page(client, after, self.mix.nodes);
            let at = self.now + about(&mut self.random, MILLI);
            self.queue.push(at, Event::Client { client, wake: Wake::Again(request) });
            return Ok(());
        }
        self.totals.add(Count::Listings, 1);
        self.told(client, Some(Vec::new()), None)
    }

    fn record_page(
        &mut self,
        client: usize,
        listing: &Listing,
        invoked: u64,
        items: &[(String, String, u64)],
        more: bool,
    ) {
        let last = items.last().filter(|_| more).map(|(key, _, _)| key.as_str());
        let keys = listing.keys(&self.mix, &self.crowd.history);
        let missing = keys.into_iter().filter(|key| {
            listing.after.as_ref().is_none_or(|after| key > after)
                && last.is_none_or(|last| key.as_str() < last)
                && !items.iter().any(|(shown, _, _)| shown == key)
        });
        let missing: Vec<_> = missing.map(|key| (key, Outcome::Absent)).collect();
        let shown = items.iter().map(|(key, value, version)| {
            (key.clone(), Outcome::Found { value: value.clone(), version: *version })
        });
        for (key, outcome) in missing.into_iter().chain(shown) {
            self.crowd.history.push(Asking {
                client: u32::try_from(client).unwrap_or(u32::MAX),
                key,
                operation: Operation::Get,
                invoked_us: invoked / 1_000,
                returned_us: self.now / 1_000 + 1,
                outcome,
                batch: None,
                staleness_us: None,
                write: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use ringfort_types::request::Item;
    use ringfort_types::{Key, Version};

    fn page(keys: &[&str], more: bool) -> Page {
        let item = |key: &&str| Item {
            key: Key::new(key.as_bytes().to_vec()).unwrap(),
            version: Version(1),
            value: Bytes::new(),
            ttl_ms: None,
        };
        Page { items: keys.iter().map(item).collect(), more, staleness_ms: None }
    }

    #[test]
    fn pages_in_disorder_are_refused() {
        let after = Some("s1.1".to_owned());
        let listing = Listing { era: Some(1), after, limit: 2, bytes_max: 100 };
        assert!(items(&listing, &page(&["s1.10", "s1.2"], true)).is_ok());
        assert!(items(&listing, &page(&[], false)).is_ok());
        for (keys, more) in [
            (&["s1.2", "s1.10"][..], false),
            (&["s1.1"], false),
            (&["s1.2", "s1.2"], false),
            (&["s2.0"], false),
            (&["s1.2", "s1.3", "s1.4"], false),
            (&[], true),
        ] {
            assert!(items(&listing, &page(keys, more)).is_err(), "{keys:?}");
        }
    }
}
