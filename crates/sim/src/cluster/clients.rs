//! Clients: each asks one thing at a time, tries other nodes where that is safe, and writes down what it asked and was told.
//!
//! - A request that was refused with `not_applied`, or that no node took, is asked again elsewhere, as the same operation.
//! - One of unknown outcome is asked again only under an idempotency key; each attempt is an event of its own.
//! - What is written down is no more than a client can know: a connection that broke after the request was sent, and an
//!   answer that did not come, are `unknown`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringfort_check::{Event as Asking, Member, Operation, Outcome};
use ringfort_types::{NamespaceId, ShardId, shard_of_token};

use super::Run;
use super::clock::nanos;
use super::coup::Focus;
use super::listings::Listing;
use super::mix::{MILLI, Mix, SECOND, about};
use super::node::{Asked, Reply};
use super::queue::Event;
use super::report::{Count, Violation};
use super::words;
use crate::Random;

/// How long a client waits for an answer beyond the time it gave the node.
const GRACE: u64 = 500 * MILLI;
/// A client that is so far behind asks without a pause, one that is so far ahead waits twice as long as usual.
const MAKE_UP_SECONDS: u64 = 2;
/// Clients besides the others that ask only while a leader is deposed: the first ones read, the others write, which takes
/// longer.
const WITNESSES: usize = 8;
const READERS: usize = 2;

/// What a client does by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wake {
    /// It asks something new.
    Think,
    /// It asks the same again.
    Again(u64),
    /// It waits no longer.
    GiveUp(u64),
}

/// Something to ask.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// The operations, each on a key.
    pub(super) operations: Vec<(String, Operation)>,
    /// Asked as a batch, which may be atomic.
    pub(super) batch: Option<bool>,
    pub(super) stale: bool,
    pub(super) keyed: bool,
    /// Asked page by page; there are no operations then.
    pub(super) list: Option<Listing>,
    /// Asked of this node only.
    pub(super) node: Option<usize>,
    /// Asked until it is answered.
    pub(super) insistent: bool,
}

/// What a client waits for.
#[derive(Debug)]
struct Doing {
    question: Question,
    /// Names the question: its batch, its value and its idempotency key.
    number: u64,
    request: u64,
    node: usize,
    tries: u32,
    invoked: u64,
}

#[derive(Debug)]
struct Client {
    random: Random,
    doing: Option<Doing>,
    /// The newest version it knows of each key, for its conditions.
    known: BTreeMap<String, u64>,
    /// Nodes it cannot see.
    shunned: BTreeSet<usize>,
}

/// All clients, and what they were told.
#[derive(Debug)]
pub(super) struct Crowd {
    clients: Vec<Client>,
    /// Where each shard's leader was found last.
    guesses: Vec<usize>,
    /// What is asked in the end, each until it is answered.
    pub(super) script: VecDeque<Question>,
    pub(super) history: Vec<Asking>,
    last_number: u64,
    last_request: u64,
    /// Nothing is asked but what stands in the script.
    pub(super) quiet: bool,
    focus: Option<Focus>,
}

impl Crowd {
    pub(super) fn new(mix: &Mix, random: &mut Random) -> Self {
        let client = |_| Client {
            random: random.fork(),
            doing: None,
            known: BTreeMap::new(),
            shunned: BTreeSet::new(),
        };
        Self {
            clients: (0..mix.clients + WITNESSES).map(client).collect(),
            guesses: (0..mix.shards).map(|shard| shard as usize % mix.nodes).collect(),
            script: VecDeque::new(),
            history: Vec::new(),
            last_number: 0,
            last_request: 0,
            quiet: false,
            focus: None,
        }
    }

    pub(super) fn shun(&mut self, client: usize, node: usize, shunned: bool) {
        if shunned {
            self.clients[client].shunned.insert(node);
        } else {
            self.clients[client].shunned.remove(&node);
        }
    }

    /// Whether somebody waits for an answer.
    pub(super) fn is_busy(&self) -> bool {
        self.clients.iter().any(|client| client.doing.is_some())
    }

    /// The listing that a client does, and when it asked for the page it waits for.
    pub(super) fn listing(&self, client: usize) -> Option<(Listing, u64)> {
        let doing = self.clients[client].doing.as_ref()?;
        Some((doing.question.list.clone()?, doing.invoked))
    }

