//! What the catalog's leader does: it writes the first records, those of nodes that moved, keeps each group's record true, the
//! catalog's own among them, and has damaged replicas replaced.
//!
//! ```text
//!   report of a group ──▶ record is true? ── no ──▶ propose: replicas as reported
//!                              │ yes
//!                              ▼
//!                         next_step: settled │ waits
//!                              │ add a learner          │ promote        │ remove
//!                              ▼                        ▼                ▼
//!                        intent? ── no ──▶ propose     instruct the group's leader
//!                              │ yes                    ▲
//!                              └────────────────────────┘
//! ```
//!
//! Nothing is remembered but what records and reports say, so a new leader of the catalog goes on where another ended, and
//! whatever is asked twice is done once: proposals are on condition of the versions they were made from, instructions of the
//! group's configuration.
//!
//! The truth about a group is its own committed configuration. An id for a new replica is taken from `counter` and noted in the
//! group's record, in one command, before the group is asked: so it is never given twice, whoever leads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ringfort_placement::{Members, Outlook, Role, ShardPlacement, Step, next_step};
use ringfort_raft::{Change, Configuration, Learner};
use ringfort_types::{GroupId, Monotonic, NodeId, NodeNumber, ReplicaId, Version};

use super::catalog::{
    CatalogCopy, FORMATION_EPOCH, GroupRecord, Intent, RecordKey, RecordValue, ReplicaRecord,
    founding_records,
};
use super::core::{ControlEffect, counter};
use super::map::ClusterMap;
use super::record::FormationRecord;
use super::report::{GroupReport, Held, Instruction, Leading};

/// Shards that get a new replica at the same time, as far as records say.
pub const MOVES_MAX: usize = 4;
/// Proposals under way at the same time.
const PROPOSALS_MAX: usize = 64;
/// An instruction that had no effect goes again after this time.
const INSTRUCT_AGAIN: Duration = Duration::from_millis(500);
/// After a proposal whose outcome is unknown or that was refused, nothing is proposed for this long.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(200);

/// Names a proposal; never given again in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// One record of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Which.
    pub key: RecordKey,
    /// The version it must have; 0: it is absent.
    pub version: Version,
    /// What it holds then.
    pub value: RecordValue,
}

/// How a proposal went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// It was applied; the records come, or came, by [`super::Control::handle_catalog_records`].
    Applied,
    /// A version was another. Nothing has changed.
    Conflict,
    /// It may have been applied, or not, or may be yet.
    Unknown,
}

/// What the leader of the catalog has under way. Empty on other nodes, but for reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Duties {
    leads: bool,
    /// The catalog has its first records.
    pub(super) is_written: bool,
    /// By group, the newest report of a leader, and who that was.
    leaders: BTreeMap<GroupId, (NodeNumber, Leading)>,
    /// What nodes that said something new have of a group, since this node leads.
    held: BTreeMap<GroupId, BTreeMap<NodeNumber, Held>>,
    open: BTreeMap<ProposalId, Vec<RecordKey>>,
    last: ProposalId,
    rests_until: Monotonic,
    instructed: BTreeMap<GroupId, (Instruction, Monotonic)>,
}

impl Duties {
    pub(super) fn leads(&self) -> bool {
        self.leads
    }

    pub(super) fn lead(&mut self, leads: bool) {
        if self.leads != leads {
            self.leads = leads;
            self.open.clear();
            self.instructed.clear();
            // What was heard before may be old, for whoever leads hears what is new. It is said again.
            self.held.clear();
        }
    }

    pub(super) fn close(&mut self, now: Monotonic, id: ProposalId, how: Proposed) {
        if self.open.remove(&id).is_some() && how != Proposed::Applied {
            self.rests_until = now + REST_AFTER_FAILURE;
        }
    }

    /// Notes a report. Leaders of older terms, and older configurations of the same, say nothing new.
    pub(super) fn hear(&mut self, from: NodeNumber, report: GroupReport) {
        let GroupReport { group, held, leading } = report;
        if let Some(leading) = leading {
            let newer = |known: &Leading| {
                (known.term, known.configuration.age())
                    <= (leading.term, leading.configuration.age())
            };
            if self.leaders.get(&group).is_none_or(|(_, known)| newer(known)) {
                self.leaders.insert(group, (from, leading));
            }
        }
        if self.leads && held.replica.node() == from {
            self.held.entry(group).or_default().insert(from, held);
        }
    }

