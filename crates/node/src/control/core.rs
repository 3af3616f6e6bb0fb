//! The node's part in its cluster, once it has one: its copy of the catalog, and what it tells others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ringfort_types::{BootId, Epoch, GroupId, Monotonic, NodeNumber};

use super::addresses::{Addresses, Moved};
use super::catalog::{CatalogCopy, CatalogDelta, DeltaError, Record, RecordKey, RecordValue};
use super::duties::{Duties, ProposalId, Proposed, Update};
use super::map::ClusterMap;
use super::record::FormationRecord;
use super::report::{GroupReport, Instruction};

/// Between two words on the epoch to everybody.
const GOSSIP_EVERY: Duration = Duration::from_secs(1);
/// A delta or a report that was not enough goes again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the shell and the workers are to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEffect {
    /// The map is another: workers and doors get it.
    Map(Arc<ClusterMap>),
    /// The copy has changed: `catalog.bin` is to be written with [`Control::catalog`] some time soon.
    SaveCatalog,
    /// Tell a node this node's epoch, boot id and [`Control::addresses`]: it answers with a delta if it has a newer one.
    Gossip {
        /// Whom.
        to: NodeNumber,
        /// The epoch that is held.
        epoch: Epoch,
    },
    /// Send a node what it lacks.
    Delta {
        /// Whom.
        to: NodeNumber,
        /// What.
        delta: CatalogDelta,
    },
    /// Tell a node that may lead the catalog how a group stands.
    Report {
        /// Whom; another node.
        to: NodeNumber,
        /// What.
        report: GroupReport,
    },
    /// Have the leader of a group take a step. It may be this node.
    Instruct {
        /// Whom.
        to: NodeNumber,
        /// What.
        instruction: Instruction,
    },
    /// Propose one atomic command to the catalog, of which this node leads the group; then [`Control::handle_proposed`], once.
    Propose {
        /// To be given back.
        id: ProposalId,
        /// All or nothing. Each takes the key and its version as they stand; version 0: it is absent.
        updates: Vec<Update>,
    },
    /// Ask which start of a node answers at the address of its record; then [`Control::handle_recorded`]. An answer may be lost.
    AskRecorded {
        /// Which node; it may be this one.
        node: NodeNumber,
        /// The address.
        address: String,
    },
    /// A node started anew.
    Restarted(NodeNumber),
    /// What a person should read.
    Finding(String),
}

/// The node-wide core of a member of a cluster.
#[derive(Clone, Debug)]
pub struct Control {
    me: NodeNumber,
    formation: FormationRecord,
    copy: CatalogCopy,
    map: Arc<ClusterMap>,
    others: BTreeMap<NodeNumber, Other>,
    own: Option<(BootId, Addresses)>,
    moved: Moved,
    /// What this node's own workers say.
    local: BTreeMap<GroupId, Local>,
    /// Of these it may be news.
    news: BTreeSet<GroupId>,
    duties: Duties,
    gossip_at: Monotonic,
    effects: VecDeque<ControlEffect>,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The epoch of its map.
    pub epoch: Epoch,
    /// Which start of it this is.
    pub boot: BootId,
    /// Where it is reached, if it says so.
    pub addresses: Option<Addresses>,
    /// The version of its executable.
    pub version: String,
}

/// What another node said last, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// When.
    pub at: Monotonic,
    /// The epoch of its map.
    pub epoch: Epoch,
    /// The version of its executable.
    pub version: String,
}

/// What is known of another node.
#[derive(Clone, Debug, Default)]
struct Other {
    boot: Option<BootId>,
    said: Option<Said>,
    /// What it was sent last: up to which epoch, and when.
    sent: Option<(Epoch, Monotonic)>,
    /// When it was asked last.
    asked: Option<Monotonic>,
}

#[derive(Clone, Debug)]
struct Local {
    report: GroupReport,
    sent_at: Option<Monotonic>,
}

impl Control {
    /// The core of a founder. `cached` is what `catalog.bin` held; a copy of another cluster, or older than the formation, does
    /// not count.
    ///
    /// # Errors
    /// The formation record makes no map: it was not checked.
    pub fn new(
        me: NodeNumber,
        formation: FormationRecord,
        cached: Option<CatalogCopy>,
    ) -> Result<Self, DeltaError> {
        let cached = cached.filter(|copy| copy.cluster_id() == formation.cluster_id);
        let copy = cached.unwrap_or_else(|| CatalogCopy::founding(&formation));
        let map = Arc::new(copy.map()?);
        let effects = VecDeque::from([ControlEffect::Map(Arc::clone(&map))]);
        Ok(Self {
            me,
            formation,
            copy,
            map,
            others: BTreeMap::new(),
            own: None,
            moved: Moved::default(),
            local: BTreeMap::new(),
            news: BTreeSet::new(),
            duties: Duties::default(),
            gossip_at: Monotonic::default(),
            effects,
        })
    }

