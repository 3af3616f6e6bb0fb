//! The catalog's replica on this worker, and what the catalog wants to know of shards and has done to them.

use std::sync::Arc;

use bytes::Bytes;
use ringfort_placement::ShardPlacement;
use ringfort_raft::ChangeError;
use ringfort_replica::command::CommandIdentity;
use ringfort_replica::{ListQuery, MachineError, Reading};
use ringfort_types::request::{Context, Operation, Principal, Trace};
use ringfort_types::{
    Epoch, FeatureLevel, GroupId, Key, Monotonic, NamespaceId, ReplicaId, ShardId, Version,
};

use super::{LifecycleError, Slot, Waiter, Worker, name_of, open_group, open_group_mut};
use crate::control::{ClusterMap, GroupReport, Held, Instruction, Leading, RawRecord};
use crate::pending::{Kind, Response};

/// Longest wait for a proposal to the catalog.
const PROPOSAL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// Records of the catalog read in one go: more than there can be.
const RECORDS_MAX: usize = 1 << 20;

/// How the catalog's replica here stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CatalogState {
    /// It leads its group, and has applied all that was committed before. It may have been deposed: a proposal finds out.
    pub(crate) leads: bool,
    /// Its revision.
    pub(crate) revision: Version,
}

impl<W> Worker<W> {
    /// How the catalog's replica stands; `None` where there is none, or it is closed.
    pub(crate) fn catalog_state(&self) -> Option<CatalogState> {
        let open = open_group(&self.slots, GroupId::CATALOG).ok()?;
        let leads = open.replica.has_taken_over();
        Some(CatalogState { leads, revision: open.replica.revision() })
    }

