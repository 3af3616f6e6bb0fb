//! What clients choose to ask, how it is put to a node, and what an answer says.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ringfort_check::{Condition, Operation, Outcome};
use ringfort_types::request::{
    self, Answered, Batch, Consistency, Done, Get, Identity, List, Write,
};
use ringfort_types::{Code, Key, Refusal, Version};

use super::clients::Question;
use super::coup::Focus;
use super::listings::Listing;
use super::mix::Mix;
use super::node::{Ask, Reply};
use super::report::Violation;
use crate::Random;

/// The longest time to live, in milliseconds.
pub(super) const TTL_MAX_MS: u64 = 4_000;

/// Chooses what a client asks next.
pub(super) fn choose(
    random: &mut Random,
    known: &mut BTreeMap<String, u64>,
    mix: &Mix,
    now: u64,
    number: u64,
) -> Question {
    let era = now / mix.keys_for;
    if known.len() as u64 > 2 * (mix.keys + 2 * mix.pairs) {
        known.clear();
    }
    let (operations, batch) = match random.below(100) {
        0 => return list(Listing::choose(random, era), false),
        1..82 => (vec![choose_one(random, known, mix, era, number, 0)], None),
        82..91 => {
            let count = 1 + random.below(5);
            let one = |position| choose_one(random, known, mix, era, number, position);
            ((0..count).map(one).collect(), Some(false))
        }
        _ => (choose_pair(random, mix, era, number), Some(true)),
    };
    let is =
        |wanted: fn(&Operation) -> bool| operations.iter().all(|(_, operation)| wanted(operation));
    let reads = is(|operation| matches!(operation, Operation::Get));
    let writes = is(|operation| !matches!(operation, Operation::Get));
    // The parts of an atomic batch share one answer, so that conditions would make attempts differ.
    // Answers are remembered for ten minutes: with many of them stores are large, and runs slow.
    let keyed = writes && random.one_in(8);
    let stale = reads && batch.is_none() && random.one_in(5);
    Question { operations, batch, stale, keyed, list: None, node: None, insistent: false }
}

/// A listing as a question.
pub(super) fn list(listing: Listing, insistent: bool) -> Question {
    Question {
        operations: Vec::new(),
        batch: None,
        stale: false,
        keyed: false,
        list: Some(listing),
        node: None,
        insistent,
    }
}

/// What a witness asks while a leader is deposed: a read at the leader, or a write at one of the others.
pub(super) fn focused(random: &mut Random, focus: &Focus, writes: bool, number: u64) -> Question {
    let (node, operation) = if writes {
        let (value, condition) = (format!("{number}.0.20"), Condition::Always);
        let node = focus.others[random.index(focus.others.len())];
        (node, Operation::Put { value, condition, ttl_ms: None })
    } else {
        (focus.leader, Operation::Get)
    };
    let operations = vec![(focus.key.clone(), operation)];
    let node = Some(node);
    let (stale, keyed, list) = (false, false, None);
    Question { operations, batch: None, stale, keyed, list, node, insistent: false }
}

fn choose_one(
    random: &mut Random,
    known: &BTreeMap<String, u64>,
    mix: &Mix,
    era: u64,
    number: u64,
    position: u64,
) -> (String, Operation) {
    if era > 0 && random.one_in(12) {
        return choose_old(random, mix, era - 1);
    }
    // Some keys are asked for much more often than others.
    let most = 1 + random.below(mix.keys);
    let key = format!("s{era}.{}", random.below(most));
    let condition = match (random.below(100), known.get(&key)) {
        (0..15, Some(version)) => Condition::Version(*version),
        (15..20, _) => Condition::Absent,
        (20..23, _) => Condition::Exists,
        _ => Condition::Always,
    };
    let operation = match random.below(100) {
        0..50 => {
            let value = value_name(random, mix, number, position);
            let ttl_ms = random.one_in(6).then(|| random.between(100, TTL_MAX_MS));
            Operation::Put { value, condition, ttl_ms }
        }
        50..62 => Operation::Delete { condition },
        _ => Operation::Get,
    };
    (key, operation)
}

