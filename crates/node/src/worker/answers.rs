//! Who waits for an answer, and how answers get there.
//!
//! ```text
//!   one request                        its waiter
//!   of this node's door                Host
//!   of another node                    Peer                     ─▶ an answer in the next frame to that node
//!   a part of a batch for its shard    Part ─▶ gathered ─▶ Each
//!   a listing's share of one node      Page ─▶ merged ─▶ Page
//!   a batch's share of one shard       Share ◀─ Each            ─▶ one answer to each host
//!   one that was tried elsewhere       Returned                 ─▶ with an outcome that is true of all attempts
//! ```

use std::collections::BTreeMap;

use ringfort_route::Attempts;
use ringfort_types::request::{Answered, Done, Page};
use ringfort_types::{Code, NodeNumber, Outcome, Refusal, ShardId};

use super::Worker;
use crate::listing::merge_pages;
use crate::pending::{Replied, Response};

/// Whoever waits for an answer within a worker.
#[derive(Debug)]
pub(crate) enum Waiter<W> {
    /// The host's own.
    Host(W),
    /// Another node, under its name for the request; of a listing, with the shards that it is of.
    Peer { node: NodeNumber, id: u64, shards: Vec<ShardId> },
    /// This node's own part in the catalog.
    Catalog(u64),
    /// A request that was to go to other nodes, and came to be served here: what was tried may be in doubt.
    Returned { waiter: Box<Waiter<W>>, attempts: Attempts },
    /// One operation of a gathering.
    Part { gathering: u64, position: usize },
    /// A share of a listing.
    Page { gathering: u64 },
    /// The host's own for each of several operations, and whether it is a write.
    Share(Vec<(bool, W)>),
}

/// Answers that belong together, as far as they have come.
#[derive(Debug)]
pub(crate) enum Gathering<W> {
    /// Operations of a batch, in order.
    Each { waiter: Waiter<W>, missing: usize, results: Vec<Option<Result<Answered, Refusal>>> },
    /// Pages of a listing.
    Pages { waiter: Waiter<W>, missing: usize, pages: Vec<Page>, limit: usize, bytes_max: usize },
}

/// All gatherings of a worker. Bounded by the requests under way.
#[derive(Debug)]
pub(crate) struct Gatherings<W> {
    last: u64,
    by_id: BTreeMap<u64, Gathering<W>>,
}

impl<W> Default for Gatherings<W> {
    fn default() -> Self {
        Self { last: 0, by_id: BTreeMap::new() }
    }
}

impl<W> Gatherings<W> {
    pub(crate) fn begin(&mut self, gathering: Gathering<W>) -> u64 {
        self.last += 1;
        self.by_id.insert(self.last, gathering);
        self.last
    }

    /// Takes a part's answer. Gives whoever waits for the whole, once it is there.
    fn part(
        &mut self,
        id: u64,
        position: usize,
        response: Response,
    ) -> Option<(Waiter<W>, Response)> {
        let Some(Gathering::Each { missing, results, .. }) = self.by_id.get_mut(&id) else {
            return None;
        };
        results[position] = Some(response.and_then(one));
        *missing -= 1;
        if *missing > 0 {
            return None;
        }
        let Some(Gathering::Each { waiter, results, .. }) = self.by_id.remove(&id) else {
            return None;
        };
        Some((waiter, Ok(Replied::Each(results.into_iter().flatten().collect()))))
    }

    /// Takes a page. The first refusal is the answer to the whole.
    fn page(&mut self, id: u64, response: Response) -> Option<(Waiter<W>, Response)> {
        let Some(Gathering::Pages { missing, pages, .. }) = self.by_id.get_mut(&id) else {
            return None;
        };
        let refusal = match response {
            Ok(Replied::Page(page)) => {
                pages.push(page);
                None
            }
            Ok(_) => Some(Refusal { outcome: None, ..mixed_up() }),
            Err(refusal) => Some(refusal),
        };
        *missing -= 1;
        if *missing > 0 && refusal.is_none() {
            return None;
        }
        let Some(Gathering::Pages { waiter, pages, limit, bytes_max, .. }) = self.by_id.remove(&id)
        else {
            return None;
        };
        let page = refusal.map_or_else(|| Ok(merge_pages(pages, limit, bytes_max)), Err);
        Some((waiter, page.map(Replied::Page)))
    }
}

impl<W> Worker<W> {
    pub(super) fn answer_all(&mut self, answers: impl IntoIterator<Item = (Waiter<W>, Response)>) {
        for (waiter, response) in answers {
            self.answer(waiter, response);
        }
    }

    /// Brings an answer to whoever waits for it.
    pub(super) fn answer(&mut self, waiter: Waiter<W>, response: Response) {
        match waiter {
            Waiter::Host(host) => self.responses.push_back((host, response)),
            Waiter::Peer { node, id, shards } => self.answer_peer(node, id, shards, response),
            Waiter::Part { gathering, position } => {
                if let Some((waiter, response)) =
                    self.gatherings.part(gathering, position, response)
                {
                    self.answer(waiter, response);
                }
            }
            Waiter::Page { gathering } => {
                if let Some((waiter, response)) = self.gatherings.page(gathering, response) {
                    self.answer(waiter, response);
                }
            }
            Waiter::Catalog(id) => self.catalog_answers.push_back((id, response)),
            Waiter::Returned { waiter, attempts } => {
                self.answer(*waiter, settled(&attempts, response));
            }
            Waiter::Share(hosts) => self.answer_share(hosts, response),
        }
    }

    fn answer_share(&mut self, hosts: Vec<(bool, W)>, response: Response) {
        let refused = |write, refusal: Refusal| match (write, refusal.outcome) {
            (true, None) => Refusal { outcome: Some(Outcome::NotApplied), ..refusal },
            (false, _) => Refusal { outcome: None, ..refusal },
            _ => refusal,
        };
        match response {
            Ok(Replied::Each(results)) if results.len() == hosts.len() => {
                for ((_, host), result) in hosts.into_iter().zip(results) {
                    self.responses.push_back((host, result.map(Replied::One)));
                }
            }
            Ok(_) => {
                for (write, host) in hosts {
                    self.responses.push_back((host, Err(refused(write, mixed_up()))));
                }
            }
            Err(refusal) => {
                for (write, host) in hosts {
                    self.responses.push_back((host, Err(refused(write, refusal.clone()))));
                }
            }
        }
    }
}

/// The answer to one operation.
pub(crate) fn one(replied: Replied) -> Result<Answered, Refusal> {
    match replied {
        Replied::One(answered) => Ok(answered),
        Replied::Got(got) => Ok(Answered { done: Done::Got(got.found), replayed: false }),
        Replied::All(_) | Replied::Each(_) | Replied::Page(_) => Err(mixed_up()),
    }
}

fn mixed_up() -> Refusal {
    Refusal::unknown(Code::Internal, "a request was answered as one of another kind")
}

/// A response of this node to a request that other nodes were asked before.
fn settled(attempts: &Attempts, response: Response) -> Response {
    let settle = |refusal: Refusal| match refusal.outcome {
        Some(_) => attempts.settle(refusal),
        // No write.
        None => refusal,
    };
    match response {
        Ok(Replied::Each(each)) => {
            Ok(Replied::Each(each.into_iter().map(|result| result.map_err(settle)).collect()))
        }
        response => response.map_err(settle),
    }
}