    /// Proposes and instructs whatever is to be done now.
    pub(super) fn run(
        &mut self,
        now: Monotonic,
        copy: &CatalogCopy,
        map: &ClusterMap,
        formation: &FormationRecord,
        moved: Vec<Update>,
        effects: &mut VecDeque<ControlEffect>,
    ) {
        if !self.leads {
            return;
        }
        let mut out = Out { now, effects };
        if !self.is_written {
            self.write_first_records(formation, &mut out);
            return;
        }
        for update in moved {
            self.update(vec![update], &mut out);
        }
        let members = map.placement_members();
        let moves = |group| copy.group(group).is_some_and(|(_, record)| is_moving(record));
        let shards = map.groups().filter(|(group, _)| *group != GroupId::CATALOG);
        let mut moving = shards.filter(|(group, _)| moves(*group)).count();
        let groups: BTreeSet<_> = self.leaders.keys().chain(self.held.keys()).copied().collect();
        for group in groups {
            let Some((version, record)) = copy.group(group) else { continue };
            let true_record = self.true_record(group, record);
            let stands = |replica: &ReplicaRecord| map.member(replica.id.node()).is_some();
            if !true_record.replicas.iter().all(stands) {
                // A record that names an unknown node makes no map: the group has to lose that replica first.
                continue;
            }
            if true_record != *record {
                self.update(vec![group_update(group, version, true_record)], &mut out);
            } else if let Some(placement) = map.group(group) {
                let view = View { group, version, record, placement, members: &members, map, copy };
                self.step(&view, &mut moving, &mut out);
            }
        }
    }

    /// All or nothing, and only where there is nothing yet.
    fn write_first_records(&mut self, formation: &FormationRecord, out: &mut Out<'_>) {
        let updates = founding_records(formation).into_iter();
        let updates = updates.map(|(key, value)| Update { key, version: Version::ABSENT, value });
        self.update(updates.collect(), out);
    }

    /// The record as the group's leader and those who have its replicas say.
    fn true_record(&self, group: GroupId, record: &GroupRecord) -> GroupRecord {
        let mut next = record.clone();
        if let Some((_, leading)) = self.leaders.get(&group)
            && leading.configuration.age() >= record.age()
            && !leading.configuration.is_joint()
        {
            next.replicas = replicas_of(&leading.configuration, &record.replicas);
            if leading.configuration.age() > record.age() {
                next.highest = leading.configuration.highest();
            }
            // An id that the group has, or has passed, is no intent any more.
            next.intent =
                record.intent.filter(|intent| intent.id > leading.configuration.highest());
        }
        for replica in &mut next.replicas {
            let held = self.held.get(&group).and_then(|nodes| nodes.get(&replica.id.node()));
            let said = held.and_then(|held| held.is_quarantined(replica.id));
            replica.quarantined = said.unwrap_or(replica.quarantined);
        }
        next
    }

    fn step(&mut self, view: &View<'_>, moving: &mut usize, out: &mut Out<'_>) {
        let record = view.record;
        let step = match next_step(view.placement, view.members) {
            Outlook::Next(step) => Some(step),
            Outlook::Settled | Outlook::Waits(_) => None,
        };
        let wanted = match &step {
            Some(Step::AddLearner { node, replaces }) => {
                view.number(node).map(|node| (node, *replaces))
            }
            _ => None,
        };
        if let Some(intent) = record.intent
            && wanted != Some((intent.id.node(), intent.replaces))
        {
            // Its id is lost. If the group was asked already, and adds it, the learner goes as one of no use.
            let next = GroupRecord { intent: None, ..record.clone() };
            self.update(vec![group_update(view.group, view.version, next)], out);
            return;
        }
        match (step, wanted) {
            (Some(Step::Promote { learner }), _) => {
                self.instruct(view, Change::Promote(learner), out);
            }
            (Some(Step::Remove { replica }), _) => {
                self.instruct(view, Change::Remove(replica), out);
            }
            (_, Some((node, replaces))) => match record.intent {
                Some(Intent { id, replaces }) => {
                    self.instruct(view, Change::AddLearner(Learner { id, replaces }), out);
                }
                // The catalog mends the others, and waits for nobody.
                None if view.group == GroupId::CATALOG => {
                    self.intend(view, node, replaces, out);
                }
                None if *moving < MOVES_MAX => {
                    *moving += usize::from(self.intend(view, node, replaces, out));
                }
                None => {}
            },
            _ => {}
        }
    }

    /// Takes an id from the counter and notes it in the group's record, both or neither.
    fn intend(
        &mut self,
        view: &View<'_>,
        node: NodeNumber,
        replaces: Option<ReplicaId>,
        out: &mut Out<'_>,
    ) -> bool {
        let Some((version, next)) = counter(view.copy) else { return false };
        let intent = Some(Intent { id: ReplicaId::new(next, node), replaces });
        let record = GroupRecord { intent, ..view.record.clone() };
        let value = RecordValue::Counter(next.saturating_add(1));
        let counter = Update { key: RecordKey::Counter, version, value };
        self.update(vec![counter, group_update(view.group, view.version, record)], out)
    }

