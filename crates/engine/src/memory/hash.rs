//! The keyed hash of the point table.
//!
//! XXH3-64 under a secret of this process: whoever chooses keys cannot know which of them collide. XXH3 with a mere seed
//! mixes that seed into a published secret; here the whole secret is drawn, 192 bytes from a 128-bit seed.

use xxhash_rust::xxh3::xxh3_64_with_secret;

const SECRET_BYTES: usize = 192;

/// Hashes keys; one per engine.
pub(super) struct KeyHasher {
    secret: [u8; SECRET_BYTES],
}

impl KeyHasher {
    /// A hasher of its own for each seed. The seed must be drawn at random and stay within the process.
    pub(super) fn new(seed: u128) -> Self {
        let mut secret = [0; SECRET_BYTES];
        let seed = seed.to_le_bytes();
        let half = |at| u64::from_le_bytes(std::array::from_fn(|i| seed[at + i]));
        let mut states = [half(0), half(8)];
        for (number, word) in secret.chunks_exact_mut(8).enumerate() {
            // Both halves decide every word: the second stream is started by the first one's output.
            let first = split_mix(&mut states[0]);
            states[1] ^= first.rotate_left(u32::try_from(number).unwrap_or_default());
            word.copy_from_slice(&split_mix(&mut states[1]).to_le_bytes());
        }
        Self { secret }
    }

    /// The hash of a key.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        xxh3_64_with_secret(key, &self.secret)
    }
}

/// One step of SplitMix64 (Steele, Lea and Flood, 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_the_seed_counts() {
        let base = KeyHasher::new(0).hash(b"key");
        for bit in 0..128 {
            assert_ne!(KeyHasher::new(1 << bit).hash(b"key"), base, "bit {bit}");
        }
    }
}