/// What was in use before is looked at, and mostly removed: stores do not grow for ever.
fn choose_old(random: &mut Random, mix: &Mix, era: u64) -> (String, Operation) {
    let operation = match random.one_in(4) {
        true => Operation::Get,
        false => Operation::Delete { condition: Condition::Always },
    };
    (format!("s{era}.{}", random.below(mix.keys)), operation)
}

/// Both keys of a pair, which nothing but atomic batches writes: put, or read.
fn choose_pair(random: &mut Random, mix: &Mix, era: u64, number: u64) -> Vec<(String, Operation)> {
    let pair = random.below(mix.pairs);
    let reads = random.one_in(3);
    let mut one = |side: &str, position| {
        let operation = if reads {
            Operation::Get
        } else {
            let value = value_name(random, mix, number, position);
            Operation::Put { value, condition: Condition::Always, ttl_ms: None }
        };
        (format!("{{p{era}.{pair}}}{side}"), operation)
    };
    vec![one("l", 0), one("r", 1)]
}

/// A question with other values: asked again, it is another one.
pub(super) fn renamed(mut question: Question, number: u64) -> Question {
    for ((_, operation), position) in question.operations.iter_mut().zip(0..) {
        if let Operation::Put { value, .. } = operation {
            *value = format!("{number}.{position}.20");
        }
    }
    question
}

/// A value's name: who put it, and its length.
fn value_name(random: &mut Random, mix: &Mix, number: u64, position: u64) -> String {
    let most = if random.one_in(100) { 20_000 } else { mix.value_bytes };
    format!("{number}.{position}.{}", random.below(most + 1))
}

/// The bytes of a value: its name, a bar, and what follows from the name.
fn value_bytes(name: &str) -> Vec<u8> {
    let mut bytes = format!("{name}|").into_bytes();
    let length = name.rsplit('.').next().and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut salt = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    while bytes.len() < length {
        salt = salt.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        bytes.extend_from_slice(&salt.to_le_bytes());
    }
    bytes.truncate(length.max(name.len() + 1));
    bytes
}

/// The name of a value; one that nobody put where a byte of it is wrong.
pub(super) fn name_of(bytes: &[u8]) -> String {
    let bar = bytes.iter().position(|byte| *byte == b'|').unwrap_or(0);
    let name = String::from_utf8_lossy(&bytes[..bar]).into_owned();
    if value_bytes(&name) == bytes { name } else { format!("damaged: {name}") }
}

/// A question as a node is asked it. One without an answer so far has another number than every other.
pub(super) fn ask(question: &Question, number: u64) -> Ask {
    let identity = match question.keyed {
        true => Identity::IdempotencyKey(Bytes::from(format!("n{number}"))),
        false => Identity::None,
    };
    if let Some(listing) = &question.list {
        return Ask::List { list: list_of(listing) };
    }
    let mut operations: Vec<_> =
        question.operations.iter().map(|(key, operation)| operation_of(key, operation)).collect();
    match question.batch {
        Some(atomic) => Ask::Batch { batch: Batch { operations, atomic, identity } },
        None => match operations.pop() {
            Some(request::Operation::Get { key }) => {
                let consistency = match question.stale {
                    true => Consistency::Stale,
                    false => Consistency::Linearizable,
                };
                Ask::Get { get: Get { key, consistency } }
            }
            Some(operation) => Ask::Write { write: Write { operation, identity } },
            None => unreachable!("a question has an operation"),
        },
    }
}

fn list_of(listing: &Listing) -> List {
    let after = listing.after.as_ref();
    List {
        prefix: Bytes::from(listing.prefix()),
        start: Bytes::new(),
        end: None,
        after: after.map(|key| Key::new(key.as_bytes().to_vec()).expect("keys are short")),
        limit: listing.limit,
        bytes_max: listing.bytes_max,
        keys_only: false,
        consistency: Consistency::Linearizable,
    }
}