    /// This start of this node is reached here, as its configuration says, whatever the catalog says so far.
    pub fn handle_own_addresses(&mut self, now: Monotonic, boot: BootId, addresses: Addresses) {
        self.own = Some((boot, addresses.clone()));
        self.hear_addresses(now, self.me, boot, addresses);
    }

    /// Which start of a node answered at this address, if one did.
    pub fn handle_recorded(
        &mut self,
        now: Monotonic,
        node: NodeNumber,
        address: &str,
        answers: Option<BootId>,
    ) {
        self.moved.handle_answer(now, node, address, answers, &self.copy);
        self.do_duties(now);
    }

    /// What another node said last of itself, since this start.
    #[must_use]
    pub fn said(&self, node: NodeNumber) -> Option<&Said> {
        self.others.get(&node)?.said.as_ref()
    }

    /// Where this node is reached, if it was told.
    #[must_use]
    pub fn addresses(&self) -> Option<&Addresses> {
        self.own.as_ref().map(|(_, addresses)| addresses)
    }

    /// The map in force: the catalog's, with the addresses that nodes say of themselves.
    #[must_use]
    pub fn map(&self) -> &Arc<ClusterMap> {
        &self.map
    }

    /// The copy of the catalog.
    #[must_use]
    pub fn catalog(&self) -> &CatalogCopy {
        &self.copy
    }

    /// Time passed. To be called every 100 ms or so.
    pub fn handle_tick(&mut self, now: Monotonic) {
        if self.gossip_at <= now {
            self.gossip_at = now + GOSSIP_EVERY;
            let epoch = self.copy.epoch();
            for to in self.others() {
                self.effects.push_back(ControlEffect::Gossip { to, epoch });
            }
        }
        self.report_what_is_news(now);
        self.do_duties(now);
    }

    /// Another node speaks of itself.
    pub fn handle_gossip(&mut self, now: Monotonic, from: NodeNumber, word: Word) {
        let Word { epoch, boot, addresses, version } = word;
        if from == self.me || self.map.member(from).is_none() {
            return;
        }
        if let Some(addresses) = addresses {
            self.hear_addresses(now, from, boot, addresses);
        }
        let other = self.others.entry(from).or_default();
        let before = other.boot.replace(boot);
        if before.is_some_and(|before| before != boot) {
            *other = Other { boot: Some(boot), ..Other::default() };
            self.effects.push_back(ControlEffect::Restarted(from));
        }
        other.said = Some(Said { at: now, epoch, version });
        self.handle_epoch(now, from, epoch);
    }

    /// Another node has shown which epoch its map is of, by its gossip or by a request that it routed. One that lacks something
    /// gets it, and one that has more is asked; what was sent or asked for lately is not again.
    pub fn handle_epoch(&mut self, now: Monotonic, from: NodeNumber, epoch: Epoch) {
        if from == self.me || self.map.member(from).is_none() {
            return;
        }
        let held = self.copy.epoch();
        let other = self.others.entry(from).or_default();
        let lately = |at: Monotonic| now.since(at) < AGAIN_AFTER;
        if epoch < held && !other.sent.is_some_and(|(upto, at)| upto == held && lately(at)) {
            other.sent = Some((held, now));
            let delta = self.copy.delta_since(epoch);
            self.effects.push_back(ControlEffect::Delta { to: from, delta });
        } else if epoch > held && !other.asked.is_some_and(lately) {
            other.asked = Some(now);
            self.effects.push_back(ControlEffect::Gossip { to: from, epoch: held });
        }
    }

    /// Another node says what changed. One that begins beyond what is held is asked for again.
    pub fn handle_delta(&mut self, now: Monotonic, from: NodeNumber, delta: CatalogDelta) {
        match self.copy.apply_delta(delta) {
            Ok(true) => self.changed(now),
            Ok(false) => {}
            Err(DeltaError::Gap { held, .. }) => {
                self.effects.push_back(ControlEffect::Gossip { to: from, epoch: held });
            }
            Err(error) => {
                let finding =
                    format!("node {from} sent a change of the catalog that is none: {error}");
                self.effects.push_back(ControlEffect::Finding(finding));
            }
        }
    }

    /// This node's own replica of the catalog has applied these: all it holds first, then each change, those of one entry
    /// together.
    ///
    /// # Errors
    /// The catalog holds what makes no map. Nothing has changed; this is a bug, or a newer version wrote it.
    pub fn handle_catalog_records(
        &mut self,
        now: Monotonic,
        records: Vec<Record>,
    ) -> Result<(), DeltaError> {
        if records.is_empty() {
            return Ok(());
        }
        self.duties.is_written = true;
        let newest = records.iter().map(|record| record.version.0).max().unwrap_or_default();
        let since = self.copy.epoch();
        let delta = CatalogDelta { since, epoch: since.max(Epoch(newest)), records };
        if self.copy.apply_delta(delta)? {
            self.changed(now);
        }
        Ok(())
    }

