//! Keys, the tokens they hash to, and the shards that tokens fall into.

use std::fmt;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::id::{NamespaceId, ShardId, number};
use crate::limits::KEY_BYTES_MAX;

/// A key: 1 to 4,096 bytes of any kind. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

/// Bytes that cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No byte at all.
    #[error("the key is empty; a key is 1 to {KEY_BYTES_MAX} bytes")]
    Empty,
    /// More bytes than a key may have.
    #[error("the key has {0} bytes; a key is 1 to {KEY_BYTES_MAX} bytes")]
    TooLong(usize),
}

impl Key {
    /// Takes bytes as a key.
    ///
    /// # Errors
    /// There is no byte or there are more than 4,096.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, KeyError> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(KeyError::Empty),
            1..=KEY_BYTES_MAX => Ok(Self(bytes)),
            len => Err(KeyError::TooLong(len)),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, shared.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// The part that decides the shard: what stands in the first `{...}` if that is not empty, else the whole key (the
    /// rule of Redis Cluster).
    #[must_use]
    pub fn hash_tag(&self) -> &[u8] {
        hash_tag(&self.0)
    }

    /// The token of this key in the namespace.
    #[must_use]
    pub fn token(&self, namespace: NamespaceId) -> Token {
        token_of(namespace, &self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.escape_ascii())
    }
}

fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|b| *b == b'{') else {
        return key;
    };
    let rest = &key[open + 1..];
    match rest.iter().position(|b| *b == b'}') {
        Some(0) | None => key,
        Some(close) => &rest[..close],
    }
}

number! {
    /// The hash that places a key on the ring.
    Token(u64)
}

/// The token of a key: XXH3-64 with seed 0 over the namespace id (4 bytes, little endian) and the key's hash tag.
/// Frozen: data already placed depends on it.
#[must_use]
pub fn token_of(namespace: NamespaceId, key: &[u8]) -> Token {
    let tag = hash_tag(key);
    let mut short = [0; 256];
    if let Some(buffer) = short.get_mut(..4 + tag.len()) {
        buffer[..4].copy_from_slice(&namespace.0.to_le_bytes());
        buffer[4..].copy_from_slice(tag);
        return Token(xxhash_rust::xxh3::xxh3_64(buffer));
    }
    let mut hasher = Xxh3::new();
    hasher.update(&namespace.0.to_le_bytes());
    hasher.update(tag);
    Token(hasher.digest())
}

/// The token that every key with this prefix has; `None` where the prefix holds no complete hash tag, so that such keys may
/// have any token.
#[must_use]
pub fn token_of_prefix(namespace: NamespaceId, prefix: &[u8]) -> Option<Token> {
    let holds_tag = hash_tag(prefix).len() < prefix.len();
    holds_tag.then(|| token_of(namespace, prefix))
}

/// Tokens from `first` to `last`, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRange {
    /// Smallest token of the range.
    pub first: Token,
    /// Largest token of the range.
    pub last: Token,
}

/// The shard a token falls into when the ring is cut into `shards` ranges of equal length.
///
/// # Panics
/// `shards` is 0.
#[must_use]
pub fn shard_of_token(token: Token, shards: u32) -> ShardId {
    assert!(shards > 0, "a cluster has at least one shard");
    let product = u128::from(token.0) * u128::from(shards);
    ShardId(u32::try_from(product >> 64).unwrap_or(shards - 1))
}

/// The tokens of a shard: the inverse of [`shard_of_token`].
///
/// # Panics
/// The shard is not below `shards`.
#[must_use]
pub fn token_range_of_shard(shard: ShardId, shards: u32) -> TokenRange {
    assert!(shard.0 < shards, "shard {shard} of {shards}");
    let start = |shard: u32| (u128::from(shard) << 64).div_ceil(u128::from(shards));
    let token = |wide: u128| Token(u64::try_from(wide).unwrap_or(u64::MAX));
    TokenRange { first: token(start(shard.0)), last: token(start(shard.0 + 1) - 1) }
}

number! {
    /// A key's version: its shard's revision at the write. Each successful write of a key gives it a larger one. 0 means
    /// absent; the largest is 2^53 - 1.
    Version(u64)
}

impl Version {
    /// No such key.
    pub const ABSENT: Self = Self(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pair_of_braces_with_a_byte_inside_is_the_tag() {
        for (key, tag) in [
            ("user", "user"),
            ("{user42}:cart", "user42"),
            ("a{b}c{d}", "b"),
            ("a{}c{d}", "a{}c{d}"),
            ("a{b", "a{b"),
            ("}a{b}", "b"),
            ("{{a}}", "{a"),
        ] {
            assert_eq!(Key::new(key).unwrap().hash_tag(), tag.as_bytes(), "{key}");
        }
    }

    #[test]
    fn a_prefix_with_a_complete_tag_has_the_token_of_all_its_keys() {
        let namespace = NamespaceId(3);
        for prefix in ["{u}", "a{u}", "a{u}{v}", "{u}{", "{{u}", "{u}:cart"] {
            let token = token_of_prefix(namespace, prefix.as_bytes());
            for rest in ["", "}", "{x}", "{}", "rest"] {
                let key = Key::new(format!("{prefix}{rest}")).unwrap();
                assert_eq!(token, Some(key.token(namespace)), "{key:?}");
            }
        }
        for prefix in ["", "u", "{", "{u", "a{}", "{}{u}", "}u"] {
            assert_eq!(token_of_prefix(namespace, prefix.as_bytes()), None, "{prefix}");
        }
    }

    #[test]
    fn tokens_are_frozen() {
        assert_eq!(token_of(NamespaceId(0), b"a").to_string(), "17501124497740708105");
        assert_eq!(token_of(NamespaceId(1), b"a"), Token(TOKEN_A_IN_1));
        let long = vec![b'x'; 4096];
        assert_eq!(token_of(NamespaceId(0), &long), Token(TOKEN_LONG));
    }
    const TOKEN_A_IN_1: u64 = 17206657886051583859;
    const TOKEN_LONG: u64 = 16128469861720301617;

    #[test]
    fn ranges_partition_the_ring() {
        for shards in [1, 2, 3, 7, 64, 1000, 4096] {
            let mut next = Some(0_u64);
            for shard in 0..shards {
                let range = token_range_of_shard(ShardId(shard), shards);
                assert_eq!(Some(range.first.0), next);
                assert_eq!(shard_of_token(range.first, shards), ShardId(shard));
                assert_eq!(shard_of_token(range.last, shards), ShardId(shard));
                next = range.last.0.checked_add(1);
            }
            assert_eq!(next, None);
        }
    }
}