    /// A client wants the next page, of any node; gives its name for the last one.
    pub(super) fn turn_page(&mut self, client: usize, after: Option<String>, nodes: usize) -> u64 {
        let Client { random, doing, .. } = &mut self.clients[client];
        let Some(doing) = doing else { return 0 };
        if let Some(listing) = &mut doing.question.list {
            listing.after = after;
        }
        doing.node = random.index(nodes);
        doing.tries = 0;
        doing.request
    }

    /// What was asked and is not answered yet, for whoever wants to know why it takes so long.
    pub(super) fn waiting(&self) -> Vec<String> {
        let of = |(number, client): (usize, &Client)| {
            let doing = client.doing.as_ref()?;
            Some(format!("client {number} asks node {} for {:?}", doing.node, doing.question))
        };
        self.clients.iter().enumerate().filter_map(of).collect()
    }
}

/// The shard of a key.
pub(super) fn shard_of(key: &str, shards: u32) -> ShardId {
    let key = ringfort_types::token_of(NamespaceId::default(), key.as_bytes());
    shard_of_token(key, shards)
}

impl Run {
    pub(super) fn wake_client(&mut self, client: usize, wake: Wake) -> Result<(), Violation> {
        let waits = |run: &Self, request| {
            let doing = run.crowd.clients[client].doing.as_ref();
            doing.is_some_and(|doing| doing.request == request)
        };
        match wake {
            Wake::Think => self.begin(client),
            Wake::Again(request) if waits(self, request) => self.send(client),
            Wake::GiveUp(request) if waits(self, request) => self.told(client, None, None)?,
            Wake::Again(_) | Wake::GiveUp(_) => {}
        }
        Ok(())
    }

    /// Has the clients begin, at different moments.
    pub(super) fn start_clients(&mut self) {
        for client in 0..self.mix.clients {
            let at = self.now + self.random.below(SECOND);
            self.queue.push(at, Event::Client { client, wake: Wake::Think });
        }
    }

    /// Has the witnesses look at something.
    pub(super) fn begin_focus(&mut self, focus: Focus) {
        let at = focus.from;
        self.crowd.focus = Some(focus);
        for client in self.mix.clients..self.mix.clients + WITNESSES {
            self.queue.push(at, Event::Client { client, wake: Wake::Think });
        }
    }

    fn begin(&mut self, client: usize) {
        let crowd = &mut self.crowd;
        if crowd.clients[client].doing.is_some() {
            return;
        }
        crowd.last_number += 1;
        let number = crowd.last_number;
        let question = if client >= self.mix.clients {
            let focus = crowd.focus.as_ref().filter(|focus| self.now < focus.until && !crowd.quiet);
            let random = &mut crowd.clients[client].random;
            let writes = client >= self.mix.clients + READERS;
            focus.map(|focus| words::focused(random, focus, writes, number))
        } else if crowd.quiet {
            crowd.script.pop_front().map(|question| words::renamed(question, number))
        } else {
            let Client { random, known, .. } = &mut crowd.clients[client];
            Some(words::choose(random, known, &self.mix, self.now, number))
        };
        let Some(question) = question else { return };
        let node = question.node.unwrap_or_else(|| self.guess(client, &question));
        self.totals.add(Count::Operations, question.operations.len() as u64);
        self.crowd.clients[client].doing =
            Some(Doing { question, number, request: 0, node, tries: 0, invoked: self.now });
        self.send(client);
    }

    /// Mostly where the leader was last.
    fn guess(&mut self, client: usize, question: &Question) -> usize {
        let random = &mut self.crowd.clients[client].random;
        match question.operations.first() {
            Some((key, _)) if !question.stale && !random.one_in(6) => {
                self.crowd.guesses[shard_of(key, self.mix.shards).0 as usize]
            }
            _ => random.index(self.mix.nodes),
        }
    }

    fn send(&mut self, client: usize) {
        let crowd = &mut self.crowd;
        crowd.last_request += 1;
        let request = crowd.last_request;
        let Client { random, doing, shunned, .. } = &mut crowd.clients[client];
        let Some(doing) = doing else { return };
        doing.request = request;
        doing.invoked = self.now;
        doing.tries += 1;
        let timeout = match client < self.mix.clients {
            true => random.between(self.mix.timeout / 10, self.mix.timeout),
            false => random.between(20 * MILLI, 100 * MILLI),
        };
        let ask = words::ask(&doing.question, doing.number);
        let asked =
            Asked { client, request, timeout: std::time::Duration::from_nanos(timeout), ask };
        let at = self.now + about(random, self.mix.latency);
        if !shunned.contains(&doing.node) {
            self.queue.push(at, Event::Ask { node: doing.node, asked });
        }
        let late = self.now + timeout + if client < self.mix.clients { GRACE } else { 0 };
        if self.options.trace {
            let what = format!("{:?} {:?}", doing.question.operations, doing.question.list);
            let (node, stale) = (doing.node, doing.question.stale);
            self.note(|| {
                format!("client {client} asks node {node} as {request}: {what}, stale: {stale}")
            });
        }
        self.queue.push(late, Event::Client { client, wake: Wake::GiveUp(request) });
        self.totals.add(Count::Requests, 1);
    }

