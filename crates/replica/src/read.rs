//! Reads of what is applied: single keys and ordered listings.

use bytes::Bytes;
use ringfort_engine::{Range, ScanControl, StorageEngine, Value};
use ringfort_types::request::{Found, Item};
use ringfort_types::{GroupId, Key, NamespaceId, ShardTime, Version};

use crate::layout::{self, DATA_PREFIX_BYTES, Head};
use crate::machine::MachineError;

/// What a read of one key found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The key, or that it is absent.
    Found(Option<Found>),
    /// The key is due: it has to be expired through the log before a linearizable read is answered.
    Due(Bytes, Version),
}

/// Reads one key at a shard time.
pub(crate) fn get(
    engine: &dyn StorageEngine,
    group: GroupId,
    namespace: NamespaceId,
    key: &Key,
    now: ShardTime,
) -> Result<Reading, MachineError> {
    let data_key = short_data_key(namespace, key.as_bytes());
    let Some(stored) = engine.get(group, data_key.as_slice())? else {
        return Ok(Reading::Found(None));
    };
    let (head, len) = Head::decode(&stored).ok_or(MachineError::Malformed("value"))?;
    if head.due.is_some_and(|due| due <= now) {
        return Ok(Reading::Due(layout::data_key(namespace, key.as_bytes()), head.version));
    }
    Ok(Reading::Found(Some(found(&head, stored, len, now))))
}

/// Reads one key as it is applied, whether or not it is due.
pub(crate) fn get_applied(
    engine: &dyn StorageEngine,
    group: GroupId,
    namespace: NamespaceId,
    key: &Key,
    now: ShardTime,
) -> Result<Option<Found>, MachineError> {
    let data_key = short_data_key(namespace, key.as_bytes());
    let Some(stored) = engine.get(group, data_key.as_slice())? else { return Ok(None) };
    let (head, len) = Head::decode(&stored).ok_or(MachineError::Malformed("value"))?;
    Ok(Some(found(&head, stored, len, now)))
}

fn found(head: &Head, stored: Value<'_>, len: usize, now: ShardTime) -> Found {
    let value = match stored {
        Value::Borrowed(bytes) => Bytes::copy_from_slice(&bytes[len..]),
        Value::Shared(bytes) => bytes.slice(len..),
    };
    let ttl_ms = head.due.map(|due| due.millis_since(now));
    Found { version: head.version, value, ttl_ms }
}

/// A data key on the stack where it is short, so that a read allocates only for its answer.
enum ShortKey {
    Inline([u8; 128], usize),
    Heap(Bytes),
}

impl ShortKey {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline(bytes, len) => &bytes[..*len],
            Self::Heap(bytes) => bytes,
        }
    }
}

fn short_data_key(namespace: NamespaceId, key: &[u8]) -> ShortKey {
    let len = DATA_PREFIX_BYTES + key.len();
    let mut inline = [0; 128];
    match inline.get_mut(..len) {
        Some(mut out) => {
            layout::put_data_key(&mut out, namespace, key);
            ShortKey::Inline(inline, len)
        }
        None => ShortKey::Heap(layout::data_key(namespace, key)),
    }
}

/// What one shard is asked for a listing.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// The namespace.
    pub namespace: NamespaceId,
    /// Only keys that begin so.
    pub prefix: Bytes,
    /// Smallest key, inclusive; empty for the first.
    pub start: Bytes,
    /// End, exclusive.
    pub end: Option<Bytes>,
    /// Only keys greater than this.
    pub after: Option<Key>,
    /// Most items, at least 1.
    pub limit: usize,
    /// No further item once the keys have this many bytes.
    pub key_bytes_max: usize,
}

/// What one shard gives for a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Items in byte order of their keys, without their values.
    pub items: Vec<Item>,
    /// The earliest end of an item's time to live.
    pub first_due: Option<ShardTime>,
    /// There may be more behind this key; `None`: that was all.
    pub behind: Option<Key>,
}

/// Lists keys of a shard in byte order at a shard time, without their values: whoever merges shards asks for those that
/// it takes. No clock is compared: keys that are due are there until an entry removes them, and a linearizable listing waits
/// for that.
///
/// # Errors
/// The engine failed.
pub fn list(
    engine: &dyn StorageEngine,
    group: GroupId,
    query: &ListQuery,
    now: ShardTime,
) -> Result<Listed, MachineError> {
    let (start, end) = bounds(query);
    let mut listed = Listed::default();
    let mut key_bytes = 0;
    let mut malformed = false;
    engine.scan(group, Range { start: &start, end: Some(&end) }, &mut |data_key, stored| {
        let parsed = Key::new(Bytes::copy_from_slice(&data_key[DATA_PREFIX_BYTES..]))
            .ok()
            .zip(Head::decode(stored));
        let Some((key, (head, _))) = parsed else {
            malformed = true;
            return ScanControl::Stop;
        };
        key_bytes += key.as_bytes().len();
        let ttl_ms = head.due.map(|due| due.millis_since(now));
        listed.first_due = listed.first_due.into_iter().chain(head.due).min();
        let item = Item { key: key.clone(), version: head.version, value: Bytes::new(), ttl_ms };
        listed.items.push(item);
        if listed.items.len() < query.limit && key_bytes < query.key_bytes_max {
            return ScanControl::Continue;
        }
        listed.behind = Some(key);
        ScanControl::Stop
    })?;
    if malformed { Err(MachineError::Malformed("record")) } else { Ok(listed) }
}

/// First data key, inclusive, and end, exclusive, of a query.
fn bounds(query: &ListQuery) -> (Bytes, Bytes) {
    let data = |key: &[u8]| layout::data_key(query.namespace, key);
    let mut start = data(&query.start).max(data(&query.prefix));
    if let Some(after) = &query.after {
        // The next key in byte order is the same with a zero byte behind it.
        start = start.max(data(&[after.as_bytes(), &[0]].concat()));
    }
    let mut end = layout::data_end_of_prefix(query.namespace, &query.prefix);
    if let Some(bound) = &query.end {
        end = end.min(data(bound));
    }
    (start, end)
}
