//! All stores of one engine and the snapshots being read, without files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ringfort_types::{Applied, GroupId};

use super::content::Content;
use super::hash::KeyHasher;
use crate::store::{EngineError, Generation, SnapshotId};

/// One group's store.
pub(super) struct Store {
    /// What it holds.
    pub(super) content: Content,
    /// What it held before a snapshot was installed, while snapshots of that are still read.
    retired: Vec<Content>,
    /// Generations that have a file.
    pub(super) files: BTreeSet<Generation>,
}

impl Store {
    fn contents(&mut self) -> impl Iterator<Item = &mut Content> {
        std::iter::once(&mut self.content).chain(&mut self.retired)
    }
}

/// Stores by group, and where each snapshot belongs.
pub(super) struct Stores {
    hasher: Arc<KeyHasher>,
    stores: BTreeMap<GroupId, Store>,
    snapshots: BTreeMap<SnapshotId, GroupId>,
    snapshots_made: u64,
}

impl Stores {
    pub(super) fn new(hasher: KeyHasher) -> Self {
        Self {
            hasher: Arc::new(hasher),
            stores: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            snapshots_made: 0,
        }
    }

    pub(super) fn hasher(&self) -> Arc<KeyHasher> {
        Arc::clone(&self.hasher)
    }

    /// That a group has no store yet.
    pub(super) fn check_vacant(&self, group: GroupId) -> Result<(), EngineError> {
        match self.stores.contains_key(&group) {
            true => Err(EngineError::StoreExists(group)),
            false => Ok(()),
        }
    }

    /// Adds a store; its group has none.
    pub(super) fn add(&mut self, content: Content, file: Option<Generation>) {
        let store = Store { retired: Vec::new(), files: file.into_iter().collect(), content };
        let before = self.stores.insert(store.content.group, store);
        assert!(before.is_none(), "checked to be vacant");
    }

    /// Removes a store with its snapshots.
    pub(super) fn remove(&mut self, group: GroupId) -> Option<Store> {
        self.snapshots.retain(|_, of| *of != group);
        self.stores.remove(&group)
    }

    #[inline]
    pub(super) fn get(&self, group: GroupId) -> Result<&Store, EngineError> {
        self.stores.get(&group).ok_or(EngineError::NoStore(group))
    }

    #[inline]
    pub(super) fn get_mut(&mut self, group: GroupId) -> Result<&mut Store, EngineError> {
        let store = self.stores.get_mut(&group);
        store.ok_or(EngineError::NoStore(group))
    }

    /// Replaces what a store holds. Snapshots of what it held can be read on.
    pub(super) fn replace(&mut self, content: Content) -> Result<(), EngineError> {
        let store = self.get_mut(content.group)?;
        let before = std::mem::replace(&mut store.content, content);
        if !before.views.is_empty() {
            store.retired.push(before);
        }
        Ok(())
    }

    /// Starts a snapshot of a store.
    pub(super) fn snapshot(
        &mut self,
        group: GroupId,
    ) -> Result<(SnapshotId, Applied), EngineError> {
        let id = SnapshotId(self.snapshots_made + 1);
        let store = self.get_mut(group)?;
        store.content.add_view(id);
        let applied = store.content.applied;
        self.snapshots_made = id.0;
        self.snapshots.insert(id, group);
        Ok((id, applied))
    }

    /// The next part of a snapshot.
    pub(super) fn read_snapshot(
        &mut self,
        id: SnapshotId,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, EngineError> {
        let missing = EngineError::NoSnapshot(id);
        let group = *self.snapshots.get(&id).ok_or(missing.clone())?;
        let mut contents = self.get_mut(group)?.contents();
        let content = contents.find(|content| content.views.contains_key(&id));
        Ok(content.ok_or(missing)?.read_view(id, bytes_max))
    }

    /// Ends a snapshot.
    pub(super) fn release_snapshot(&mut self, id: SnapshotId) {
        let Some(group) = self.snapshots.remove(&id) else {
            return;
        };
        let Some(store) = self.stores.get_mut(&group) else {
            return;
        };
        for content in store.contents() {
            content.remove_view(id);
        }
        store.retired.retain(|content| !content.views.is_empty());
    }

    /// Snapshots being read, those of flushes included.
    pub(super) fn snapshots(&self) -> u64 {
        self.snapshots.len() as u64
    }

    /// Records kept for snapshots only.
    pub(super) fn records_superseded(&self) -> u64 {
        let stores = self.stores.values();
        let contents =
            stores.flat_map(|store| std::iter::once(&store.content).chain(&store.retired));
        contents.map(|content| content.history.len()).sum()
    }
}
