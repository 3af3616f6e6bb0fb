//! How a node starts: from what its log recovered, with the stores that the log's bases name.
//!
//! A shard that was damaged stays closed; the others start. Nothing is guessed: a group whose hard state is not proven,
//! whose entries are missing, or whose generation does not hold what its base says, is not served.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringfort_engine::{EngineError, Generation, StorageEngine};
use ringfort_env::{Disk, DiskError};
use ringfort_log::{
    Base, DamageKind, GroupWrite, RecoveredGroup, RecoveredLog, SourceId, Submission, SubmissionId,
};
use ringfort_raft::{Configuration, Guards, Lost, Settings};
use ringfort_replica::{MachineError, Replica, ReplicaConfig};
use ringfort_types::{GroupId, HardState, Monotonic, ReplicaId, ShardId};

use crate::worker::{Worker, WorkerConfig, name_of};

/// Whether the node's groups were founded in an earlier start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formation {
    /// This is the first start, or the first was interrupted before it was complete: groups the log does not know are
    /// founded now.
    New,
    /// Every group was founded: one the log does not know is lost.
    Complete,
}

/// A group that this node founds with others: once, at the cluster's formation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundingGroup {
    /// The replica on this node.
    pub replica: ReplicaId,
    /// All replicas.
    pub configuration: Configuration,
}

/// The groups that a node founds.
pub type Founding = BTreeMap<GroupId, FoundingGroup>;

/// Settings of a start.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Shards of the cluster.
    pub shards: u32,
    /// Workers, at least one. Shard `s` belongs to worker `s % workers`.
    pub workers: u16,
    /// Whether groups are founded.
    pub formation: Formation,
    /// The groups that this node founds, or founded.
    pub founding: Arc<Founding>,
    /// Settings of each worker; the source is set here.
    pub worker: WorkerConfig,
    /// What all replicas of the cluster share.
    pub raft: Settings,
    /// Raft's checks; all, but in tests.
    pub guards: Guards,
    /// Random bits, fresh at each start; clients do not know them.
    pub seed: u64,
}

impl OpenOptions {
    /// Which worker owns a group.
    fn owner(&self, group: GroupId) -> u16 {
        let shard = group.shard().unwrap_or_default();
        u16::try_from(shard.0 % u32::from(self.workers)).unwrap_or_default()
    }

    /// Whether the cluster has such a group.
    fn knows(&self, group: GroupId) -> bool {
        group.shard().is_none_or(|shard| shard.0 < self.shards)
    }
}

/// What a node on its own founds: every shard, with one voter.
#[must_use]
pub fn found_alone(shards: u32) -> Founding {
    let group = |shard| {
        let replica = ReplicaId(u64::from(shard) + 1);
        let configuration = Configuration::founding([replica]);
        (GroupId::of_shard(ShardId(shard)), FoundingGroup { replica, configuration })
    };
    (0..shards).map(group).collect()
}

/// What one worker opens: the groups of its shards, as the log recovered them.
#[derive(Debug, Default)]
pub struct Part {
    number: u16,
    groups: BTreeMap<GroupId, RecoveredGroup>,
    /// Every generation that the log names, of all parts.
    live: Arc<[(GroupId, Generation)]>,
    /// A group that the log does not know was never founded; otherwise it may have been, and be lost.
    absent_is_new: bool,
}

/// One worker, opened.
pub struct Opened<W> {
    /// The worker.
    pub worker: Worker<W>,
    /// New groups: see [`founding`].
    pub founded: Vec<GroupWrite>,
    /// What a person should read, one line each.
    pub findings: Vec<String>,
}

/// Why a node cannot start at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The engine, other than by damage of one store.
    #[error("a store cannot be opened")]
    Engine(#[from] EngineError),
}

/// The source under which a founding is submitted: no worker has it.
pub const FOUNDING_SOURCE: SourceId = SourceId(u16::MAX);

/// Divides what the log recovered among the workers. Findings of the log, and of what no shard claims, come beside it.
#[must_use]
pub fn divide(recovered: RecoveredLog, options: &OpenOptions) -> (Vec<Part>, Vec<String>) {
    let RecoveredLog { groups, mut findings, groups_may_be_missing } = recovered;
    let named = groups.iter().map(|(group, found)| (*group, Generation(found.base.generation)));
    let live: Arc<[_]> = named.collect();
    let part = |number| Part {
        number,
        groups: BTreeMap::new(),
        live: Arc::clone(&live),
        absent_is_new: !groups_may_be_missing,
    };
    let mut parts: Vec<Part> = (0..options.workers).map(part).collect();
    for (group, found) in groups {
        match options.knows(group) {
            true => {
                parts[usize::from(options.owner(group))].groups.insert(group, found);
            }
            false => findings.push(format!(
                "the log holds group {group}, which this cluster does not have; it is left alone"
            )),
        }
    }
    (parts, findings)
}

