//! Which worker of a node what part of a frame is for.

use ringfort_types::{GroupId, ShardId};

use crate::peer::{Frame, Request, request::What};
use crate::request_id::RequestId;

impl Frame {
    /// Whether it says nothing: such a frame is not sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            consensus,
            requests,
            answers,
            gossip,
            delta,
            heartbeat,
            heartbeat_acks,
            reports,
            instructions,
            leads,
            room,
        } = self;
        consensus.is_empty()
            && requests.is_empty()
            && answers.is_empty()
            && gossip.is_none()
            && delta.is_none()
            && heartbeat.is_none()
            && heartbeat_acks.is_empty()
            && reports.is_empty()
            && instructions.is_empty()
            && leads.is_empty()
            && room.is_none()
    }

    /// Gives each worker what is for it, in the order in which it stands; workers that it is nothing for get none. Raft
    /// messages and requests go to the owner of their shard, answers to whoever asked, a heartbeat and word of
    /// room to every worker, everything else and the catalog to worker 0. A listing of shards of several workers becomes one
    /// for each of them, under the same id.
    ///
    /// With one worker, nothing is copied.
    ///
    /// # Panics
    /// `workers` is 0.
    pub fn divide(self, workers: u16, mut give: impl FnMut(u16, Self)) {
        assert!(workers > 0, "a node has at least one worker");
        if workers == 1 {
            if !self.is_empty() {
                give(0, self);
            }
            return;
        }
        let Self {
            consensus,
            requests,
            answers,
            gossip,
            delta,
            heartbeat,
            heartbeat_acks,
            reports,
            instructions,
            leads,
            room,
        } = self;
        let mut parts = vec![Self::default(); workers.into()];
        for message in consensus {
            let worker = owner(GroupId(message.group), workers);
            parts[usize::from(worker)].consensus.push(message);
        }
        for request in requests {
            divide_request(request, workers, |worker, request| {
                parts[usize::from(worker)].requests.push(request);
            });
        }
        for answer in answers {
            // Of a worker that there is not, whichever drops it.
            let worker = RequestId(answer.id).worker() % workers;
            parts[usize::from(worker)].answers.push(answer);
        }
        for led in leads {
            parts[usize::from(owner(GroupId(led.group), workers))].leads.push(led);
        }
        for ack in heartbeat_acks {
            let worker = u16::try_from(ack.worker % u32::from(workers)).unwrap_or_default();
            parts[usize::from(worker)].heartbeat_acks.push(ack);
        }
        // Each worker has groups of it.
        for part in &mut parts {
            part.heartbeat.clone_from(&heartbeat);
            part.room = room;
        }
        (parts[0].gossip, parts[0].delta) = (gossip, delta);
        (parts[0].reports, parts[0].instructions) = (reports, instructions);
        for (worker, part) in (0..workers).zip(parts) {
            if !part.is_empty() {
                give(worker, part);
            }
        }
    }
}

/// The worker that has a group.
fn owner(group: GroupId, workers: u16) -> u16 {
    group.shard().map_or(0, |shard| owner_of_shard(shard, workers))
}

fn owner_of_shard(shard: ShardId, workers: u16) -> u16 {
    // Below `workers`.
    u16::try_from(shard.0 % u32::from(workers)).unwrap_or_default()
}

fn divide_request(mut request: Request, workers: u16, mut give: impl FnMut(u16, Request)) {
    let shards = match &mut request.what {
        Some(What::List(list)) => std::mem::take(&mut list.shards),
        _ => Vec::new(),
    };
    if shards.is_empty() {
        return give(owner_of_shard(ShardId(request.shard), workers), request);
    }
    for worker in 0..workers {
        let of_worker = |shard: &u32| owner_of_shard(ShardId(*shard), workers) == worker;
        let mine: Vec<u32> = shards.iter().copied().filter(of_worker).collect();
        let Some(first) = mine.first() else { continue };
        let mut part = Request { shard: *first, ..request.clone() };
        if let Some(What::List(list)) = &mut part.what {
            list.shards = mine;
        }
        give(worker, part);
    }
}
