//! Cursors of listings: where a page ended, and a checksum that ties it to the parameters it came from.
//!
//! ```text
//! base64url without padding of
//!   0        1                          9
//!   ├ format ┼ checksum, little endian ─┼ last key of the page …
//!
//! checksum = XXH3-64, seed 0, over
//!   format · flags · limit (8) · len (4) prefix · len (4) start · len (4) end · last key
//!   flags: bit 0 keys_only, bit 1 stale, bit 2 base64, bit 3 there is an end; numbers little endian
//! ```
//!
//! Frozen: a cursor outlives restarts, and moves of shards, as it names no place but a key. The checksum is no secret: who
//! forges a cursor can list what they could have listed anyway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ringfort_types::request::{Consistency, List};
use ringfort_types::{Code, Key, Refusal};
use xxhash_rust::xxh3::Xxh3;

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 9;

/// The cursor behind a page that ended with this key.
pub(crate) fn write(list: &List, base64: bool, last: &Key) -> String {
    let key = last.as_bytes();
    let mut token = Vec::with_capacity(HEADER_BYTES + key.len());
    token.push(FORMAT);
    token.extend_from_slice(&checksum(list, base64, key).to_le_bytes());
    token.extend_from_slice(key);
    URL_SAFE_NO_PAD.encode(token)
}

/// The key behind which a page goes on.
pub(crate) fn read(list: &List, base64: bool, cursor: &[u8]) -> Result<Key, Refusal> {
    let bad = |detail| Refusal::new(Code::InvalidArgument, detail);
    let unreadable = || bad("the query parameter cursor is none of this server's cursors");
    let token = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| unreadable())?;
    let (header, key) = token.split_at_checked(HEADER_BYTES).ok_or_else(unreadable)?;
    let key = Key::new(key.to_vec()).map_err(|_| unreadable())?;
    if header[0] != FORMAT {
        return Err(unreadable());
    }
    if header[1..] != checksum(list, base64, key.as_bytes()).to_le_bytes() {
        let detail = "the query parameter cursor came with other parameters than these; all others stay as they were on \
                      the first page";
        return Err(bad(detail));
    }
    Ok(key)
}

fn checksum(list: &List, base64: bool, last: &[u8]) -> u64 {
    let flags = u8::from(list.keys_only)
        | u8::from(list.consistency == Consistency::Stale) << 1
        | u8::from(base64) << 2
        | u8::from(list.end.is_some()) << 3;
    let mut hasher = Xxh3::new();
    hasher.update(&[FORMAT, flags]);
    hasher.update(&(list.limit as u64).to_le_bytes());
    for part in [&list.prefix, &list.start, list.end.as_ref().unwrap_or(&list.prefix.slice(..0))] {
        // Parts of a URL are far shorter than 4 GiB.
        hasher.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(last);
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn list() -> List {
        List {
            prefix: Bytes::from_static(b"p"),
            start: Bytes::from_static(b"pa"),
            end: None,
            after: None,
            limit: 100,
            bytes_max: 1,
            keys_only: false,
            consistency: Consistency::Linearizable,
        }
    }

    #[test]
    fn the_format_is_frozen() {
        let cursor = write(&list(), false, &Key::new("pab").unwrap());
        assert_eq!(cursor, FROZEN);
    }
    const FROZEN: &str = "AY9B3T2FSlG1cGFi";

    #[test]
    fn every_parameter_counts() {
        let key = Key::new("pab").unwrap();
        let cursor = write(&list(), false, &key);
        assert_eq!(read(&list(), false, cursor.as_bytes()), Ok(key));
        let others = [
            List { prefix: Bytes::from_static(b"q"), ..list() },
            List { prefix: Bytes::from_static(b"pp"), start: Bytes::from_static(b"a"), ..list() },
            List { start: Bytes::new(), ..list() },
            List { end: Some(Bytes::new()), ..list() },
            List { limit: 101, ..list() },
            List { keys_only: true, ..list() },
            List { consistency: Consistency::Stale, ..list() },
        ];
        for other in others {
            let refusal = read(&other, false, cursor.as_bytes()).unwrap_err();
            assert!(refusal.detail.contains("other parameters"), "{other:?}");
        }
        assert!(read(&list(), true, cursor.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_key_comes_back_and_no_other_text_is_a_cursor(
            key in proptest::collection::vec(any::<u8>(), 1..300),
            noise: Vec<u8>,
        ) {
            let key = Key::new(key).unwrap();
            let mut cursor = write(&list(), true, &key).into_bytes();
            prop_assert_eq!(read(&list(), true, &cursor), Ok(key));
            let last = cursor.len() - 1;
            cursor[last] = if cursor[last] == b'A' { b'Q' } else { b'A' };
            prop_assert!(read(&list(), true, &cursor).is_err());
            prop_assert!(read(&list(), true, &noise).is_err());
        }
    }
}
