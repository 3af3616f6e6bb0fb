//! Verbs of storage, and of ends and starts.

use ringfort_raft::Lost;
use ringfort_sim::group::Crash;
use ringfort_types::{Index, ReplicaId};

use super::args::{Args, Failure};
use super::show;
use super::world::World;

impl World {
    /// `persist 1`, `persist 1 2`, `persist 1 all`: the oldest writes are durable; the replica is not told.
    pub(super) fn persist(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        for _ in 0..self.count(id, args, |world| waiting(world, id))? {
            if !self.cluster.sync(id) {
                return Err("nothing becomes durable".into());
            }
            let written = self.cluster.nodes[&id].disk.unreported.back().map_or(0, |id| id.0);
            self.tell(format!("{id} has write {written} on its disk"));
        }
        Ok(())
    }

    /// `ack-persist 1`, `ack-persist 1 2`, `ack-persist 1 all`: the replica is told of the oldest durable writes.
    pub(super) fn ack_persist(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        let unreported = |world: &Self| {
            world.cluster.nodes.get(&id).map_or(0, |node| node.disk.unreported.len() as u64)
        };
        for _ in 0..self.count(id, args, unreported)? {
            if !self.cluster.report(id) {
                return Err("nothing is to be told".into());
            }
            self.after(id)?;
        }
        Ok(())
    }

    /// `apply 1`, `apply 1 2`, `apply 1 all`: the replica applies what was handed out.
    pub(super) fn apply_some(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        let to_apply = |world: &Self| {
            world.cluster.nodes.get(&id).map_or(0, |node| node.to_apply.len() as u64)
        };
        let count = self.count(id, args, to_apply)?;
        if self.apply(id, count) < count {
            return Err("nothing is to be applied".into());
        }
        self.after(id)
    }

    fn count(
        &self,
        id: ReplicaId,
        args: &mut Args,
        all: impl Fn(&Self) -> u64,
    ) -> Result<u64, Failure> {
        if !self.cluster.nodes.contains_key(&id) {
            return Err(format!("there is no replica {id}").into());
        }
        match args.word().as_deref() {
            None => Ok(1),
            Some("all") => Ok(all(self)),
            Some(number) => Ok(number.parse()?),
        }
    }

    /// `stall-disk 1`, `stall-disk 1 off`: writes of the replica stay where they are.
    pub(super) fn stall_disk(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        let stalled = !args.take_word("off");
        self.cluster
            .with(id, |node, _| node.stalled = stalled)
            .ok_or("there is no such replica")?;
        self.after(id)
    }

    /// `crash 1 process`; `crash 1 power whole=1 torn=2`: of what was not synced, so many writes and so many entries of the
    /// next one are on the disk.
    pub(super) fn crash(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        let crash = match args.word().as_deref() {
            Some("process") => Crash::Process,
            Some("power") => Crash::Power {
                whole: args.number("whole")?.unwrap_or(0),
                torn_entries: args.number("torn")?.unwrap_or(0),
            },
            _ => return Err("process or power?".into()),
        };
        self.cluster.crash(id, crash);
        Ok(())
    }

    /// `restart 1`: starts the replica from its disk. `lost=5`: the host says that entries up to there may be missing;
    /// `lost=hard-state`: that term and vote are.
    pub(super) fn restart(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        let lost = match args.key("lost").as_deref() {
            None => Lost::Nothing,
            Some("hard-state") => Lost::HardState,
            Some(index) => Lost::Entries(Index(index.parse()?)),
        };
        let runs = self.cluster.with(id, |node, _| {
            node.disk.lost = lost;
            node.group.is_some()
        });
        match runs {
            Some(false) => {}
            Some(true) => return Err("it runs already".into()),
            None => return Err("there is no such replica".into()),
        }
        self.cluster.restart(id);
        self.note_start(id);
        let last = self.last(id);
        let group = self.cluster.nodes[&id].group.as_ref().ok_or("it does not start")?;
        let line = show::status(id, &group.status(), last);
        self.tell(format!("{line} (started)"));
        self.after(id)
    }

    /// `lose 3 after=1`: the disk of a replica that is down says that it synced entries behind there, and did not.
    pub(super) fn lose_entries(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        let after = args.index_of("after")?.ok_or("behind which index?")?;
        let node = self.cluster.nodes.get_mut(&id).ok_or("there is no such replica")?;
        if node.group.is_some() || node.disk.last().index <= after {
            return Err("it runs, or has nothing to lose".into());
        }
        node.disk.entries.retain(|entry| entry.index <= after);
        let last = node.disk.last();
        self.tell(format!("{id} has {last} on its disk"));
        Ok(())
    }

    /// `wipe 1`: the replica ends and its disk is gone.
    pub(super) fn wipe(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        self.cluster.wipe(id);
        Ok(())
    }

    /// `compact 1`: what is applied becomes durable as state, and the log may forget it.
    pub(super) fn compact(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        let done = self.cluster.with(id, |node, _| node.compact()).unwrap_or(false);
        if !done {
            return Err("there is nothing to compact".into());
        }
        let node = &self.cluster.nodes[&id];
        let group = node.group.as_ref().ok_or("it does not run")?;
        let first = group.entries_from(Index(1)).first().map(|entry| entry.index);
        let kept = first.map_or_else(|| "nothing".to_owned(), |first| format!("{first} on"));
        self.tell(format!("{id} keeps {kept}, state at {}", node.disk.machine.applied));
        self.after(id)
    }

    /// `snapshot 1`: the host does the next of what is to be done about snapshots.
    pub(super) fn snapshot(&mut self, args: &mut Args) -> Result<(), Failure> {
        let id = args.id()?;
        if !self.snapshot_one(id) {
            return Err("nothing is to be done about snapshots".into());
        }
        self.after(id)
    }
}

fn waiting(world: &World, id: ReplicaId) -> u64 {
    world.cluster.nodes.get(&id).map_or(0, |node| node.disk.written.len() as u64)
}
