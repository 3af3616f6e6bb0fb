//! How a cluster comes to be, once: never two clusters from one set of seeds.
//!
//! ```text
//!            every seed met, lowest id, enough nodes                all founders granted
//!   Waiting ───────────────────────────────────────▶ Proposing ─────────────────────────▶ Formed
//!      │   ▲                                          │  ▲ again, until decided             ▲
//!      │   └────── its proposer gave it up ───────┐   │  └──── nodes come and go            │
//!      │                                          │   │ a proposer with a lower id asks     │
//!      └── a proposer asks ───────────────────▶ Granted ◀┘ ── names this very node ─────────┘
//! ```
//!
//! # Model
//!
//! Nodes without a cluster ask the addresses of their seeds, again and again, who is there. One of them, the *proposer*, makes
//! a [`FormationRecord`] and asks all whom it names for their *grant*. When all have granted, it makes the record durable: that
//! is the decision, and the proposer alone makes it. Founders learn of it from the proposer or from each other.
//!
//! The proposer is the seed with the lowest node id, by the seeds of its own configuration; or the node that an operator sent
//! `init`. With `bootstrap_expect = 0` and without `init` a node proposes nothing.
//!
//! # Invariants
//!
//! - A founding set contains whoever answered last at each of its proposer's seeds.
//! - A node has granted one formation at a time, its own included, and says so once that is durable. It takes the grant back
//!   only on the proposer's own word that it has given the formation up, in answer to a question asked after the grant was
//!   durable. So two formations that share a founder are never both decided.
//! - A proposer gives up its formation, durably, before it grants another; it never takes up the same one again: each has a
//!   cluster id of its own. It gives up for a proposer with a lower id alone, so of several one remains.
//! - Once decided a record never changes. A node is a founder if the record names its id *and* its incarnation.
//! - A node that has met a cluster forms none.
//! - A node id that comes with two incarnations is a wiped disk or a second node of that name; it never gets into a record, nor
//!   is it ever taken for the founder of that id.
//!
//! What grants protect is lost with the disks that hold them: if every seed is wiped, the seeds form a new cluster.
//!
//! Left out on purpose: joining a cluster that was formed without this node, and seeds behind DNS names.

mod answers;
mod contacts;
mod message;
mod proposer;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use ringfort_types::Monotonic;

use super::random::Random;
use super::record::{FormationRecord, NodeInfo, NodeName};
use super::settings::ClusterSettings;
use contacts::{Contacts, Went};

pub use contacts::AskId;
pub use message::{
    Answer, Ask, Grant, Introduction, KNOWN_MAX, Question, Refused, RefusedCode, Reply,
};

/// A state that lasts this long is worth a word to people.
const PATIENCE: Duration = Duration::from_secs(10);
/// Findings that are remembered so that none is said twice; beyond them, none is said.
const FINDINGS_MAX: usize = 256;

/// What a node is told of itself and of where it finds others.
#[derive(Clone, Debug)]
pub struct FormationConfig {
    /// This node.
    pub me: NodeInfo,
    /// Addresses of the static seeds, as host:port; its own may be among them.
    pub seeds: Vec<String>,
    /// How many nodes form a cluster; 0: this node proposes none unless it is told to.
    pub bootstrap_expect: u32,
    /// Settings that the cluster gets if this node proposes it.
    pub settings: ClusterSettings,
    /// Random bits, fresh at each start.
    pub seed: u128,
}

/// What must not be forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormationState {
    /// The formation that was granted.
    pub grant: Option<Grant>,
    /// The decided record that names this node.
    pub formed: Option<FormationRecord>,
}

/// Names a question of another node, so that the shell knows where the answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(pub u64);

/// What the shell is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormationEffect {
    /// Ask who is at this address; then [`Formation::handle_answer`], once, whatever comes of it. There is one open question
    /// to an address at most.
    Ask {
        /// To be given back.
        id: AskId,
        /// Where, as host:port.
        address: String,
        /// What.
        question: Question,
    },
    /// Answer a question.
    Answer {
        /// Which.
        to: QuestionId,
        /// How.
        answer: Answer,
    },
    /// Make this durable; then [`Formation::handle_durable`].
    Persist(FormationState),
    /// The cluster is there, and this node is a founder. Said once in each run, when the record is durable.
    Decided(FormationRecord),
    /// What a person should read. Said once.
    Finding(String),
}