    /// Proposes, unless one of the records is being changed already; gives whether it did.
    fn update(&mut self, updates: Vec<Update>, out: &mut Out<'_>) -> bool {
        let keys: Vec<_> = updates.iter().map(|update| update.key).collect();
        let busy = self.open.values().flatten().any(|key| keys.contains(key));
        if busy || self.open.len() >= PROPOSALS_MAX || out.now < self.rests_until {
            return false;
        }
        self.last.0 += 1;
        self.open.insert(self.last, keys);
        out.effects.push_back(ControlEffect::Propose { id: self.last, updates });
        true
    }

    fn instruct(&mut self, view: &View<'_>, change: Change, out: &mut Out<'_>) {
        let Some((leader, leading)) = self.leaders.get(&view.group) else { return };
        if leading.configuration.age() != view.record.age() {
            return;
        }
        // A group that has moved on, or is about to, refuses what was made from another configuration.
        let configuration = leading.configuration.clone();
        let instruction = Instruction { group: view.group, configuration, change };
        let lately = |(before, at): &(Instruction, Monotonic)| {
            *before == instruction && out.now.since(*at) < INSTRUCT_AGAIN
        };
        if !self.instructed.get(&view.group).is_some_and(lately) {
            self.instructed.insert(view.group, (instruction.clone(), out.now));
            out.effects.push_back(ControlEffect::Instruct { to: *leader, instruction });
        }
    }
}

struct Out<'a> {
    now: Monotonic,
    effects: &'a mut VecDeque<ControlEffect>,
}

struct View<'a> {
    group: GroupId,
    version: Version,
    record: &'a GroupRecord,
    placement: &'a ShardPlacement,
    members: &'a Members,
    map: &'a ClusterMap,
    copy: &'a CatalogCopy,
}

impl View<'_> {
    fn number(&self, node: &NodeId) -> Option<NodeNumber> {
        self.map.member_by_id(node).map(|member| member.number)
    }
}

/// Whether the catalog's leader has to hear of it: the record is not true, or the group is on its way.
pub(super) fn is_news(record: &GroupRecord, report: &GroupReport) -> bool {
    let Held { replica: held, .. } = report.held;
    let of_reporter = record.replicas.iter().filter(|replica| replica.id.node() == held.node());
    let differs = |replica: &ReplicaRecord| {
        report.held.is_quarantined(replica.id).is_some_and(|said| said != replica.quarantined)
    };
    let health = of_reporter.into_iter().any(differs);
    let changed = report.leading.as_ref().is_some_and(|leading| {
        let replicas = replicas_of(&leading.configuration, &record.replicas);
        leading.configuration.age() > record.age() || replicas != record.replicas
    });
    let moves = report.leading.is_some()
        && (is_moving(record) || record.replicas.iter().any(|replica| replica.quarantined));
    health || changed || moves
}

/// Whether the group gets a new replica.
fn is_moving(record: &GroupRecord) -> bool {
    record.intent.is_some()
        || record.replicas.iter().any(|replica| matches!(replica.role, Role::Learner { .. }))
}

fn group_update(group: GroupId, version: Version, record: GroupRecord) -> Update {
    // Of the records that a copy begins with, only the settings have their version in the catalog itself: another one that
    // still has it is not there, in a catalog of an earlier build.
    let version = if version.0 == FORMATION_EPOCH.0 { Version::ABSENT } else { version };
    Update { key: RecordKey::Group(group), version, value: RecordValue::Group(record) }
}

/// The replicas of a configuration: those that are known in their order, then those that came.
fn replicas_of(configuration: &Configuration, known: &[ReplicaRecord]) -> Vec<ReplicaRecord> {
    let order = |id: ReplicaId| known.iter().position(|replica| replica.id == id);
    let voters = configuration.voters().iter().map(|id| (*id, Role::Voter));
    let learners = configuration
        .learners()
        .iter()
        .map(|learner| (learner.id, Role::Learner { replaces: learner.replaces }));
    let mut replicas: Vec<_> = voters
        .chain(learners)
        .map(|(id, role)| {
            let quarantined = known.iter().any(|known| known.id == id && known.quarantined);
            ReplicaRecord { id, role, quarantined }
        })
        .collect();
    replicas.sort_by_key(|replica| (order(replica.id).unwrap_or(usize::MAX), replica.id));
    replicas
}