/// Opens one worker over its part. May run on the worker's own thread, beside the others.
///
/// # Errors
/// The disk failed, or a store's format is newer. Damage is no error: the shard is closed.
pub fn open<W>(
    disk: &mut dyn Disk,
    part: Part,
    options: &OpenOptions,
    now: Monotonic,
    engine: Box<dyn StorageEngine>,
) -> Result<Opened<W>, OpenError> {
    let Part { number, groups, live, absent_is_new } = part;
    let may_found = options.formation == Formation::New && absent_is_new;
    let source = SourceId(number);
    let (shards, workers) = (options.shards, options.workers);
    let config = WorkerConfig { source, shards, workers, ..options.worker };
    let mut opened = Opened {
        worker: Worker::new(now, config, engine),
        founded: Vec::new(),
        findings: Vec::new(),
    };
    for (group, founding) in options.founding.iter() {
        if options.owner(*group) != number || groups.contains_key(group) {
            continue;
        }
        if may_found {
            let FoundingGroup { replica, .. } = *founding;
            opened.founded.push(GroupWrite::Create { group: *group, replica });
            start_founded(&mut opened, *group, replica, options, now)?;
        } else {
            let reason =
                "its log is missing: restore the data directory's log-*.seg files, or a backup";
            close(&mut opened, *group, founding.replica, reason.to_owned());
        }
    }
    for (group, recovered) in groups {
        start_recovered(disk, &mut opened, group, recovered, options, now)?;
    }
    if number == 0 {
        let removed = opened.worker.engine_mut().remove_leftovers(disk, &live)?;
        if removed > 0 {
            opened.findings.push(format!("{removed} files of interrupted flushes were removed"));
        }
    }
    Ok(opened)
}

/// The founding of new groups, to be durable before anything else is submitted; `None` if there is none.
#[must_use]
pub fn founding(founded: Vec<GroupWrite>) -> Option<Submission> {
    let submission =
        |writes| Submission { source: FOUNDING_SOURCE, id: SubmissionId(1), writes, operations: 0 };
    (!founded.is_empty()).then(|| submission(founded))
}

fn start_founded<W>(
    opened: &mut Opened<W>,
    group: GroupId,
    replica: ReplicaId,
    options: &OpenOptions,
    now: Monotonic,
) -> Result<(), OpenError> {
    opened.worker.engine_mut().create(group)?;
    let recovered = RecoveredGroup {
        replica,
        hard_state: HardState::default(),
        base: Base::default(),
        entries: Vec::new(),
        damage: None,
    };
    start_replica(opened, group, recovered, options, now)
}

fn start_recovered<W>(
    disk: &mut dyn Disk,
    opened: &mut Opened<W>,
    group: GroupId,
    recovered: RecoveredGroup,
    options: &OpenOptions,
    now: Monotonic,
) -> Result<(), OpenError> {
    let engine = opened.worker.engine_mut();
    let reason = match damage_of(&recovered) {
        Some(reason) => Some(reason),
        None => open_store(disk, engine, group, recovered.base)?,
    };
    match reason {
        Some(reason) => {
            close(opened, group, recovered.replica, reason);
            Ok(())
        }
        None => start_replica(opened, group, recovered, options, now),
    }
}

fn close<W>(opened: &mut Opened<W>, group: GroupId, replica: ReplicaId, reason: String) {
    opened.findings.push(format!("{} is closed: {reason}", name_of(group)));
    opened.worker.add_closed_group(group, replica, reason);
}

fn damage_of(recovered: &RecoveredGroup) -> Option<String> {
    let damage = recovered.damage.as_ref()?;
    let lost = match damage.kind {
        DamageKind::HardStateLost => "records that were durable are lost".to_owned(),
        DamageKind::EntriesLost { first, last } => format!("entries {first} to {last} are lost"),
    };
    let (file, offset) = (&damage.file, damage.offset);
    Some(format!(
        "{file} is damaged at offset {offset} and {lost}; restore the data directory or a backup"
    ))
}

/// Opens a group's store; gives why the shard has to stay closed if it is damaged.
fn open_store(
    disk: &mut dyn Disk,
    engine: &mut dyn StorageEngine,
    group: GroupId,
    base: Base,
) -> Result<Option<String>, OpenError> {
    match engine.open(disk, group, Generation(base.generation)) {
        Ok(applied) if applied == base.applied => Ok(None),
        Ok(applied) => {
            let (held, index) = (applied.index, base.applied.index);
            Ok(Some(format!(
                "its store holds entries up to {held} where the log begins behind {index}"
            )))
        }
        Err(error @ EngineError::Damaged { .. }) => {
            Ok(Some(format!("{error}; restore the data directory or a backup")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Starts a replica over its open store. One whose bytes are none of ours, though their checksums hold, closes its shard.
fn start_replica<W>(
    opened: &mut Opened<W>,
    group: GroupId,
    recovered: RecoveredGroup,
    options: &OpenOptions,
    now: Monotonic,
) -> Result<(), OpenError> {
    let founded = options.founding.get(&group);
    let founded = founded.filter(|founded| founded.replica == recovered.replica);
    let config = ReplicaConfig {
        group,
        replica: recovered.replica,
        hard_state: recovered.hard_state,
        base: recovered.base,
        entries: recovered.entries,
        lost: Lost::Nothing,
        // A replica that came later joined blank.
        founding: founded.map(|founded| founded.configuration.clone()).unwrap_or_default(),
        settings: options.raft,
        // Groups of one node draw different timeouts.
        seed: options.seed ^ u64::from(group.0).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        guards: options.guards,
        payload_bytes_target: options.worker.payload_bytes_target,
    };
    let generation = Generation(recovered.base.generation);
    let engine = opened.worker.engine_mut();
    match Replica::new(config, engine, now) {
        Ok(replica) => opened.worker.add_group(group, replica, generation),
        Err(MachineError::Engine(error)) => return Err(error.into()),
        Err(error @ (MachineError::Malformed(_) | MachineError::Entry { .. })) => {
            let file = engine.file(group, generation);
            let reason = format!("{file}: {error}; restore the data directory or a backup");
            close(opened, group, recovered.replica, reason);
        }
    }
    Ok(())
}