    /// A request reaches a node.
    pub(super) fn arrive_request(&mut self, node: usize, asked: Asked) {
        let machine = &mut self.machines[node];
        let now = machine.clock.at(self.now);
        match &mut machine.process {
            Some(process) => {
                process.handle_request(now, asked);
                self.plan_turns(node);
            }
            None => {
                let at = self.now + about(&mut self.random, self.mix.latency);
                let Asked { client, request, .. } = asked;
                self.queue.push(at, Event::Broken { client, request, sent: false });
            }
        }
    }

    /// A node answers.
    pub(super) fn send_reply(&mut self, node: usize, client: usize, request: u64, reply: Reply) {
        if self.crowd.clients[client].shunned.contains(&node) {
            return;
        }
        self.note(|| {
            format!("node {node} answers client {client}, {request}: {:?}", reply.results)
        });
        let at = self.now + about(&mut self.random, self.mix.latency);
        self.queue.push(at, Event::Reply { client, request, reply });
    }

    /// A process is gone: so are its connections. Where the power failed nobody says so.
    pub(super) fn break_clients(&mut self, node: usize, power: bool) {
        if power {
            return;
        }
        for client in 0..self.crowd.clients.len() {
            let doing = self.crowd.clients[client].doing.as_ref();
            if let Some(doing) = doing.filter(|doing| doing.node == node) {
                let at = self.now + about(&mut self.random, self.mix.latency);
                let request = doing.request;
                self.queue.push(at, Event::Broken { client, request, sent: true });
            }
        }
    }

    pub(super) fn handle_reply(
        &mut self,
        client: usize,
        request: u64,
        reply: &Reply,
    ) -> Result<(), Violation> {
        let doing = self.crowd.clients[client].doing.as_ref();
        if doing.is_none_or(|doing| doing.request != request) {
            return Ok(());
        }
        let doing = self.crowd.clients[client].doing.as_ref();
        let Some(question) = doing.map(|doing| doing.question.clone()) else { return Ok(()) };
        if question.list.is_some() {
            return self.handle_page(client, reply);
        }
        let outcomes = words::outcomes(&question, reply)?;
        self.totals.count_reply(reply);
        self.told(client, Some(outcomes), reply.staleness_ms)
    }

    pub(super) fn handle_broken(
        &mut self,
        client: usize,
        request: u64,
        sent: bool,
    ) -> Result<(), Violation> {
        let doing = self.crowd.clients[client].doing.as_ref();
        let Some(doing) = doing.filter(|doing| doing.request == request) else { return Ok(()) };
        let refused = vec![Outcome::NotApplied; doing.question.operations.len()];
        let certain = !sent && doing.question.list.is_none();
        self.told(client, certain.then_some(refused), None)
    }

