//! Where nodes are: what each says of itself, until the catalog says the same.
//!
//! ```text
//!   a node's own configuration ─▶ its gossip ─▶ every other node: dialled there from now on
//!                                                  └─ the catalog's leader: proposes the node's record
//! ```
//!
//! A node is its id and its data directory, and may come back anywhere: it reaches the others, and tells them. A node's word
//! of itself is newer than the record that stood when it was heard, and gives way to a newer one.
//!
//! Left out on purpose: words of a node about third ones. Of several nodes that move at once, those that kept their place have to
//! be enough for a leader of the catalog.

use std::collections::BTreeMap;

use ringfort_types::{NodeNumber, Version};

use super::catalog::{CatalogCopy, NodeRecord, RecordKey, RecordValue};
use super::duties::Update;
use super::map::ClusterMap;
use super::record::TEXT_BYTES_MAX;

/// Where a node is reached, as `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// By other nodes.
    pub peer: String,
    /// By clients.
    pub client: String,
}

impl Addresses {
    /// Addresses that came from outside; `None` where the first is missing, or one is too long.
    #[must_use]
    pub fn parse(peer: String, client: String) -> Option<Self> {
        let fit = !peer.is_empty() && peer.len().max(client.len()) <= TEXT_BYTES_MAX;
        fit.then_some(Self { peer, client })
    }
}

/// What nodes say of themselves that their records do not say.
#[derive(Clone, Debug, Default)]
pub(super) struct Moved {
    /// With the version of the record that it is newer than.
    nodes: BTreeMap<NodeNumber, (Version, Addresses)>,
}

impl Moved {
    /// Notes what a node says. Gives whether that is news.
    pub(super) fn hear(
        &mut self,
        node: NodeNumber,
        addresses: Addresses,
        copy: &CatalogCopy,
    ) -> bool {
        let Some((version, record)) = node_record(copy, node) else { return false };
        let said = says_otherwise(record, &addresses).then_some((version, addresses));
        if self.nodes.get(&node) == said.as_ref() {
            return false;
        }
        match said {
            Some(said) => self.nodes.insert(node, said),
            None => self.nodes.remove(&node),
        };
        true
    }

    /// Records are newer: what nodes said before gives way.
    pub(super) fn handle_records(&mut self, copy: &CatalogCopy) {
        let stands = |node: &NodeNumber, version: Version| {
            node_record(copy, *node).is_some_and(|(now, _)| now == version)
        };
        self.nodes.retain(|node, (version, _)| stands(node, *version));
    }

    /// The map with what nodes say of themselves.
    pub(super) fn apply(&self, map: ClusterMap) -> ClusterMap {
        let moved = self.nodes.iter();
        moved.fold(map, |map, (node, (_, addresses))| map.with_addresses(*node, addresses))
    }

    /// What the catalog's leader has to write.
    pub(super) fn updates(&self, copy: &CatalogCopy) -> Vec<Update> {
        let update = |(node, (version, addresses)): (&NodeNumber, &(Version, Addresses))| {
            let (_, record) = node_record(copy, *node)?;
            let mut record = record.clone();
            record.info.peer.clone_from(&addresses.peer);
            record.info.client.clone_from(&addresses.client);
            let (key, value) = (RecordKey::Node(*node), RecordValue::Node(record));
            Some(Update { key, version: *version, value })
        };
        self.nodes.iter().filter_map(update).collect()
    }
}

fn says_otherwise(record: &NodeRecord, addresses: &Addresses) -> bool {
    (&record.info.peer, &record.info.client) != (&addresses.peer, &addresses.client)
}

fn node_record(copy: &CatalogCopy, node: NodeNumber) -> Option<(Version, &NodeRecord)> {
    match copy.get(RecordKey::Node(node))? {
        (version, RecordValue::Node(record)) => Some((version, record)),
        _ => None,
    }
}
