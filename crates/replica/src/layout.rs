//! How a shard's state is laid out in its store: five spaces told apart by the first byte of the key.
//!
//! ```text
//!   00                                        meta: revision, shard time, bytes of remembered answers
//!   00 01                                     the group's configuration, as of the applied position
//!   01 namespace(4) key…                      data: flags(1) version(8) [due(8)] value…
//!   02 due(8) namespace(4) key…               expiry: version(8)
//!   03 namespace(4) p(2) principal… i(1) idempotency key… position(2) key…
//!                                             remembered answer of a keyed write
//!   04 session(8)                             session: lowest open sequence, due, open answers
//!   05 session(8) sequence(8)                 remembered answer of a session's write
//!   06 due(8) key of space 03 or 04…          what to forget when: empty
//! ```
//!
//! Numbers in keys are big endian, so that byte order is numeric order; numbers in values are little endian.

use bytes::{BufMut, Bytes, BytesMut};
use ringfort_types::{NamespaceId, SessionId, ShardTime, Version};

/// The key of the meta record.
pub(crate) const META: &[u8] = &[0];
/// The key of the configuration.
pub(crate) const CONFIGURATION: &[u8] = &[0, 1];
/// First byte of data keys.
pub(crate) const DATA: u8 = 1;
const EXPIRY: u8 = 2;
const IDEMPOTENCY: u8 = 3;
const SESSION: u8 = 4;
const SESSION_ANSWER: u8 = 5;
const FORGET: u8 = 6;

/// Bytes of a data key before the client's key.
pub(crate) const DATA_PREFIX_BYTES: usize = 5;

const FLAG_TTL: u8 = 1;

/// The data key of a client's key.
pub(crate) fn data_key(namespace: NamespaceId, key: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(DATA_PREFIX_BYTES + key.len());
    put_data_key(&mut bytes, namespace, key);
    bytes.freeze()
}

/// Appends the data key of a client's key.
pub(crate) fn put_data_key(out: &mut impl BufMut, namespace: NamespaceId, key: &[u8]) {
    out.put_u8(DATA);
    out.put_u32(namespace.0);
    out.put_slice(key);
}

/// The end, exclusive, of all data keys of a namespace that begin with `prefix`; `prefix` may be empty.
pub(crate) fn data_end_of_prefix(namespace: NamespaceId, prefix: &[u8]) -> Bytes {
    let mut end = data_key(namespace, prefix).to_vec();
    // The next key after all that begin so: drop trailing ff, then add one. The first byte is 01, so one always exists.
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    Bytes::from(end)
}

/// What stands before a stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) version: Version,
    /// When the key expires, if it does.
    pub(crate) due: Option<ShardTime>,
}

impl Head {
    pub(crate) fn encode(self) -> Bytes {
        let mut out = [0; 17];
        out[1..9].copy_from_slice(&self.version.0.to_le_bytes());
        let Some(due) = self.due else {
            return Bytes::copy_from_slice(&out[..9]);
        };
        out[0] = FLAG_TTL;
        out[9..].copy_from_slice(&due.0.to_le_bytes());
        Bytes::copy_from_slice(&out)
    }

    /// Reads the head of a stored value and returns how long it is. `None` if the bytes are none of ours.
    pub(crate) fn decode(stored: &[u8]) -> Option<(Self, usize)> {
        let (flags, rest) = stored.split_first()?;
        let (version, rest) = rest.split_first_chunk()?;
        let version = Version(u64::from_le_bytes(*version));
        match *flags {
            0 => Some((Self { version, due: None }, 9)),
            FLAG_TTL => {
                let (due, _) = rest.split_first_chunk()?;
                let due = Some(ShardTime(u64::from_le_bytes(*due)));
                Some((Self { version, due }, 17))
            }
            _ => None,
        }
    }
}

/// The expiry key of a data key that is due.
pub(crate) fn expiry_key(due: ShardTime, data_key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(8 + data_key.len());
    out.put_u8(EXPIRY);
    out.put_u64(due.0);
    out.put_slice(&data_key[1..]);
    out.freeze()
}

/// First expiry key and the end of those that are due at `now`.
pub(crate) fn expiry_range(now: ShardTime) -> ([u8; 1], [u8; 9]) {
    ([EXPIRY], space_and_time(EXPIRY, ShardTime(now.0.saturating_add(1))))
}

