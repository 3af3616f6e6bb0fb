//! Where nodes are: what each says of itself, until the catalog says the same.
//!
//! ```text
//!   a node's own configuration ─▶ its gossip ─▶ every other node: dialled there from now on
//!                                                  └─ the catalog's leader: dials the address of the record
//!                                                       ├─ another start of the node answers ─▶ nothing
//!                                                       └─ nobody does, for a while ──────────▶ proposes the node's record
//! ```
//!
//! A node is its id and its data directory, and may come back anywhere: it reaches the others, and tells them. A node's word
//! of itself is newer than the record that stood when it was heard, and gives way to a newer one.
//!
//! The start that answers where the record says is the node, and one that says otherwise then runs on a copy of its data
//! directory. A node that was killed is given time to start again there: the record is what decides between the two.
//!
//! Left out on purpose: words of a node about third ones. Of several nodes that move at once, those that kept their place have to
//! be enough for a leader of the catalog.

use std::collections::BTreeMap;
use std::time::Duration;

use ringfort_types::{BootId, Monotonic, NodeNumber, Version};

use super::catalog::{CatalogCopy, NodeRecord, RecordKey, RecordValue};
use super::duties::Update;
use super::map::ClusterMap;
use super::record::TEXT_BYTES_MAX;

/// Between two dials of the address of a record.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A node has moved when nobody has answered at its recorded address for so long: longer than what watches over processes takes
/// to start one again. Nothing waits for it but the record: nodes dial a node where it says it is.
const MOVED_AFTER: Duration = Duration::from_secs(10);

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
    nodes: BTreeMap<NodeNumber, Said>,
}

/// What a node says.
#[derive(Clone, Debug)]
struct Said {
    /// Of the record that it is newer than.
    version: Version,
    addresses: Addresses,
    /// Which start of it says so.
    boot: BootId,
    /// When the address of the record was dialled last.
    asked: Option<Monotonic>,
    /// Since when nobody answers there.
    nobody_since: Option<Monotonic>,
    /// No other start of the node is where the record says.
    may_be_written: bool,
}

impl Moved {
    /// Notes what a start of a node says. Gives whether that is news.
    pub(super) fn hear(
        &mut self,
        node: NodeNumber,
        boot: BootId,
        addresses: Addresses,
        copy: &CatalogCopy,
    ) -> bool {
        let Some((version, record)) = node_record(copy, node) else { return false };
        if !says_otherwise(record, &addresses) {
            return self.nodes.remove(&node).is_some();
        }
        match self.nodes.get_mut(&node) {
            Some(said) if (said.version, &said.addresses) == (version, &addresses) => {
                let is_other = std::mem::replace(&mut said.boot, boot) != boot;
                said.may_be_written &= !is_other;
                false
            }
            _ => {
                let (asked, nobody_since, may_be_written) = (None, None, false);
                let said = Said { version, addresses, boot, asked, nobody_since, may_be_written };
                self.nodes.insert(node, said);
                true
            }
        }
    }

    /// Whom the catalog's leader has to ask now, at the address of the record.
    pub(super) fn asks(&mut self, now: Monotonic, copy: &CatalogCopy) -> Vec<(NodeNumber, String)> {
        let ask = |(node, said): (&NodeNumber, &mut Said)| {
            let (_, record) = node_record(copy, *node)?;
            if said.asked.is_some_and(|at| now.since(at) < ASK_EVERY) {
                return None;
            }
            said.asked = Some(now);
            Some((*node, record.info.peer.clone()))
        };
        self.nodes.iter_mut().filter_map(ask).collect()
    }

    /// Which start of a node answers at an address, the one of its record.
    pub(super) fn handle_answer(
        &mut self,
        now: Monotonic,
        node: NodeNumber,
        address: &str,
        answers: Option<BootId>,
        copy: &CatalogCopy,
    ) {
        let stands = node_record(copy, node).is_some_and(|(_, record)| record.info.peer == address);
        let Some(said) = self.nodes.get_mut(&node).filter(|_| stands) else { return };
        match answers {
            Some(boot) => {
                said.nobody_since = None;
                said.may_be_written = boot == said.boot;
            }
            None => {
                let since = *said.nobody_since.get_or_insert(now);
                said.may_be_written = now.since(since) >= MOVED_AFTER;
            }
        }
    }

    /// Who was asked before says nothing any more: another node led the catalog, or will.
    pub(super) fn forget_answers(&mut self) {
        for said in self.nodes.values_mut() {
            (said.asked, said.nobody_since, said.may_be_written) = (None, None, false);
        }
    }

    /// Records are newer: what nodes said before gives way.
    pub(super) fn handle_records(&mut self, copy: &CatalogCopy) {
        let stands = |node: &NodeNumber, version: Version| {
            node_record(copy, *node).is_some_and(|(now, _)| now == version)
        };
        self.nodes.retain(|node, said| stands(node, said.version));
    }

    /// The map with what nodes say of themselves.
    pub(super) fn apply(&self, map: ClusterMap) -> ClusterMap {
        let moved = self.nodes.iter();
        moved.fold(map, |map, (node, said)| map.with_addresses(*node, &said.addresses))
    }

    /// What the catalog's leader has to write.
    pub(super) fn updates(&self, copy: &CatalogCopy) -> Vec<Update> {
        let update = |(node, said): (&NodeNumber, &Said)| {
            let (_, record) = node_record(copy, *node).filter(|_| said.may_be_written)?;
            let mut record = record.clone();
            record.info.peer.clone_from(&said.addresses.peer);
            record.info.client.clone_from(&said.addresses.client);
            let (key, value) = (RecordKey::Node(*node), RecordValue::Node(record));
            Some(Update { key, version: said.version, value })
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