/// Why `init` was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// There is a cluster already.
    #[error("this node belongs to cluster {0}")]
    Formed(ringfort_types::ClusterId),
    /// The node has met a cluster.
    #[error("this node has met a cluster: {0}")]
    MetCluster(String),
    /// Another proposer has this node's grant.
    #[error("this node has promised itself to the formation of node {proposer} at {peer}")]
    Granted {
        /// Who decides.
        proposer: ringfort_types::NodeId,
        /// Where it is.
        peer: String,
    },
}

/// The formation core of one node.
#[derive(Clone, Debug)]
pub struct Formation {
    config: FormationConfig,
    /// Durable.
    state: FormationState,
    /// Being made durable. Nothing that depends on it is said meanwhile, and nothing else is begun.
    persisting: Option<Persisting>,
    contacts: Contacts,
    /// Who granted this node's own formation.
    granted: BTreeSet<NodeName>,
    /// Founders that know of the decision.
    told: BTreeSet<NodeName>,
    /// The newest question when the grant became durable.
    asked_before_grant: AskId,
    /// An operator said so.
    told_to_propose: bool,
    /// A cluster was met that does not name this node; in words.
    met_cluster: Option<String>,
    /// When this state began; none before the first input.
    since: Option<Monotonic>,
    /// The newest `now`.
    now: Monotonic,
    random: Random,
    said: BTreeSet<String>,
    effects: VecDeque<FormationEffect>,
}

#[derive(Clone, Debug)]
struct Persisting {
    state: FormationState,
    /// To be told then.
    answers: Option<QuestionId>,
}

impl Formation {
    /// The formation of a node that starts with what was durable.
    #[must_use]
    pub fn new(config: FormationConfig, state: FormationState) -> Self {
        let mut contacts = Contacts::default();
        for seed in &config.seeds {
            contacts.add_seed(seed);
        }
        if let Some(grant) = &state.grant {
            contacts.add(&grant.peer, Monotonic::default());
        }
        let effects = state.formed.clone().map(FormationEffect::Decided).into_iter().collect();
        let random = Random::new(config.seed);
        Self {
            config,
            state,
            persisting: None,
            contacts,
            granted: BTreeSet::new(),
            told: BTreeSet::new(),
            asked_before_grant: AskId::default(),
            told_to_propose: false,
            met_cluster: None,
            since: None,
            now: Monotonic::default(),
            random,
            said: BTreeSet::new(),
            effects,
        }
    }

    /// Time passed. The next call is due at [`Formation::next_tick`].
    pub fn handle_tick(&mut self, now: Monotonic) {
        self.started(now);
        self.advance();
        self.say_what_lasts(now);
        self.ask_what_is_due(now);
    }

    /// An operator wants a cluster, proposed by this node. It forms once every seed has answered; that is not remembered over
    /// a restart before then.
    ///
    /// # Errors
    /// There is a cluster, or this node has granted another formation. Nothing has changed.
    pub fn handle_init(&mut self, now: Monotonic) -> Result<(), InitError> {
        if let Some(formed) = &self.state.formed {
            return Err(InitError::Formed(formed.cluster_id));
        }
        if let Some(cluster) = &self.met_cluster {
            return Err(InitError::MetCluster(cluster.clone()));
        }
        let newest = self.persisting.as_ref().map_or(&self.state, |persisting| &persisting.state);
        if let Some(formed) = &newest.formed {
            return Err(InitError::Formed(formed.cluster_id));
        }
        if let Some(grant) = newest.grant.as_ref().filter(|grant| !self.is_mine(grant)) {
            let (proposer, peer) = (grant.proposer.id.clone(), grant.peer.clone());
            return Err(InitError::Granted { proposer, peer });
        }
        self.told_to_propose = true;
        self.handle_tick(now);
        Ok(())
    }

    /// What was to be made durable is.
    ///
    /// # Panics
    /// Nothing was to be made durable: a bug of the shell.
    pub fn handle_durable(&mut self, now: Monotonic) {
        let persisting = self.persisting.take().expect("something was to be made durable");
        self.now = now;
        if persisting.state.grant != self.state.grant {
            self.asked_before_grant = self.contacts.last_ask();
            self.granted.clear();
            self.told_to_propose = false;
        }
        self.state = persisting.state;
        self.since = Some(now);
        self.contacts.begin(now);
        if let Some(grant) = &self.state.grant {
            self.contacts.add(&grant.peer, now);
        }
        if let Some(to) = persisting.answers {
            let reply = self.reply_when_durable();
            self.answer(to, reply);
        }
        if let Some(record) = self.state.formed.clone() {
            for warning in record.settings.warnings(&self.config.settings) {
                self.say(warning);
            }
            self.effects.push_back(FormationEffect::Decided(record));
        }
        self.contacts.hurry(now);
        self.handle_tick(now);
    }

