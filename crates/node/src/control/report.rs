//! What nodes tell the catalog's leader of their groups, and what it has those do that lead them.

use std::cmp::Ordering;

use ringfort_proto::cluster as pb;
use ringfort_raft::{Change, Configuration, Learner};
use ringfort_types::{GroupId, ReplicaId, Term};

use super::wire::{WireError, wrong};

/// What a node says of a group that it has a replica of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// The group.
    pub group: GroupId,
    /// What the reporter has of it.
    pub held: Held,
    /// Where the reporter leads it.
    pub leading: Option<Leading>,
}

/// The replica of a group that a node has. It has no other: those that were before it are gone for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub replica: ReplicaId,
    /// It neither votes nor acknowledges.
    pub quarantined: bool,
}

impl Held {
    /// Whether a replica of the same node takes no part, as far as this says; `None`: it says nothing of later ones.
    pub(super) fn is_quarantined(&self, replica: ReplicaId) -> Option<bool> {
        match replica.cmp(&self.replica) {
            Ordering::Less => Some(true),
            Ordering::Equal => Some(self.quarantined),
            Ordering::Greater => None,
        }
    }
}

/// What a group's leader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leading {
    /// The term it leads in.
    pub term: Term,
    /// The newest committed configuration.
    pub configuration: Configuration,
}

/// A step that a group's leader is to take. It does nothing if the group's configuration is another by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The group.
    pub group: GroupId,
    /// The configuration that the step was made from. No group has one twice.
    pub configuration: Configuration,
    /// The step.
    pub change: Change,
}

impl From<&GroupReport> for pb::GroupReport {
    fn from(report: &GroupReport) -> Self {
        let leading = report.leading.as_ref();
        Self {
            group: report.group.0,
            term: leading.map_or(0, |leading| leading.term.0),
            configuration: leading
                .map(|leading| leading.configuration.encode())
                .unwrap_or_default(),
            replica: report.held.replica.0,
            quarantined: report.held.quarantined,
        }
    }
}

impl TryFrom<pb::GroupReport> for GroupReport {
    type Error = WireError;

    fn try_from(report: pb::GroupReport) -> Result<Self, WireError> {
        let leading = (report.term > 0).then(|| {
            let configuration = Configuration::decode(&report.configuration)
                .map_err(|_| wrong("report.configuration"))?;
            Ok(Leading { term: Term(report.term), configuration })
        });
        let held = Held { replica: ReplicaId(report.replica), quarantined: report.quarantined };
        Ok(Self { group: GroupId(report.group), held, leading: leading.transpose()? })
    }
}

impl From<&Instruction> for pb::Instruction {
    fn from(instruction: &Instruction) -> Self {
        use pb::instruction::Change as Step;
        let change = match instruction.change {
            Change::AddLearner(Learner { id, replaces }) => {
                Step::AddLearner(pb::Intent { id: id.0, replaces: replaces.unwrap_or_default().0 })
            }
            Change::Promote(id) => Step::Promote(id.0),
            Change::Remove(id) => Step::Remove(id.0),
        };
        let (group, configuration) = (instruction.group.0, instruction.configuration.encode());
        Self { group, configuration, change: Some(change) }
    }
}

impl TryFrom<pb::Instruction> for Instruction {
    type Error = WireError;

    fn try_from(instruction: pb::Instruction) -> Result<Self, WireError> {
        use pb::instruction::Change as Step;
        let named = |id: u64| Some(ReplicaId(id)).filter(|id| *id != ReplicaId(0));
        let change = match instruction.change.ok_or(wrong("instruction.change"))? {
            Step::AddLearner(pb::Intent { id, replaces }) => {
                let id = named(id).ok_or(wrong("instruction.add_learner"))?;
                Change::AddLearner(Learner { id, replaces: named(replaces) })
            }
            Step::Promote(id) => Change::Promote(ReplicaId(id)),
            Step::Remove(id) => Change::Remove(ReplicaId(id)),
        };
        let configuration = Configuration::decode(&instruction.configuration)
            .map_err(|_| wrong("instruction.configuration"))?;
        Ok(Self { group: GroupId(instruction.group), configuration, change })
    }
}
