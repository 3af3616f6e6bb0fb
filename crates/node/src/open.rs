//! How a node starts: from what its log recovered, with the stores that the log's bases name.
//!
//! A shard that was damaged stays closed; the others start. Nothing is guessed: a group whose hard state is not proven, or
//! whose generation does not hold what its base says, is not served. Where the group has others, the replica is
//! *quarantined*: it is to be replaced under a new id, and says nothing to anybody until then.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringfort_engine::{EngineError, Generation, StorageEngine};
use ringfort_env::{Disk, DiskError};
use ringfort_log::{
    Base, Damage, DamageKind, GroupWrite, RecoveredGroup, RecoveredLog, SourceId, Submission,
    SubmissionId,
};
use ringfort_raft::{Configuration, Guards, Lost, Settings};
use ringfort_replica::{MachineError, stored_configuration};
use ringfort_types::{Entry, GroupId, Levels, Monotonic, NodeNumber, ReplicaId, ShardId};

use crate::control::{FormationRecord, Founded, FoundedGroup};
use crate::worker::{ClosedGroup, Making, Restoring, Worker, WorkerConfig, has_others, name_of};

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

/// What one founder of a cluster founds.
#[must_use]
pub fn founding_of(record: &FormationRecord, number: NodeNumber) -> Founding {
    let group = |FoundedGroup { group, replica, configuration }| {
        (group, FoundingGroup { replica, configuration })
    };
    record.groups_of(number).into_iter().map(group).collect()
}

/// Settings of a start.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Shards of the cluster.
    pub shards: u32,
    /// Workers, at least one. Shard `s` belongs to worker `s % workers`.
    pub workers: u16,
    /// Which groups were founded in an earlier start.
    pub founded: Founded,
    /// The groups that this node founds, or founded.
    pub founding: Arc<Founding>,
    /// Settings of each worker; the source is set here.
    pub worker: WorkerConfig,
    /// What all replicas of the cluster share.
    pub raft: Settings,
    /// The active feature level as the node's copy of the catalog has it, and which ones are known.
    pub levels: Levels,
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

