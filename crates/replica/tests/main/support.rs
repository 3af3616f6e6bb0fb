//! A machine whose entries are made and applied by hand.

use bytes::Bytes;
use ringfort_engine::{MemoryEngine, MemoryOptions, StorageEngine};
use ringfort_raft::Configuration;
use ringfort_replica::command::{CommandIdentity, POSITION_SINGLE, PayloadBuilder};
use ringfort_replica::{Answer, Applying, Effect, Machine, Reply};
use ringfort_types::ReplicaId;
use ringfort_types::request::{Condition, Done, Operation};
use ringfort_types::{
    Applied, Entry, FeatureLevel, GroupId, Index, Key, NamespaceId, ShardTime, Term, Version,
};

pub(crate) const GROUP: GroupId = GroupId(1);

pub(crate) struct Bench {
    pub(crate) engine: MemoryEngine,
    pub(crate) machine: Machine,
    pub(crate) now: ShardTime,
    pub(crate) effects: Vec<Effect>,
    pub(crate) index: u64,
}

pub(crate) fn engine() -> MemoryEngine {
    let mut engine = MemoryEngine::new(MemoryOptions { hash_seed: 1 });
    engine.create(GROUP).unwrap();
    engine
}

/// The machine of a group of one over its store.
pub(crate) fn machine(engine: &MemoryEngine, hash_seed: u64) -> Machine {
    let founding = Configuration::founding([ReplicaId(1)]);
    Machine::open(engine, GROUP, founding, FeatureLevel::NEWEST, hash_seed).unwrap()
}

impl Bench {
    pub(crate) fn new() -> Self {
        let engine = engine();
        let machine = machine(&engine, 1);
        Self { engine, machine, now: ShardTime(1000), effects: Vec::new(), index: 0 }
    }

    /// Applies one entry with everything that `fill` puts into it.
    pub(crate) fn entry(&mut self, fill: impl FnOnce(&mut PayloadBuilder)) -> Vec<Answer> {
        let mut payload = PayloadBuilder::new();
        fill(&mut payload);
        self.index += 1;
        let entry = Entry {
            term: Term(1),
            index: Index(self.index),
            payload: payload.finish(self.now, FeatureLevel::NEWEST),
        };
        let mut out = Applying { effects: Some(Vec::new()), ..Applying::default() };
        self.machine.apply(&mut self.engine, &[entry], &mut out).unwrap();
        let position = Applied { index: Index(self.index), term: Term(1) };
        assert_eq!(self.engine.applied(GROUP).unwrap(), position);
        self.effects.extend(out.effects.take().unwrap());
        assert_eq!(out.entries, [(position, out.answers.len())]);
        out.answers
    }

    /// Applies one command.
    pub(crate) fn command(
        &mut self,
        identity: &CommandIdentity,
        atomic: bool,
        operations: &[Operation],
    ) -> Answer {
        let mut answers = self.entry(|payload| {
            payload.operations(NamespaceId::default(), identity, atomic, operations);
        });
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    /// Applies one operation without identity.
    pub(crate) fn run(&mut self, operation: Operation) -> Reply {
        self.command(&CommandIdentity::None, false, &[operation]).reply
    }

    pub(crate) fn value(&mut self, key: &str) -> Option<(Version, Bytes)> {
        match self.run(Operation::Get { key: self::key(key) }) {
            Reply::Done(Done::Got(found)) => found.map(|found| (found.version, found.value)),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

pub(crate) fn put(name: &str, value: &str) -> Operation {
    put_if(name, value, Condition::Always)
}

pub(crate) fn put_if(name: &str, value: &str, condition: Condition) -> Operation {
    Operation::Put { key: key(name), value: Bytes::from(value.to_owned()), ttl: None, condition }
}

pub(crate) fn delete(name: &str) -> Operation {
    Operation::Delete { key: key(name), condition: Condition::Always }
}

pub(crate) fn get(name: &str) -> Operation {
    Operation::Get { key: key(name) }
}

pub(crate) fn idempotent(name: &'static str) -> CommandIdentity {
    CommandIdentity::Key {
        principal: Bytes::from_static(b"ann"),
        key: Bytes::from_static(name.as_bytes()),
        position: POSITION_SINGLE,
    }
}

pub(crate) fn done_put(version: u64) -> Reply {
    Reply::Done(Done::Put(Version(version)))
}