    /// The catalog's records above a version, as they are applied here.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn catalog_records(
        &self,
        now: Monotonic,
        above: Version,
    ) -> Result<Vec<RawRecord>, MachineError> {
        let Ok(open) = open_group(&self.slots, GroupId::CATALOG) else { return Ok(Vec::new()) };
        let query = ListQuery {
            namespace: NamespaceId::default(),
            prefix: Bytes::new(),
            start: Bytes::new(),
            end: None,
            after: None,
            limit: RECORDS_MAX,
            key_bytes_max: usize::MAX,
        };
        let listed = open.replica.list(self.engine.as_ref(), now, &query)?;
        let mut records = Vec::new();
        for item in listed.items.into_iter().filter(|item| item.version > above) {
            let reading = open.replica.get(self.engine.as_ref(), now, &item.key)?;
            if let Reading::Found(Some(found)) = reading {
                let (key, version) = (item.key.to_bytes(), found.version);
                records.push(RawRecord { key, version, value: found.value });
            }
        }
        Ok(records)
    }

    /// Stops this node's replica of the catalog: it holds what this executable does not understand. It acknowledges nothing and
    /// votes for nobody any more, rather than go on from less than what is there.
    pub(crate) fn stop_catalog(&mut self, reason: &str) {
        let reason = format!("{reason}; start a version that knows it, or report a bug");
        drop(self.close_for(GroupId::CATALOG, &reason));
    }

    /// Proposes one atomic command to the catalog; its answer comes with [`Worker::poll_catalog`].
    pub(crate) fn propose_catalog(&mut self, now: Monotonic, id: u64, operations: &[Operation]) {
        let deadline = now + PROPOSAL_TIMEOUT;
        let (principal, trace) = (Principal::default(), Trace::default());
        let context = Context { arrived: now, deadline, principal, trace };
        let none = CommandIdentity::None;
        let waiter = || Waiter::Catalog(id);
        let kind = Kind::Write;
        let begun =
            self.enqueue(now, &context, GroupId::CATALOG, &none, true, operations, kind, waiter);
        if let Err(refusal) = begun {
            self.catalog_answers.push_back((id, Err(refusal)));
        }
    }

    /// The next answer to a proposal to the catalog.
    pub(crate) fn poll_catalog(&mut self) -> Option<(u64, Response)> {
        self.catalog_answers.pop_front()
    }

    /// What this worker has of its groups, as the catalog may want to know; `None`: nothing that others have a copy of.
    #[must_use]
    pub fn reports(&self) -> Vec<(GroupId, Option<GroupReport>)> {
        self.mine.iter().map(|group| (*group, self.report(*group))).collect()
    }

    fn report(&self, group: GroupId) -> Option<GroupReport> {
        match self.slots.get(group.0 as usize)?.as_ref()? {
            Slot::Open(open) => {
                let replica = &open.replica;
                let leading = replica.leads().then(|| Leading {
                    term: replica.leader().term,
                    configuration: replica.committed_configuration().1.clone(),
                });
                let held = Held { replica: replica.id(), quarantined: false };
                Some(GroupReport { group, held, leading })
            }
            Slot::Closed(closed) if closed.quarantined => {
                let held = Held { replica: closed.replica, quarantined: true };
                Some(GroupReport { group, held, leading: None })
            }
            _ => None,
        }
    }

    /// Takes a step that the catalog wants taken, if this worker leads the group and its configuration is the one that the step
    /// was made from. Whoever wants it asks again until it is done.
    ///
    /// # Errors
    /// The group refused it, for now.
    pub fn instruct(&mut self, instruction: &Instruction) -> Result<(), ChangeError> {
        let group = instruction.group;
        let Ok(open) = open_group(&self.slots, group) else { return Ok(()) };
        let (_, committed) = open.replica.committed_configuration();
        if *committed != instruction.configuration || !open.replica.leads() {
            return Ok(());
        }
        match self.propose_change(group, &[instruction.change]) {
            Ok(()) | Err(None) => Ok(()),
            Err(Some(error)) => Err(error),
        }
    }

    /// Takes a newer map of the cluster: who has which group, and what this worker is to have.
    pub fn handle_map(&mut self, map: &Arc<ClusterMap>) {
        let is_first = !self.has_map;
        self.map = Some(Arc::clone(map));
        self.map_due = false;
        self.raise_level(map.settings().feature_level);
        self.handle_placements(map.epoch(), map.shards());
        // Those, too, that hold no shard.
        let members = map.members().map(|member| member.number);
        self.nodes.extend(members.filter(|number| *number != self.config.node));
        let done = self.handle_placement(GroupId::CATALOG, map.catalog(), is_first);
        self.tell_placed(GroupId::CATALOG, done, true);
    }

    /// Has the replicas here, and those that come, stamp this feature level. It never falls: a map that is told may be older than
    /// one that was.
    fn raise_level(&mut self, active: FeatureLevel) {
        let levels = &mut self.making.levels;
        levels.active = levels.active.max(active);
        for group in &self.mine {
            if let Ok(open) = open_group_mut(&mut self.slots, *group) {
                open.replica.raise_level(active);
            }
        }
    }

    /// What the map asks for and was not possible may be by now.
    pub(super) fn tick_map(&mut self) {
        if !std::mem::take(&mut self.map_due) {
            return;
        }
        if let Some(map) = self.map.clone() {
            for (group, placement) in map.groups() {
                let done = self.handle_placement(group, placement, false);
                self.tell_placed(group, done, false);
            }
        }
    }

    /// Takes a newer map's placements of shards, in order.
    pub fn handle_placements(&mut self, epoch: Epoch, shards: &[ShardPlacement]) {
        self.forwarder.handle_map(epoch, shards);
        let holders = shards.iter().flat_map(ShardPlacement::replicas);
        self.nodes = holders.map(|replica| replica.id.node()).collect();
        self.nodes.remove(&self.config.node);
        self.forwards_due = true;
        let is_first = !std::mem::replace(&mut self.has_map, true);
        for (shard, placement) in (0..).map(ShardId).zip(shards) {
            let group = GroupId::of_shard(shard);
            let done = self.handle_placement(group, placement, is_first);
            self.tell_placed(group, done, true);
        }
    }

    /// Says which replica was made; what stands in the way of one, if that is `news`.
    fn tell_placed(
        &mut self,
        group: GroupId,
        done: Result<Option<ReplicaId>, LifecycleError>,
        news: bool,
    ) {
        let name = name_of(group);
        match done {
            Ok(Some(made)) => {
                self.messages.push_back(format!("{name}: replica {made} is made anew"));
            }
            Err(LifecycleError::UnderWay(_)) => self.map_due = true,
            Err(error) if news => self.messages.push_back(format!("{name}: {error}")),
            Ok(None) | Err(_) => {}
        }
    }

    /// Takes the newest placement of a group; `is_first`: none was known before, in this start. Gives a replica that is made.
    fn handle_placement(
        &mut self,
        group: GroupId,
        placement: &ShardPlacement,
        is_first: bool,
    ) -> Result<Option<ReplicaId>, LifecycleError> {
        if !self.owns(group) {
            return Ok(None);
        }
        let node = self.config.node;
        let mut here = placement.replicas().iter().filter(|replica| replica.id.node() == node);
        if let Some(Some(Slot::Closed(closed))) = self.slots.get_mut(group.0 as usize)
            && closed.quarantined
        {
            // A voter was here, so it is lost; a learner that was named before this start may have been.
            let lost = here.clone().filter(|replica| is_first || replica.is_voter());
            let lost = lost.map(|replica| replica.id).max().unwrap_or_default();
            closed.replica = closed.replica.max(lost);
        }
        if let Ok(open) = open_group(&self.slots, group)
            && open.replica.configuration().is_blank()
            && here.clone().any(|replica| replica.is_voter() && replica.id == open.replica.id())
        {
            drop(self.close_for(group, "a voter of this id was here, and nothing of it is left"));
        }
        let Some(learner) = here.find(|replica| !replica.is_voter()) else { return Ok(None) };
        let learner = learner.id;
        let held = self.slots.get(group.0 as usize).and_then(Option::as_ref);
        let held = held.map_or(ReplicaId(0), Slot::replica);
        if held >= learner {
            return Ok(None);
        }
        // Ids rise: a group that has come to this one without one that is here has seen it go.
        let is_member = placement.replicas().iter().any(|replica| replica.id == held);
        self.make_replica(group, learner, !is_member).map(|()| Some(learner))
    }
}

/// A key of the catalog.
pub(crate) fn record_key(name: &str) -> Option<Key> {
    Key::new(Bytes::copy_from_slice(name.as_bytes())).ok()
}
