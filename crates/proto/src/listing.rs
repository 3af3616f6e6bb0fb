//! Listings and their pages.

use ringfort_types::ShardId;
use ringfort_types::limits::{LIST_LIMIT_MAX, SHARDS_MAX};
use ringfort_types::request::{Consistency, Item, List, Page};

use crate::error::{DecodeError, key};
use crate::peer;
use crate::request::consistency;

pub(crate) fn list_to_wire(list: List, shards: &[ShardId]) -> peer::List {
    peer::List {
        prefix: list.prefix,
        start: list.start,
        end: list.end,
        after: list.after.map(|key| key.to_bytes()).unwrap_or_default(),
        limit: u32::try_from(list.limit).unwrap_or(u32::MAX),
        bytes_max: list.bytes_max as u64,
        keys_only: list.keys_only,
        stale: list.consistency == Consistency::Stale,
        shards: shards_to_wire(shards),
    }
}

pub(crate) fn list_of_wire(wire: peer::List) -> Result<List, DecodeError> {
    let limit = usize::try_from(wire.limit).unwrap_or(usize::MAX);
    if !(1..=LIST_LIMIT_MAX).contains(&limit) {
        return Err(DecodeError::invalid("list.limit", "is 0, or more than a page may have"));
    }
    let after = (!wire.after.is_empty()).then(|| key("list.after", wire.after)).transpose()?;
    Ok(List {
        prefix: wire.prefix,
        start: wire.start,
        end: wire.end,
        after,
        limit,
        bytes_max: usize::try_from(wire.bytes_max).unwrap_or(usize::MAX),
        keys_only: wire.keys_only,
        consistency: consistency(wire.stale),
    })
}

pub(crate) fn page_to_wire(page: Page, shards: &[ShardId]) -> peer::Page {
    let item = |item: Item| peer::Item {
        key: item.key.to_bytes(),
        version: item.version.0,
        value: item.value,
        ttl_ms: item.ttl_ms,
    };
    peer::Page {
        items: page.items.into_iter().map(item).collect(),
        more: page.more,
        staleness_ms: page.staleness_ms,
        shards: shards_to_wire(shards),
    }
}

pub(crate) fn page_of_wire(wire: peer::Page) -> Result<(Page, Vec<ShardId>), DecodeError> {
    if wire.items.len() > LIST_LIMIT_MAX {
        return Err(DecodeError::invalid("page.items", "are more than a page may have"));
    }
    let item = |wire: peer::Item| {
        Ok(Item {
            key: key("page.items.key", wire.key)?,
            version: ringfort_types::Version(wire.version),
            value: wire.value,
            ttl_ms: wire.ttl_ms,
        })
    };
    let page = Page {
        items: wire.items.into_iter().map(item).collect::<Result<_, DecodeError>>()?,
        more: wire.more,
        staleness_ms: wire.staleness_ms,
    };
    Ok((page, shards_of_wire("page.shards", wire.shards)?))
}

fn shards_to_wire(shards: &[ShardId]) -> Vec<u32> {
    shards.iter().map(|shard| shard.0).collect()
}

pub(crate) fn shards_of_wire(
    field: &'static str,
    wire: Vec<u32>,
) -> Result<Vec<ShardId>, DecodeError> {
    if wire.len() > SHARDS_MAX as usize {
        return Err(DecodeError::invalid(field, "are more than a cluster may have"));
    }
    if wire.iter().any(|shard| *shard >= SHARDS_MAX) {
        return Err(DecodeError::invalid(field, "are beyond those that a cluster may have"));
    }
    Ok(wire.into_iter().map(ShardId).collect())
}