    /// The next effect.
    pub fn poll_effect(&mut self) -> Option<FormationEffect> {
        self.effects.pop_front()
    }

    /// When time makes a difference next.
    #[must_use]
    pub fn next_tick(&self) -> Option<Monotonic> {
        // Who was heard of grows old, and what lasts too long is said.
        let forming = self.state.formed.is_none().then(|| self.now + Duration::from_secs(1));
        self.contacts.next_at().into_iter().chain(forming).min()
    }

    /// The cluster that this node belongs to.
    #[must_use]
    pub fn formed(&self) -> Option<&FormationRecord> {
        self.state.formed.as_ref()
    }

    /// What is durable.
    #[must_use]
    pub fn state(&self) -> &FormationState {
        &self.state
    }

    /// What this node waits for, in a sentence for people; empty once there is a cluster.
    #[must_use]
    pub fn waits_for(&self) -> String {
        if self.state.formed.is_some() {
            return String::new();
        }
        if let Some(cluster) = &self.met_cluster {
            return cluster.clone();
        }
        match &self.state.grant {
            Some(grant) if !self.is_mine(grant) => format!(
                "waits for node {} at {}, which forms cluster {} and has this node's grant",
                grant.proposer.id, grant.peer, grant.cluster_id
            ),
            _ => self.waits_for_others(),
        }
    }

    fn me(&self) -> &NodeName {
        &self.config.me.name
    }

    fn is_mine(&self, grant: &Grant) -> bool {
        grant.proposer == *self.me()
    }

    /// The formation that this node proposes.
    fn own(&self) -> Option<&Grant> {
        self.state.grant.as_ref().filter(|grant| self.is_mine(grant))
    }

    fn introduction(&self) -> Introduction {
        Introduction {
            node: self.config.me.clone(),
            grant: self.state.grant.clone(),
            cluster_id: self.state.formed.as_ref().map(|formed| formed.cluster_id),
            known: self.contacts.known(self.now),
        }
    }

    fn started(&mut self, now: Monotonic) {
        self.now = now;
        if self.since.is_none() {
            self.since = Some(now);
            self.contacts.begin(now);
        }
    }

    fn persist(&mut self, state: FormationState, answers: Option<QuestionId>) {
        assert!(self.persisting.is_none(), "one state after another");
        assert!(self.state.formed.is_none(), "a cluster is formed once");
        self.effects.push_back(FormationEffect::Persist(state.clone()));
        self.persisting = Some(Persisting { state, answers });
    }

    fn answer(&mut self, to: QuestionId, reply: Reply) {
        let answer = Answer { answerer: self.introduction(), reply };
        self.effects.push_back(FormationEffect::Answer { to, answer });
    }

    fn say(&mut self, finding: String) {
        if self.said.len() < FINDINGS_MAX && self.said.insert(finding.clone()) {
            self.effects.push_back(FormationEffect::Finding(finding));
        }
    }

    fn ask_what_is_due(&mut self, now: Monotonic) {
        for address in self.contacts.due(now) {
            let Some(ask) = self.ask_for(&address) else {
                self.contacts.rest(&address);
                continue;
            };
            let question = Question { asker: self.introduction(), ask };
            let id = self.contacts.open(&address);
            self.effects.push_back(FormationEffect::Ask { id, address, question });
        }
    }

    /// Ends a question; gives where it went, unless nobody waits for it any more.
    fn close(&mut self, id: AskId, went: Went, now: Monotonic) -> Option<String> {
        let random = &mut self.random;
        self.contacts.close(id, went, now, |rest| random.spread(rest))
    }

    /// Says what has lasted too long.
    fn say_what_lasts(&mut self, now: Monotonic) {
        let lasts = self.since.is_some_and(|since| now.since(since) >= PATIENCE);
        if self.state.formed.is_some() || !lasts {
            return;
        }
        let silent = |(address, _): &(&String, &contacts::Contact)| {
            self.contacts.silent_for(address, now) >= PATIENCE
        };
        let silent: Vec<_> =
            self.contacts.all().filter(silent).map(|(address, _)| address.clone()).collect();
        for address in silent {
            self.say(format!(
                "{address} has not answered for {} s: the node there is down, or cluster.seeds or its listen.advertise_peer is wrong",
                PATIENCE.as_secs()
            ));
        }
        let waits = self.waits_for();
        self.say(format!("no cluster yet: {waits}"));
    }
}