/// All expiry keys.
pub(crate) const EXPIRY_ALL: (&[u8], &[u8]) = (&[EXPIRY], &[EXPIRY + 1]);
/// All forget keys.
pub(crate) const FORGET_ALL: (&[u8], &[u8]) = (&[FORGET], &[FORGET + 1]);

/// The due time and data key that an expiry key names; `None` if it is none of ours.
pub(crate) fn parse_expiry_key(key: &[u8]) -> Option<(ShardTime, Bytes)> {
    let rest = key.strip_prefix(&[EXPIRY])?;
    let (due, rest) = rest.split_first_chunk()?;
    let mut data_key = BytesMut::with_capacity(1 + rest.len());
    data_key.put_u8(DATA);
    data_key.put_slice(rest);
    Some((ShardTime(u64::from_be_bytes(*due)), data_key.freeze()))
}

/// What a keyed write is remembered under.
pub(crate) fn idempotency_key(
    principal: &[u8],
    key: &[u8],
    position: u16,
    data_key: &[u8],
) -> Bytes {
    let mut out = BytesMut::with_capacity(16 + principal.len() + key.len() + data_key.len());
    out.put_u8(IDEMPOTENCY);
    out.put_slice(&data_key[1..DATA_PREFIX_BYTES]);
    // Bounded by the command's encoding, which has the same fields with the same widths.
    out.put_u16(u16::try_from(principal.len()).unwrap_or(u16::MAX));
    out.put_slice(principal);
    out.put_u8(u8::try_from(key.len()).unwrap_or(u8::MAX));
    out.put_slice(key);
    out.put_u16(position);
    out.put_slice(&data_key[DATA_PREFIX_BYTES..]);
    out.freeze()
}

/// The key of a session.
pub(crate) fn session_key(session: SessionId) -> Bytes {
    let mut out = BytesMut::with_capacity(9);
    out.put_u8(SESSION);
    out.put_u64(session.0);
    out.freeze()
}

/// The session that a session key names.
pub(crate) fn parse_session_key(key: &[u8]) -> Option<SessionId> {
    let rest = key.strip_prefix(&[SESSION])?;
    Some(SessionId(u64::from_be_bytes(rest.try_into().ok()?)))
}

/// The key of a session's remembered answer.
pub(crate) fn session_answer_key(session: SessionId, sequence: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(17);
    out.put_u8(SESSION_ANSWER);
    out.put_u64(session.0);
    out.put_u64(sequence);
    out.freeze()
}

/// When to forget a key of space 03 or 04.
pub(crate) fn forget_key(due: ShardTime, key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(9 + key.len());
    out.put_u8(FORGET);
    out.put_u64(due.0);
    out.put_slice(key);
    out.freeze()
}

/// The due time and the key that a forget key names.
pub(crate) fn parse_forget_key(key: &[u8]) -> Option<(ShardTime, &[u8])> {
    let rest = key.strip_prefix(&[FORGET])?;
    let (due, key) = rest.split_first_chunk()?;
    Some((ShardTime(u64::from_be_bytes(*due)), key))
}

fn space_and_time(space: u8, time: ShardTime) -> [u8; 9] {
    let mut key = [space; 9];
    key[1..].copy_from_slice(&time.0.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_round_trip_and_foreign_bytes_are_refused() {
        for due in [None, Some(ShardTime(7))] {
            let head = Head { version: Version(42), due };
            let bytes = head.encode();
            assert_eq!(Head::decode(&bytes), Some((head, bytes.len())));
            assert_eq!(Head::decode(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(Head::decode(&[9; 20]), None);
    }

    #[test]
    fn the_end_of_a_prefix_follows_all_that_begin_so() {
        let namespace = NamespaceId(0);
        for prefix in [&b"a"[..], b"", b"\xff", b"a\xff\xff"] {
            let end = data_end_of_prefix(namespace, prefix);
            let longest = [prefix, &[0xff; 40]].concat();
            assert!(data_key(namespace, &longest) < end, "{prefix:?}");
            assert!(data_key(namespace, prefix) < end, "{prefix:?}");
        }
        assert_eq!(data_end_of_prefix(NamespaceId(u32::MAX), b"")[..], [2]);
    }
}
