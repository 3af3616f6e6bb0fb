//! Names of requests: 16 hexadecimal digits, unique within a door, hardly ever the same in two.

use std::cell::Cell;

use http::HeaderValue;

/// Odd, so that adding it visits every 64-bit number once before it repeats (a Weyl sequence); this one, the golden ratio,
/// spreads neighbours far apart.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The source of request ids.
pub(crate) struct RequestIds {
    next: Cell<u64>,
}

impl RequestIds {
    /// Begins at a random number.
    pub(crate) fn new(seed: u64) -> Self {
        Self { next: Cell::new(seed) }
    }

    /// The next id.
    pub(crate) fn next(&self) -> HeaderValue {
        let number = self.next.get();
        self.next.set(number.wrapping_add(STEP));
        let mut digits = [0; 16];
        for (digit, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
            let hex = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
            digit.copy_from_slice(&[hex(byte >> 4), hex(byte & 0xf)]);
        }
        // Hexadecimal digits are visible ASCII.
        HeaderValue::from_bytes(&digits).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_sixteen_digits_and_differ() {
        let ids = RequestIds::new(7);
        assert_eq!(ids.next(), "0000000000000007");
        let many: std::collections::BTreeSet<_> =
            (0..10_000).map(|_| ids.next().to_str().unwrap().to_owned()).collect();
        assert_eq!(many.len(), 10_000);
        assert!(many.iter().all(|id| id.len() == 16));
    }
}
