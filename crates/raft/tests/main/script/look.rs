//! Verbs that look: `status`, `log`, `expect`, `expect-messages`.

use ringfort_raft::{Counters, PeerStatus, Status};
use ringfort_types::{Index, ReplicaId};

use super::args::{Args, Failure, parse_id};
use super::filter::Filter;
use super::show;
use super::world::World;

impl World {
    fn status_of(&self, id: ReplicaId) -> Option<Status> {
        let group = self.cluster.nodes.get(&id)?.group.as_ref()?;
        Some(group.status())
    }

    /// `status`, `status 1`: each replica in a line.
    pub(super) fn status(&mut self, args: &mut Args) -> Result<(), Failure> {
        for id in self.ids_or_all(args)? {
            let line = match self.status_of(id) {
                Some(status) => show::status(id, &status, self.last(id)),
                None => format!("{id} is down"),
            };
            self.say(line);
        }
        Ok(())
    }

    /// `log`, `log 1`: what each replica keeps of its log.
    pub(super) fn log(&mut self, args: &mut Args) -> Result<(), Failure> {
        for id in self.ids_or_all(args)? {
            let group = self.cluster.nodes.get(&id).and_then(|node| node.group.as_ref());
            let entries = group.map(|group| group.entries_from(Index(1))).unwrap_or_default();
            let all: Vec<_> = entries.iter().map(show::entry).collect();
            let all = if all.is_empty() { "nothing".to_owned() } else { all.join(", ") };
            self.say(format!("{id}: {all}"));
        }
        Ok(())
    }

    /// `expect leader=1 term=2 commit=4`: what must be so at everybody who runs; `expect 1 role=leader peer=2 sending=probe`:
    /// at these.
    pub(super) fn expect(&mut self, args: &mut Args) -> Result<(), Failure> {
        let named = self.ids_or_all(args)?;
        let ids: Vec<_> = named.into_iter().filter(|id| self.status_of(*id).is_some()).collect();
        if ids.is_empty() {
            return Err("nobody of them runs".into());
        }
        let peer = args.id_of("peer")?;
        let mut wanted = Vec::new();
        while let Some(pair) = args.next_key() {
            wanted.push(pair);
        }
        if wanted.is_empty() {
            return Err("what is expected?".into());
        }
        for id in ids {
            let Some(status) = self.status_of(id) else { continue };
            for (key, value) in &wanted {
                let is = match peer {
                    Some(peer) => {
                        let known = status.peers.iter().find(|known| known.id == peer);
                        peer_value(known.ok_or_else(|| format!("{id} knows no peer {peer}"))?, key)
                    }
                    None => self.value(id, &status, key),
                };
                let is = is.ok_or_else(|| format!("nothing is called {key}"))?;
                if is != *value {
                    return Err(format!("{id}: {key} is {is}, not {value}").into());
                }
            }
        }
        Ok(())
    }

    /// `expect-messages 2 to=3 kind=vote`: so many of these are under way, held ones not counted.
    pub(super) fn expect_messages(&mut self, args: &mut Args) -> Result<(), Failure> {
        let count: usize = args.word().ok_or("how many?")?.parse()?;
        let filter = Filter::take(args)?;
        let network = self.cluster.network.iter().map(|flight| &flight.message);
        let is = filter.places(network).len();
        if is == count { Ok(()) } else { Err(format!("{is} are under way, not {count}").into()) }
    }

    /// `expect-read 1 at=5`, `expect-read 1 waits`, `expect-read 1 lost`: what became of a read, by its number.
    pub(super) fn expect_read(&mut self, args: &mut Args) -> Result<(), Failure> {
        let number = parse_id(&args.word().ok_or("which read?")?)?.0;
        let read = ringfort_raft::ReadId(number);
        let node = self.cluster.nodes.values().find(|node| node.reads.contains_key(&read));
        let node = node.ok_or("nobody who runs was asked for it")?;
        let confirmed = node.reads[&read].confirmed;
        let lost = node.reads_lost.contains(&read);
        let is = match confirmed {
            Some(index) => format!("confirmed at {index}"),
            None if lost => "lost".to_owned(),
            None => "waiting".to_owned(),
        };
        let right = if let Some(index) = args.index_of("at")? {
            confirmed == Some(index)
        } else if args.take_word("lost") {
            confirmed.is_none() && lost
        } else if args.take_word("waits") {
            confirmed.is_none() && !lost
        } else {
            return Err("at=, lost or waits?".into());
        };
        if right { Ok(()) } else { Err(format!("read {number} is {is}").into()) }
    }

    fn value(&self, id: ReplicaId, status: &Status, key: &str) -> Option<String> {
        Some(match key {
            "role" => show::role(status.role).to_owned(),
            "term" => status.term.to_string(),
            "leader" => show::option(status.leader),
            "vote" => show::option(status.vote),
            "commit" => status.commit.to_string(),
            "last" => status.last.to_string(),
            "end" => self.last(id).to_string(),
            "durable" => status.durable.to_string(),
            "applied" => status.applied.to_string(),
            "asleep" => yes(status.asleep),
            "lost" => yes(status.lost),
            "joint" => yes(status.configuration.is_joint()),
            "configuration" => status.configuration.to_string(),
            "serves" => yes(self.serves(id)),
            _ => counter(&status.counters, key)?.to_string(),
        })
    }
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn peer_value(peer: &PeerStatus, key: &str) -> Option<String> {
    Some(match key {
        "sending" => show::sending(&peer.sending).to_owned(),
        "matched" => peer.matched.to_string(),
        "next" => peer.next.to_string(),
        "inflight" => peer.inflight.to_string(),
        _ => return None,
    })
}

fn counter(counters: &Counters, key: &str) -> Option<u64> {
    Some(match key {
        "dropped-misaddressed" => counters.dropped_misaddressed,
        "dropped-stale" => counters.dropped_stale,
        "dropped-unknown" => counters.dropped_unknown,
        "dropped-impossible" => counters.dropped_impossible,
        "pre-votes" => counters.pre_votes,
        "elections" => counters.elections,
        "terms-led" => counters.terms_led,
        "truncations" => counters.truncations,
        "changes-begun" => counters.changes_begun,
        "changes-ended" => counters.changes_ended,
        "transfers" => counters.transfers,
        "reads-by-lease" => counters.reads_by_lease,
        "reads-by-round" => counters.reads_by_round,
        "snapshots-begun" => counters.snapshots_begun,
        "snapshots-resumed" => counters.snapshots_resumed,
        "snapshots-installed" => counters.snapshots_installed,
        "sleeps" => counters.sleeps,
        "wakes" => counters.wakes,
        "lost-quorum" => counters.lost_quorum,
        "stalls" => counters.stalls,
        "removals" => counters.removals,
        _ => return None,
    })
}
