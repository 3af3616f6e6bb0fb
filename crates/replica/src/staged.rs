//! Changes of one batch before the engine has them: reads see them, and an atomic command can take its own back.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;
use ringfort_engine::{EngineError, StorageEngine, Value, WriteOperation};
use ringfort_types::GroupId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Room for so many changes is kept from one batch to the next.
const OPERATIONS_KEPT_MAX: usize = 16;

/// The changes so far, each key once.
#[derive(Debug)]
pub(crate) struct Staged {
    operations: Vec<WriteOperation>,
    positions: HashMap<Bytes, usize, KeyHashing>,
    /// How many changes there were at the open savepoint, if one is open.
    savepoint: Option<usize>,
    /// What stood before the open savepoint and was replaced since.
    replaced: Vec<(usize, WriteOperation)>,
}

/// What a key holds.
#[derive(Clone, Debug)]
pub(crate) enum Stored<'a> {
    /// Staged, in its two parts.
    Staged(&'a Bytes, &'a Bytes),
    /// In the engine, as one.
    Engine(Value<'a>),
}

impl Stored<'_> {
    /// The first part, or all of it.
    pub(crate) fn head(&self) -> &[u8] {
        match self {
            Self::Staged(head, _) => head,
            Self::Engine(value) => value,
        }
    }

    /// How many bytes stand behind the first `head_len`.
    pub(crate) fn body_len(&self, head_len: usize) -> usize {
        match self {
            Self::Staged(_, body) => body.len(),
            Self::Engine(value) => value.len() - head_len,
        }
    }

    /// What stands behind the first `head_len` bytes.
    pub(crate) fn body(&self, head_len: usize) -> Bytes {
        match self {
            Self::Staged(_, body) => (*body).clone(),
            Self::Engine(value) => Bytes::copy_from_slice(&value[head_len..]),
        }
    }
}

/// Hashes keys with a seed that clients do not know. Only look-ups use it: no order comes of it.
#[derive(Clone, Copy, Debug)]
struct KeyHashing(u64);

#[derive(Debug)]
struct KeyHasher(u64);

impl BuildHasher for KeyHashing {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.0)
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_usize(&mut self, _length: usize) {
        // The length that stands before a slice: the hash of the slice covers it.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Staged {
    /// No changes. `hash_seed` is any number that clients do not know.
    pub(crate) fn new(hash_seed: u64) -> Self {
        let positions = HashMap::with_hasher(KeyHashing(hash_seed));
        Self { operations: Vec::new(), positions, savepoint: None, replaced: Vec::new() }
    }

    /// Whether there is no change.
    pub(crate) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Sets a key.
    pub(crate) fn put(&mut self, key: Bytes, head: Bytes, body: Bytes) {
        self.stage(WriteOperation::Put { key, head, body });
    }

    /// Removes a key.
    pub(crate) fn delete(&mut self, key: Bytes) {
        self.stage(WriteOperation::Delete { key });
    }

    /// What a key holds, staged changes included.
    pub(crate) fn get<'a>(
        &'a self,
        engine: &'a dyn StorageEngine,
        group: GroupId,
        key: &[u8],
    ) -> Result<Option<Stored<'a>>, EngineError> {
        if let Some(position) = self.positions.get(key) {
            return Ok(match &self.operations[*position] {
                WriteOperation::Put { head, body, .. } => Some(Stored::Staged(head, body)),
                WriteOperation::Delete { .. } => None,
            });
        }
        Ok(engine.get(group, key)?.map(Stored::Engine))
    }

    /// Opens a savepoint; there is none open.
    pub(crate) fn open_savepoint(&mut self) {
        self.savepoint = Some(self.operations.len());
    }

    /// Closes the savepoint: what was staged since stays.
    pub(crate) fn close_savepoint(&mut self) {
        self.savepoint = None;
        self.replaced.clear();
    }

    /// Takes back what was staged since the savepoint, and closes it.
    pub(crate) fn rollback(&mut self) {
        let Some(savepoint) = self.savepoint.take() else { return };
        for operation in self.operations.drain(savepoint..) {
            self.positions.remove(key_of(&operation));
        }
        for (position, operation) in self.replaced.drain(..).rev() {
            self.operations[position] = operation;
        }
    }

    /// The changes, to be written.
    pub(crate) fn take(&mut self) -> Vec<WriteOperation> {
        self.positions.clear();
        self.replaced.clear();
        std::mem::take(&mut self.operations)
    }

    /// Takes back, for the next batch, what [`Staged::take`] gave.
    pub(crate) fn give_back(&mut self, mut operations: Vec<WriteOperation>) {
        operations.clear();
        operations.shrink_to(OPERATIONS_KEPT_MAX);
        self.operations = operations;
    }

    fn stage(&mut self, operation: WriteOperation) {
        let next = self.operations.len();
        let position = *self.positions.entry(key_of(&operation).clone()).or_insert(next);
        match self.operations.get_mut(position) {
            Some(slot) => {
                let old = std::mem::replace(slot, operation);
                if self.savepoint.is_some_and(|savepoint| position < savepoint) {
                    self.replaced.push((position, old));
                }
            }
            None => self.operations.push(operation),
        }
    }
}

fn key_of(operation: &WriteOperation) -> &Bytes {
    match operation {
        WriteOperation::Put { key, .. } | WriteOperation::Delete { key } => key,
    }
}