    /// This node's replica of the catalog leads its group from now on, and has applied all that was committed; or it leads no
    /// longer.
    pub fn handle_catalog_role(&mut self, now: Monotonic, leads: bool) {
        self.duties.lead(leads);
        self.moved.forget_answers();
        self.do_duties(now);
    }

    /// How a proposal went.
    pub fn handle_proposed(&mut self, now: Monotonic, id: ProposalId, how: Proposed) {
        self.duties.close(now, id, how);
        self.do_duties(now);
    }

    /// One of this node's own workers says what it has of a group; `None`: nothing that others have a copy of.
    pub fn handle_local(&mut self, now: Monotonic, group: GroupId, report: Option<GroupReport>) {
        let known = self.local.get(&group).map(|local| &local.report);
        if known == report.as_ref() {
            return;
        }
        match report {
            Some(report) => self.local.insert(group, Local { report, sent_at: None }),
            None => self.local.remove(&group),
        };
        self.news.insert(group);
        self.report_what_is_news(now);
    }

    /// A node says how a group stands.
    pub fn handle_report(&mut self, now: Monotonic, from: NodeNumber, report: GroupReport) {
        if self.map.member(from).is_some() && self.map.group(report.group).is_some() {
            self.duties.hear(from, report);
            self.do_duties(now);
        }
    }

    /// The next effect.
    pub fn poll_effect(&mut self) -> Option<ControlEffect> {
        self.effects.pop_front()
    }

    fn others(&self) -> Vec<NodeNumber> {
        self.map.members().map(|member| member.number).filter(|number| *number != self.me).collect()
    }

    fn hear_addresses(
        &mut self,
        now: Monotonic,
        node: NodeNumber,
        boot: BootId,
        addresses: Addresses,
    ) {
        if self.moved.hear(node, boot, addresses, &self.copy) {
            self.make_map();
            self.do_duties(now);
        }
    }

    fn make_map(&mut self) {
        match self.copy.map() {
            Ok(map) => self.map = Arc::new(self.moved.apply(map)),
            // A copy that makes no map is never taken.
            Err(error) => unreachable!("the copy was checked: {error}"),
        }
        self.effects.push_back(ControlEffect::Map(Arc::clone(&self.map)));
    }

    fn changed(&mut self, now: Monotonic) {
        self.news.extend(self.local.keys());
        self.moved.handle_records(&self.copy);
        if let Some((boot, own)) = self.own.clone() {
            self.moved.hear(self.me, boot, own, &self.copy);
        }
        self.make_map();
        self.effects.push_back(ControlEffect::SaveCatalog);
        // Whoever hears of it and has less gets a delta.
        self.gossip_at = now;
    }

    /// Tells those who may lead the catalog of groups that stand otherwise than their records, or are on their way.
    fn report_what_is_news(&mut self, now: Monotonic) {
        let mut mine = Vec::new();
        self.news.retain(|group| {
            let record = self.copy.group(*group).map(|(_, record)| record);
            let (Some(local), Some(record)) = (self.local.get_mut(group), record) else {
                return false;
            };
            if local.sent_at.is_some_and(|at| now.since(at) < AGAIN_AFTER) {
                return true;
            }
            let is_news = super::duties::is_news(record, &local.report);
            if is_news {
                local.sent_at = Some(now);
                mine.push(local.report.clone());
            }
            is_news
        });
        let voters = self.formation.catalog_voters();
        for report in mine {
            for to in voters.iter().map(|voter| voter.node()) {
                if to == self.me {
                    self.duties.hear(to, report.clone());
                } else {
                    let report = report.clone();
                    self.effects.push_back(ControlEffect::Report { to, report });
                }
            }
        }
    }

    fn do_duties(&mut self, now: Monotonic) {
        if self.duties.leads() {
            let asks = self.moved.asks(now, &self.copy).into_iter();
            let ask = |(node, address)| ControlEffect::AskRecorded { node, address };
            self.effects.extend(asks.map(ask));
        }
        let moved = self.moved.updates(&self.copy);
        self.duties.run(now, &self.copy, &self.map, &self.formation, moved, &mut self.effects);
    }
}

/// A counter, if the copy has one.
pub(super) fn counter(copy: &CatalogCopy) -> Option<(ringfort_types::Version, u64)> {
    match copy.get(RecordKey::Counter)? {
        (version, RecordValue::Counter(next)) => Some((version, *next)),
        _ => None,
    }
}
