//! Which operation comes next: its kind, its key, its value.
//!
//! Keys are 16 decimal digits. A value begins with its key, as far as it is long enough, so that a read can tell that it
//! got the right one; the rest is a window of a random block, so that it does not compress.

use crate::arguments::{Arguments, Distribution, Workload};

/// Length of a key in bytes.
pub(crate) const KEY_BYTES: usize = 16;
/// The most keys that 16 digits can tell apart.
pub(crate) const KEYS_MAX: u64 = 10_000_000_000_000_000;
/// Size of the random block beyond the longest value: how many different windows there are.
const BLOCK_SLACK_BYTES: usize = 4096;
/// Exponent of the zipfian distribution, the one that YCSB uses.
const ZIPF_EXPONENT: f64 = 0.99;

/// Read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Put,
    Get,
}

/// One operation to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) key: [u8; KEY_BYTES],
    /// Which window of the random block the value takes.
    window: usize,
}

/// The bytes of values: how to write one, and how to recognise one.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    block: Vec<u8>,
    value_bytes: usize,
}

impl Values {
    pub(crate) fn new(value_bytes: usize, random: &mut Random) -> Self {
        let block =
            (0..value_bytes + BLOCK_SLACK_BYTES).map(|_| random.next().to_le_bytes()[0]).collect();
        Self { block, value_bytes }
    }

    /// Length of every value.
    pub(crate) fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// Appends the value of a put.
    pub(crate) fn write(&self, operation: &Operation, out: &mut Vec<u8>) {
        let head = self.value_bytes.min(KEY_BYTES);
        out.extend_from_slice(&operation.key[..head]);
        let rest = operation.window..operation.window + self.value_bytes - head;
        out.extend_from_slice(&self.block[rest]);
    }

    /// Whether these bytes are a value that was written for this key.
    pub(crate) fn recognise(&self, key: &[u8; KEY_BYTES], value: &[u8]) -> bool {
        let head = self.value_bytes.min(KEY_BYTES);
        value.len() == self.value_bytes && value[..head] == key[..head]
    }
}

/// Yields operations.
#[derive(Debug)]
pub(crate) struct Operations {
    random: Random,
    keys: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Every key once, in order: the next one.
    Sequential(u64),
    /// Random keys for ever; a draw below the threshold is a read.
    Random { read_threshold: f64, zipf: Option<Zipf> },
}

impl Operations {
    /// The operations that the arguments ask for.
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let read_threshold = match arguments.workload {
            Workload::Load => return Self::load(arguments),
            Workload::Put => 0.0,
            Workload::Get => 1.0,
            Workload::Mixed => arguments.read_share,
        };
        let zipf = (arguments.distribution == Distribution::Zipfian)
            .then(|| Zipf::new(arguments.keys, ZIPF_EXPONENT));
        Self {
            random: Random::new(arguments.seed ^ 0x6f70_6572),
            keys: arguments.keys,
            source: Source::Random { read_threshold, zipf },
        }
    }

    /// One put of every key, in order.
    pub(crate) fn load(arguments: &Arguments) -> Self {
        Self {
            random: Random::new(arguments.seed ^ 0x6c6f_6164),
            keys: arguments.keys,
            source: Source::Sequential(0),
        }
    }

    /// The next operation; `None` when all have been given.
    pub(crate) fn next(&mut self) -> Option<Operation> {
        let (kind, number) = match &mut self.source {
            Source::Sequential(next) => {
                let number = *next;
                if number == self.keys {
                    return None;
                }
                *next += 1;
                (Kind::Put, number)
            }
            Source::Random { read_threshold, zipf } => {
                let read = *read_threshold > 0.0 && self.random.unit() < *read_threshold;
                let number = match zipf {
                    None => self.random.below(self.keys),
                    Some(zipf) => scramble(zipf.sample(&mut self.random)) % self.keys,
                };
                (if read { Kind::Get } else { Kind::Put }, number)
            }
        };
        let window = match kind {
            Kind::Get => 0,
            Kind::Put => (self.random.next() & 0xfff) as usize,
        };
        Some(Operation { kind, key: key_of(number), window })
    }
}

const _: () = assert!(BLOCK_SLACK_BYTES > 0xfff);

