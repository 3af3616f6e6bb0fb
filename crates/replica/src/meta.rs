//! The counters of a shard's state, and the clock that a replica keeps for it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ringfort_types::ShardTime;
use ringfort_types::limits::VERSION_MAX;

const FORMAT: u8 = 1;

/// Counters that are part of the replicated state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Raised by each write; a key's version is the revision at its write.
    pub(crate) revision: u64,
    /// The newest stamp applied.
    pub(crate) time: ShardTime,
    /// Bytes of remembered answers and sessions.
    pub(crate) retry_bytes: u64,
    /// Keys that exist.
    pub(crate) keys: u64,
    /// Bytes of those keys and their values.
    pub(crate) bytes: u64,
}

const BYTES: usize = 41;

impl Meta {
    pub(crate) fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(BYTES);
        out.put_u8(FORMAT);
        out.put_u64_le(self.revision);
        out.put_u64_le(self.time.0);
        out.put_u64_le(self.retry_bytes);
        out.put_u64_le(self.keys);
        out.put_u64_le(self.bytes);
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() != BYTES || bytes.get_u8() != FORMAT {
            return None;
        }
        let meta = Self {
            revision: bytes.get_u64_le(),
            time: ShardTime(bytes.get_u64_le()),
            retry_bytes: bytes.get_u64_le(),
            keys: bytes.get_u64_le(),
            bytes: bytes.get_u64_le(),
        };
        (meta.revision <= VERSION_MAX).then_some(meta)
    }
}
