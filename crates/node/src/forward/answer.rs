//! What becomes of answers.

use ringfort_proto::{Ask, Told};
use ringfort_route::{Attempts, Failure, Want};
use ringfort_types::request::{BatchAnswer, Page};
use ringfort_types::{Code, Monotonic, NodeNumber, Refusal, ReplicaId, ShardId, Term};

use super::{Forwardable, Forwarder, Request, State};
use crate::listing::merge_pages;
use crate::pending::{Replied, Response};

impl<W> Forwarder<W> {
    /// A node answered an attempt. One that nobody waits for any more is dropped.
    pub fn handle_answer(&mut self, now: Monotonic, from: NodeNumber, id: u64, answer: Told) {
        let replica = match self.table.get(id) {
            Some(&Request { state: State::Sent(to), .. }) if to.node() == from => to,
            _ => {
                self.stats.late_answers += 1;
                return;
            }
        };
        self.routes.handle_reachable(from);
        match answer {
            Told::NotLeader { shard, leader, term, epoch } => {
                self.stats.not_leader += 1;
                if let Some(request) = self.table.get_mut(id)
                    && epoch > request.routed_by
                {
                    self.stats.stale_maps += 1;
                    request.by_stale_map = true;
                }
                self.handle_not_leader(
                    now,
                    id,
                    replica,
                    shard,
                    leader.map(|leader| (leader, term)),
                );
            }
            Told::Refused(refusal) => self.handle_refused(now, id, refusal),
            Told::Page { page, shards } => self.handle_page(now, id, page, &shards),
            Told::Got(_) | Told::Answered(_) | Told::All(_) => {
                let Some(request) = self.table.get(id) else { return };
                let (shard, want) = (request.forwarded.shard, request.forwarded.ask.want());
                match replied(&request.forwarded.ask, answer) {
                    Some(replied) => self.finish(id, Ok(replied)),
                    None => self.fail(now, id, &Failure::Malformed),
                }
                if want == Want::Leader && self.routes.handle_served(shard, replica) {
                    self.unpark_all(|request| request.forwarded.shard == shard);
                }
            }
        }
    }

    fn handle_not_leader(
        &mut self,
        now: Monotonic,
        id: u64,
        replica: ReplicaId,
        shard: ShardId,
        hint: Option<(ReplicaId, Term)>,
    ) {
        let Some(request) = self.table.get(id) else { return };
        let (asked, from) = match &request.forwarded.ask {
            // The attempt named one shard's replica; those of the others are on the same node.
            Ask::List { shards, .. } => {
                let on_node = |leader: &ReplicaId| leader.node() == replica.node();
                let believed = self.routes.leader(shard).filter(on_node);
                (shards.contains(&shard), believed.unwrap_or(replica))
            }
            _ => (request.forwarded.shard == shard, replica),
        };
        if !asked {
            return self.fail(now, id, &Failure::Malformed);
        }
        let news = self.routes.handle_not_leader(shard, from, hint);
        self.fail(now, id, &Failure::NotLeader { news });
        if news {
            self.unpark_all(|request| request.forwarded.shard == shard);
        }
    }

    /// What the shard's state makes of a refusal may pass; everything else is the answer, as it came. So is a stale read's:
    /// whoever asked for it would rather know at once.
    fn handle_refused(&mut self, now: Monotonic, id: u64, refusal: Refusal) {
        let Some(request) = self.table.get(id) else { return };
        if refusal.code == Code::Unavailable && request.forwarded.ask.want() == Want::Leader {
            self.fail(now, id, &Failure::Refused(&refusal));
        } else {
            self.finish(id, Err(refusal));
        }
    }

    fn handle_page(&mut self, now: Monotonic, id: u64, page: Page, shards: &[ShardId]) {
        let Some(request) = self.table.get_mut(id) else { return };
        let (Ask::List { list, .. }, Some((listed, missing))) =
            (&request.forwarded.ask, &mut request.listed)
        else {
            return self.fail(now, id, &Failure::Malformed);
        };
        let before = missing.len();
        missing.retain(|shard| !shards.contains(shard));
        if missing.len() + shards.len() != before {
            return self.fail(now, id, &Failure::Malformed);
        }
        let pages = listed.take().into_iter().chain([page]).collect();
        let page = merge_pages(pages, list.limit, list.bytes_max);
        if missing.is_empty() {
            self.finish(id, Ok(Replied::Page(page)));
        } else {
            *listed = Some(page);
        }
    }

    /// A node's own answer is the last word, but for what earlier attempts may have done.
    fn finish(&mut self, id: u64, response: Response) {
        if let Some(request) = self.remove(id) {
            self.stats.stale_maps_corrected += u64::from(request.by_stale_map && response.is_ok());
            let response = response.map_err(|refusal| request.attempts.settle(refusal));
            self.respond(request, response);
        }
    }

    pub(super) fn respond(&mut self, request: Request<W>, response: Response) {
        let Request { forwarded, waiter, attempts, .. } = request;
        let response = match &forwarded.ask {
            Ask::Part { operations, .. } => {
                let writes = operations.iter().map(|(_, operation)| operation.is_write());
                Ok(Replied::Each(each(&attempts, writes, response)))
            }
            _ => response,
        };
        self.responses.push_back((waiter, response));
    }
}

/// The answer to each operation of a part of a batch: a refusal of the whole is one of each.
fn each(
    attempts: &Attempts,
    writes: impl Iterator<Item = bool>,
    response: Response,
) -> BatchAnswer {
    let outcome_of = |refusal: &Refusal, write: bool| if write { refusal.outcome } else { None };
    match response {
        Ok(Replied::Each(results)) => {
            let settled = |(write, result): (bool, Result<_, Refusal>)| {
                result.map_err(|refusal| if write { attempts.settle(refusal) } else { refusal })
            };
            writes.zip(results).map(settled).collect()
        }
        // `replied` lets nothing else pass.
        Ok(_) => Vec::new(),
        Err(refusal) => writes
            .map(|write| Err(Refusal { outcome: outcome_of(&refusal, write), ..refusal.clone() }))
            .collect(),
    }
}

/// The reply that an answer is; `None` where it is no answer to what was asked.
fn replied(ask: &Ask, answer: Told) -> Option<Replied> {
    match (ask, answer) {
        (Ask::Get(_), Told::Got(got)) => Some(Replied::Got(got)),
        (Ask::Write(_), Told::Answered(answered)) => Some(Replied::One(answered)),
        (Ask::Atomic(batch), Told::All(all)) if all.len() == batch.operations.len() => {
            Some(Replied::All(all.into_iter().collect::<Result<_, _>>().ok()?))
        }
        (Ask::Part { operations, .. }, Told::All(all)) if all.len() == operations.len() => {
            Some(Replied::Each(all))
        }
        _ => None,
    }
}
