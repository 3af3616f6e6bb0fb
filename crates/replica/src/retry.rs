//! What a retry is answered from: the bytes of remembered answers and of sessions.
//!
//! ```text
//! remembered   fingerprint(16)  answer
//! session      lowest open(8)  due(8)
//! answer       01 put version(8)               05 precondition failed: current(8) operation(2), ffff: none
//!              02 deleted, was absent          06 all: count(2) answer…
//!              03 deleted version(8)           07 got, absent
//!              08 part of an atomic batch, which is remembered under its first operation
//!              04 got: version(8) ttl(8) length(4) value     ttl: ms + 1, 0 for none
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ringfort_types::request::{Done, Found};
use ringfort_types::{ShardTime, Version};

use crate::machine::Reply;

/// Stands for no position: the command was no atomic batch.
const NO_OPERATION: u16 = u16::MAX;

/// A session as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Answers below are forgotten; sequences below are refused.
    pub(crate) lowest_open: u64,
    /// Forgotten when shard time reaches it.
    pub(crate) due: ShardTime,
}

impl Session {
    pub(crate) const BYTES: usize = 16;

    pub(crate) fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(Self::BYTES);
        out.put_u64_le(self.lowest_open);
        out.put_u64_le(self.due.0);
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        (bytes.len() == Self::BYTES)
            .then(|| Self { lowest_open: bytes.get_u64_le(), due: ShardTime(bytes.get_u64_le()) })
    }
}

/// The bytes under which a reply is remembered; `None` for refusals, which are not.
pub(crate) fn encode_remembered(fingerprint: u128, reply: &Reply) -> Option<Bytes> {
    let mut out = BytesMut::with_capacity(32);
    out.put_u128_le(fingerprint);
    match reply {
        Reply::Done(done) => put_done(&mut out, done),
        Reply::All(all) => {
            out.put_u8(6);
            out.put_u16_le(u16::try_from(all.len()).ok()?);
            for done in all {
                put_done(&mut out, done);
            }
        }
        Reply::PreconditionFailed { current, operation } => {
            out.put_u8(5);
            out.put_u64_le(current.0);
            let operation = operation.map_or(Some(NO_OPERATION), |at| u16::try_from(at).ok());
            out.put_u16_le(operation?);
        }
        Reply::TooLarge
        | Reply::Mismatch
        | Reply::SessionExpired
        | Reply::SessionFull
        | Reply::SessionOpened(_)
        | Reply::Expired => {
            return None;
        }
    }
    Some(out.freeze())
}

/// The bytes that take the scope of a later operation of an atomic batch.
pub(crate) fn encode_part(fingerprint: u128) -> Bytes {
    let mut out = BytesMut::with_capacity(17);
    out.put_u128_le(fingerprint);
    out.put_u8(8);
    out.freeze()
}

fn put_done(out: &mut BytesMut, done: &Done) {
    match done {
        Done::Put(version) => {
            out.put_u8(1);
            out.put_u64_le(version.0);
        }
        Done::Deleted(None) => out.put_u8(2),
        Done::Deleted(Some(version)) => {
            out.put_u8(3);
            out.put_u64_le(version.0);
        }
        Done::Got(None) => out.put_u8(7),
        Done::Got(Some(found)) => {
            out.put_u8(4);
            out.put_u64_le(found.version.0);
            out.put_u64_le(found.ttl_ms.map_or(0, |ms| ms + 1));
            // Values are bounded far below 4 GiB by the door.
            out.put_u32_le(u32::try_from(found.value.len()).unwrap_or(u32::MAX));
            out.put_slice(&found.value);
        }
    }
}

/// The fingerprint and the reply; `None` if the bytes are none of ours.
pub(crate) fn decode_remembered(bytes: Bytes) -> Option<(u128, Reply)> {
    let mut rest = bytes;
    let fingerprint = rest.try_get_u128_le().ok()?;
    let reply = match *rest.first()? {
        5 => {
            rest.advance(1);
            let current = Version(rest.try_get_u64_le().ok()?);
            let operation = Some(rest.try_get_u16_le().ok()?).filter(|at| *at != NO_OPERATION);
            Reply::PreconditionFailed { current, operation: operation.map(usize::from) }
        }
        6 => {
            rest.advance(1);
            let count = rest.try_get_u16_le().ok()?;
            Reply::All((0..count).map(|_| get_done(&mut rest)).collect::<Option<_>>()?)
        }
        8 => {
            rest.advance(1);
            Reply::Mismatch
        }
        _ => Reply::Done(get_done(&mut rest)?),
    };
    rest.is_empty().then_some((fingerprint, reply))
}

fn get_done(rest: &mut Bytes) -> Option<Done> {
    Some(match rest.try_get_u8().ok()? {
        1 => Done::Put(Version(rest.try_get_u64_le().ok()?)),
        2 => Done::Deleted(None),
        3 => Done::Deleted(Some(Version(rest.try_get_u64_le().ok()?))),
        4 => {
            let version = Version(rest.try_get_u64_le().ok()?);
            let ttl_ms = rest.try_get_u64_le().ok()?.checked_sub(1);
            let len = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
            let value = (len <= rest.len()).then(|| rest.split_to(len))?;
            Done::Got(Some(Found { version, value, ttl_ms }))
        }
        7 => Done::Got(None),
        _ => return None,
    })
}