/// Opens one worker over its part. May run on the worker's own thread, beside the others. Groups are opened one after the
/// other; behind each that the log knows the host may do something else, in `between`.
///
/// # Errors
/// The disk failed, or a store's format is newer. Damage is no error: the shard is closed.
pub fn open<W>(
    disk: &mut dyn Disk,
    part: Part,
    options: &OpenOptions,
    now: Monotonic,
    engine: Box<dyn StorageEngine>,
    between: &mut dyn FnMut(),
) -> Result<Opened<W>, OpenError> {
    let Part { number, groups, live, absent_is_new } = part;
    let may_found = |group| match options.founded {
        Founded::Nothing => absent_is_new,
        Founded::Shards => absent_is_new && group == GroupId::default(),
        Founded::Everything => false,
    };
    let source = SourceId(number);
    let (shards, workers) = (options.shards, options.workers);
    let config = WorkerConfig { source, shards, workers, ..options.worker };
    let making = Making {
        settings: options.raft,
        levels: options.levels,
        guards: options.guards,
        seed: options.seed,
        payload_bytes_target: options.worker.payload_bytes_target,
        expire_keys_max: options.worker.limits.expire_keys_max,
    };
    let mut opened = Opened {
        worker: Worker::new(now, config, making, engine),
        founded: Vec::new(),
        findings: Vec::new(),
    };
    for (group, founding) in options.founding.iter() {
        if options.owner(*group) != number || groups.contains_key(group) {
            continue;
        }
        let replica = founding.replica;
        if may_found(*group) {
            opened.founded.push(GroupWrite::Create { group: *group, replica });
            opened.worker.engine_mut().create(*group)?;
            let founding = founding.configuration.clone();
            let restoring = Restoring { replica, founding, ..Restoring::default() };
            start_replica(&mut opened, *group, restoring)?;
        } else {
            let quarantined = has_others(&founding.configuration, replica);
            let what = "its log is missing";
            let cure = "restore the data directory's log-*.seg files, or a backup";
            let reason = reason_of(quarantined, what, cure);
            let generation = Generation(0);
            let closed = ClosedGroup { replica, reason, quarantined, in_log: false, generation };
            close(&mut opened, *group, closed);
        }
    }
    for (group, recovered) in groups {
        start_recovered(disk, &mut opened, group, recovered, options)?;
        between();
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

/// Starts a group that the log knows, with what is there of it.
///
/// | what is wrong | alone | with others |
/// | --- | --- | --- |
/// | hard state not proven | closed | quarantined |
/// | entries lost, hard state proven | closed | starts, and votes for nobody until a leader has brought them |
/// | store missing, damaged or none of ours | closed | quarantined |
///
/// A closed replica waits for a backup, a quarantined one to be replaced: both say nothing to anybody.
fn start_recovered<W>(
    disk: &mut dyn Disk,
    opened: &mut Opened<W>,
    group: GroupId,
    recovered: RecoveredGroup,
    options: &OpenOptions,
) -> Result<(), OpenError> {
    let RecoveredGroup { replica, hard_state, base, entries, damage } = recovered;
    let founded = options.founding.get(&group);
    // A replica that came later joined blank, and so others were there.
    let founding = founded.filter(|founded| founded.replica == replica || replica == ReplicaId(0));
    let founding = founding.map(|founded| founded.configuration.clone()).unwrap_or_default();
    let generation = Generation(base.generation);
    let in_log = |replica, quarantined, reason| ClosedGroup {
        replica,
        reason,
        quarantined,
        in_log: true,
        generation,
    };
    if let Some(Damage { kind: DamageKind::HardStateLost, file, offset }) = &damage {
        // What it says of its configuration is as doubtful as the rest. Nor may its id be known.
        let replica = match (replica, founded) {
            (ReplicaId(0), Some(founded)) => founded.replica,
            _ => replica,
        };
        let quarantined = has_others(&founding, replica) || others_in(&entries, replica);
        let what =
            format!("{file} is damaged at offset {offset} and records that were durable are lost");
        let closed = in_log(replica, quarantined, reason_of(quarantined, &what, RESTORE));
        close(opened, group, closed);
        return Ok(());
    }
    if let Some(what) = open_store(disk, opened.worker.engine_mut(), group, base)? {
        let quarantined = has_others(&founding, replica) || others_in(&entries, replica);
        let closed = in_log(replica, quarantined, reason_of(quarantined, &what, RESTORE));
        close(opened, group, closed);
        return Ok(());
    }
    let mut lost = Lost::Nothing;
    if let Some(Damage { kind: DamageKind::EntriesLost { first, last }, file, offset }) = &damage {
        // One that cannot be read closes the replica further down.
        let stored = stored_configuration(opened.worker.engine_mut(), group).ok().flatten();
        let others = has_others(stored.as_ref().unwrap_or(&founding), replica)
            || others_in(&entries, replica);
        let what =
            format!("{file} is damaged at offset {offset} and entries {first} to {last} are lost");
        if !others {
            opened.worker.engine_mut().drop_store(group);
            close(opened, group, in_log(replica, false, reason_of(false, &what, RESTORE)));
            return Ok(());
        }
        lost = Lost::Entries(*last);
        // Once a leader had brought them, a flush made that known: then they are lost no more.
        if base.applied.index < *last && hard_state.commit < *last {
            let name = name_of(group);
            let goes_on = "votes for nobody until the others have brought them";
            opened.findings.push(format!("{name} {goes_on}: {what}"));
        }
    }
    start_replica(opened, group, Restoring { replica, hard_state, base, entries, lost, founding })
}

/// What can be done where a group has no other copy.
const RESTORE: &str = "restore the data directory or a backup";

/// Why a group is not served, and what becomes of it.
fn reason_of(quarantined: bool, what: &str, cure: &str) -> String {
    match quarantined {
        true => format!("{what}; its replica is quarantined until it is replaced"),
        false if cure == RESTORE => format!("{what}; {cure}"),
        false => format!("{what}: {cure}"),
    }
}

fn close<W>(opened: &mut Opened<W>, group: GroupId, closed: ClosedGroup) {
    opened.findings.push(format!("{} is closed: {}", name_of(group), closed.reason));
    opened.worker.add_closed_group(group, closed);
}

/// Whether entries name somebody else in a replica's group.
fn others_in(entries: &[Entry], replica: ReplicaId) -> bool {
    let configuration = |entry| Configuration::of_entry(entry).ok().flatten();
    entries.iter().filter_map(configuration).any(|known| has_others(&known, replica))
}

/// Opens a group's store; gives what is wrong with it if it is damaged.
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
        Err(error @ EngineError::Damaged { .. }) => Ok(Some(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Starts a replica over its open store. One whose bytes are none of ours, though their checksums hold, closes its shard.
fn start_replica<W>(
    opened: &mut Opened<W>,
    group: GroupId,
    restoring: Restoring,
) -> Result<(), OpenError> {
    let replica = restoring.replica;
    let generation = Generation(restoring.base.generation);
    let quarantined =
        has_others(&restoring.founding, replica) || others_in(&restoring.entries, replica);
    match opened.worker.start_replica(group, restoring) {
        Ok(()) => Ok(()),
        Err(MachineError::Engine(error)) => Err(error.into()),
        Err(error) => {
            let file = opened.worker.engine_mut().file(group, generation);
            let what = format!("{file}: {error}");
            let reason = reason_of(quarantined, &what, RESTORE);
            let closed = ClosedGroup { replica, reason, quarantined, in_log: true, generation };
            close(opened, group, closed);
            Ok(())
        }
    }
}