/// The key of a number: 16 digits, so that the order of keys is the order of numbers.
pub(crate) fn key_of(mut number: u64) -> [u8; KEY_BYTES] {
    let mut key = [b'0'; KEY_BYTES];
    for digit in key.iter_mut().rev() {
        if number == 0 {
            break;
        }
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    key
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// A number below `end`, by multiplication (Lemire); the bias is far below what a run could show.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(end);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A number from 0, inclusive, to 1, exclusive.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn scramble(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Zipfian ranks by rejection-inversion (Hörmann, Derflinger: "Rejection-inversion to generate variates from monotone
/// discrete distributions", 1996): constant memory and set-up, whatever the number of keys.
#[derive(Clone, Debug)]
struct Zipf {
    keys: f64,
    exponent: f64,
    integral_first: f64,
    integral_last: f64,
    shortcut: f64,
}

impl Zipf {
    fn new(keys: u64, exponent: f64) -> Self {
        let mut zipf = Self {
            keys: keys as f64,
            exponent,
            integral_first: 0.0,
            integral_last: 0.0,
            shortcut: 0.0,
        };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(zipf.keys + 0.5);
        zipf.shortcut = 2.0 - zipf.integral_inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    /// A rank from 0; smaller ones are more frequent.
    fn sample(&self, random: &mut Random) -> u64 {
        loop {
            let u = self.integral_last + random.unit() * (self.integral_first - self.integral_last);
            let x = self.integral_inverse(u);
            let rank = x.round().clamp(1.0, self.keys);
            let accepted =
                rank - x <= self.shortcut || u >= self.integral(rank + 0.5) - self.density(rank);
            if accepted {
                // `rank` is a whole number within the keys, which are below 2^54.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                return rank as u64 - 1;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let t = (1.0 - self.exponent) * log;
        let ratio = if t.abs() > 1e-8 { t.exp_m1() / t } else { 1.0 };
        ratio * log
    }

    fn integral_inverse(&self, x: f64) -> f64 {
        let t = (x * (1.0 - self.exponent)).max(-1.0);
        let ratio = if t.abs() > 1e-8 { t.ln_1p() / t } else { 1.0 };
        (ratio * x).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sixteen_digits_in_order() {
        assert_eq!(&key_of(0), b"0000000000000000");
        assert_eq!(&key_of(1_234_567), b"0000000001234567");
        assert_eq!(&key_of(KEYS_MAX - 1), b"9999999999999999");
        assert!(key_of(99) < key_of(100));
    }

    #[test]
    fn a_value_is_recognised_by_its_key_and_length() {
        let mut random = Random::new(7);
        for value_bytes in [0, 5, 16, 256] {
            let values = Values::new(value_bytes, &mut random);
            let operation = Operation { kind: Kind::Put, key: key_of(42), window: 0xfff };
            let mut value = Vec::new();
            values.write(&operation, &mut value);
            assert_eq!(value.len(), value_bytes);
            assert!(values.recognise(&operation.key, &value));
            value.push(b'x');
            assert!(!values.recognise(&operation.key, &value), "one byte longer");
        }
        let values = Values::new(20, &mut random);
        assert!(!values.recognise(&key_of(1), &[b'0'; 20]), "another key");
    }

    #[test]
    fn zipfian_ranks_follow_the_law() {
        let zipf = Zipf::new(1000, ZIPF_EXPONENT);
        let mut random = Random::new(1);
        let mut counts = vec![0_u32; 1000];
        let draws = 400_000;
        for _ in 0..draws {
            counts[usize::try_from(zipf.sample(&mut random)).unwrap()] += 1;
        }
        let norm: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-ZIPF_EXPONENT)).sum();
        for rank in [1_u32, 2, 10, 100] {
            let expected = f64::from(rank).powf(-ZIPF_EXPONENT) / norm * f64::from(draws);
            let seen = f64::from(counts[rank as usize - 1]);
            assert!(
                (seen - expected).abs() < 5.0 * expected.sqrt() + 1.0,
                "rank {rank}: {seen} of {expected}"
            );
        }
    }

    #[test]
    fn one_key_is_a_distribution_too() {
        let zipf = Zipf::new(1, ZIPF_EXPONENT);
        let mut random = Random::new(1);
        assert!((0..100).all(|_| zipf.sample(&mut random) == 0));
    }

    #[test]
    fn uniform_draws_reach_every_key_and_no_other() {
        let mut random = Random::new(3);
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            seen[usize::try_from(random.below(10)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