fn operation_of(key: &str, operation: &Operation) -> request::Operation {
    let key = Key::new(key.as_bytes().to_vec()).expect("keys of questions are short");
    match operation {
        Operation::Get => request::Operation::Get { key },
        Operation::Delete { condition } => {
            request::Operation::Delete { key, condition: condition_of(*condition) }
        }
        Operation::Put { value, condition, ttl_ms } => request::Operation::Put {
            key,
            value: Bytes::from(value_bytes(value)),
            ttl: ttl_ms.map(Duration::from_millis),
            condition: condition_of(*condition),
        },
    }
}

fn condition_of(condition: Condition) -> request::Condition {
    match condition {
        Condition::Always => request::Condition::Always,
        Condition::Absent => request::Condition::Absent,
        Condition::Exists => request::Condition::Exists,
        Condition::Version(version) => request::Condition::version(Version(version)),
    }
}

/// What an answer says of each operation.
///
/// # Errors
/// It is no answer that the contract knows for such a question.
pub(super) fn outcomes(question: &Question, reply: &Reply) -> Result<Vec<Outcome>, Violation> {
    let operations = || question.operations.iter().map(|(_, operation)| operation);
    match &reply.results {
        Ok(results) if results.len() == question.operations.len() => {
            operations().zip(results).map(|(operation, result)| one(operation, result)).collect()
        }
        Ok(_) => Err(no_answer(format!("{question:?} got {reply:?}"))),
        Err(refusal) => {
            let of = |(position, operation): (usize, &Operation)| match refusal.failed_op {
                Some(failed) if failed != position => Ok(Outcome::NotApplied),
                _ => one(operation, &Err(refusal.clone())),
            };
            operations().enumerate().map(of).collect()
        }
    }
}

fn one(operation: &Operation, result: &Result<Answered, Refusal>) -> Result<Outcome, Violation> {
    let read = *operation == Operation::Get;
    Ok(match result {
        Ok(Answered { done, .. }) => match done {
            Done::Put(version) if !read => Outcome::Written { version: version.0 },
            Done::Deleted(Some(version)) if !read => Outcome::Written { version: version.0 },
            Done::Deleted(None) if !read => Outcome::Absent,
            Done::Got(Some(found)) if read => {
                Outcome::Found { value: name_of(&found.value), version: found.version.0 }
            }
            Done::Got(None) if read => Outcome::Absent,
            _ => return Err(no_answer(format!("{operation:?} was answered with {done:?}"))),
        },
        Err(refusal) => match (refusal.code, refusal.current_version, refusal.outcome) {
            (Code::PreconditionFailed, Some(version), _) => {
                Outcome::Refused { current_version: version.0 }
            }
            (
                Code::Unavailable | Code::Timeout | Code::Overloaded | Code::StorageFull,
                None,
                outcome,
            ) => match outcome {
                Some(ringfort_types::Outcome::Unknown) if !read => Outcome::Unknown,
                Some(ringfort_types::Outcome::NotApplied) => Outcome::NotApplied,
                // An atomic batch of reads goes through the log as a write does.
                _ if read => Outcome::NotApplied,
                _ => return Err(no_answer(format!("{operation:?} was refused with {refusal:?}"))),
            },
            _ => return Err(no_answer(format!("{operation:?} was refused with {refusal:?}"))),
        },
    })
}

fn no_answer(what: String) -> Violation {
    Violation { name: "answers_fit", what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_by_all_its_bytes() {
        for name in ["1.0.0", "17.2.9", "3.1.700"] {
            let bytes = value_bytes(name);
            assert_eq!(name_of(&bytes), name);
            for place in [0, bytes.len() - 1] {
                let mut wrong = bytes.clone();
                wrong[place] ^= 1;
                assert_ne!(name_of(&wrong), name);
            }
        }
        assert_ne!(name_of(b""), "");
    }
}