    /// A client knows what became of its request; `None`: it does not.
    pub(super) fn told(
        &mut self,
        client: usize,
        outcomes: Option<Vec<Outcome>>,
        staleness_ms: Option<u64>,
    ) -> Result<(), Violation> {
        let Some(doing) = self.crowd.clients[client].doing.take() else { return Ok(()) };
        let read = |operation: &Operation| matches!(operation, Operation::Get);
        let listed = doing.question.list.is_some() && outcomes.is_some();
        let outcomes = outcomes.unwrap_or_else(|| {
            let unknown = |(_, operation): &(String, Operation)| match read(operation) {
                true => Outcome::NotApplied,
                false => Outcome::Unknown,
            };
            doing.question.operations.iter().map(unknown).collect()
        });
        let not_applied = !listed && outcomes.iter().all(|outcome| *outcome == Outcome::NotApplied);
        let in_doubt = outcomes.contains(&Outcome::Unknown);
        if !not_applied {
            self.record(client, &doing, &outcomes, staleness_ms);
        }
        let insistent = doing.question.insistent;
        let tries_max = match (insistent, doing.question.node) {
            (true, _) => u32::MAX,
            (false, Some(_)) => 1,
            (false, None) => 3 * u32::try_from(self.mix.nodes).unwrap_or(1),
        };
        let again = not_applied || (in_doubt && doing.question.keyed);
        if again && doing.tries < tries_max {
            self.elsewhere(client, doing);
            return Ok(());
        }
        if in_doubt && insistent {
            // Its value may stand already: it is asked anew, as another question.
            self.crowd.script.push_front(doing.question);
        } else if !not_applied
            && doing.question.node.is_none()
            && !doing.question.stale
            && let Some((key, _)) = doing.question.operations.first()
        {
            let shard = shard_of(key, self.mix.shards);
            self.crowd.guesses[shard.0 as usize] = doing.node;
        }
        let (quiet, pause) = (self.crowd.quiet, self.breath());
        let random = &mut self.crowd.clients[client].random;
        let pause = match (quiet, client < self.mix.clients) {
            (true, _) => 1,
            (false, true) => about(random, pause),
            (false, false) => about(random, 3 * MILLI),
        };
        self.queue.push(self.now + pause, Event::Client { client, wake: Wake::Think });
        Ok(())
    }

    /// How long a client waits between two questions: what was not asked while nobody answered is made up for.
    fn breath(&self) -> u64 {
        let rate = self.mix.rate;
        let usual = self.mix.clients as u64 * SECOND / rate;
        let done = self.crowd.history.len() as u64 + MAKE_UP_SECONDS * rate;
        let due = rate * (self.now / MILLI) / 1_000;
        let ahead = done.saturating_sub(due).min(2 * MAKE_UP_SECONDS * rate);
        usual * ahead / (MAKE_UP_SECONDS * rate) + MILLI
    }

    /// Asks the same again, of another node.
    fn elsewhere(&mut self, client: usize, mut doing: Doing) {
        let random = &mut self.crowd.clients[client].random;
        if doing.question.node.is_none() {
            doing.node = (doing.node + 1) % self.mix.nodes;
        }
        // Whoever has tried all nodes waits a little.
        let tried_all = (doing.tries as usize).is_multiple_of(self.mix.nodes);
        let pause = if tried_all { about(random, 50 * MILLI) } else { about(random, MILLI) };
        let request = doing.request;
        self.crowd.clients[client].doing = Some(doing);
        self.queue.push(self.now + pause, Event::Client { client, wake: Wake::Again(request) });
    }

    fn record(
        &mut self,
        client: usize,
        doing: &Doing,
        outcomes: &[Outcome],
        staleness_ms: Option<u64>,
    ) {
        let Question { operations, batch, keyed, .. } = &doing.question;
        // The bounds of clocks: a node's own may be fast or slow.
        let slack = |time: u64| time * 3 * self.mix.drift / 1_000_000;
        let known = &mut self.crowd.clients[client].known;
        for ((position, (key, operation)), outcome) in (0..).zip(operations).zip(outcomes) {
            match outcome {
                Outcome::Written { version } | Outcome::Found { version, .. } => {
                    known.insert(key.clone(), *version);
                }
                Outcome::Absent => drop(known.remove(key)),
                _ => {}
            }
            let mut operation = operation.clone();
            if let Operation::Put { ttl_ms: Some(ttl), .. } = &mut operation {
                *ttl = (*ttl - slack(*ttl)).saturating_sub(1).max(1);
            }
            let staleness_us = staleness_ms.map(|ms| (ms + slack(ms) + 1) * 1_000);
            self.crowd.history.push(Asking {
                client: u32::try_from(client).unwrap_or(u32::MAX),
                key: key.clone(),
                write: (*keyed && operation != Operation::Get)
                    .then_some(doing.number << 10 | u64::from(position)),
                operation,
                invoked_us: doing.invoked / 1_000,
                returned_us: self.now / 1_000 + 1,
                outcome: outcome.clone(),
                batch: batch.map(|atomic| Member { batch: doing.number, position, atomic }),
                staleness_us,
            });
        }
    }

    /// How late an expiry may be: what the contract says, all the time that some shard had no leader, and drift.
    pub(super) fn expiry_late_us(&self) -> u64 {
        let drift = words::TTL_MAX_MS * 1_000 * 3 * self.mix.drift / 1_000_000;
        1_000_000
            + drift
            + self.leaderless / 1_000
            + nanos(self.mix.settings.election_timeout) / 500
    }
}
