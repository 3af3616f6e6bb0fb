//! What the search has tried: a state that is no better than one that was reached before leads nowhere else.

use std::collections::HashMap;

use crate::Condition;
use crate::problem::{Maybe, Problem};
use crate::search::State;
use crate::state::KeyState;

/// States that were reached, by what is placed and what the keys are; with it, the moment and the maybes used.
#[derive(Default)]
pub(crate) struct Tried {
    states: HashMap<Placed, Vec<(u64, Vec<u32>)>>,
}

#[derive(PartialEq, Eq, Hash)]
struct Placed {
    full: usize,
    placed: Vec<u64>,
    keys: Vec<KeyState>,
}

impl Tried {
    /// Whether nothing at least as good was reached before: no later, with none used that this has not. Comparing costs
    /// steps too.
    pub(crate) fn is_new(&mut self, problem: &Problem<'_>, state: &State, steps: &mut u64) -> bool {
        const COMPARED_PER_STEP: usize = 32;
        let placed =
            Placed { full: state.full, placed: state.placed.clone(), keys: state.keys.clone() };
        let alive = state.used.iter().copied();
        let alive: Vec<_> =
            alive.filter(|used| !state.is_over(&problem.maybes[*used as usize])).collect();
        let used = spent(problem, state.now_us, &alive);
        let tried = self.states.entry(placed).or_default();
        let as_good = |(now_us, better): &(u64, Vec<u32>)| {
            *now_us <= state.now_us
                && better.len() <= used.len()
                && spent(problem, state.now_us, better)
                    .iter()
                    .all(|one| used.binary_search(one).is_ok())
        };
        *steps += (tried.len() / COMPARED_PER_STEP) as u64;
        if tried.iter().any(as_good) {
            return false;
        }
        tried.push((state.now_us, alive));
        true
    }
}

/// What using these takes from what is possible from now on, in order: of those that then do the same, only their number
/// counts.
fn spent(problem: &Problem<'_>, now_us: u64, used: &[u32]) -> Vec<u32> {
    let mut spent = Vec::with_capacity(used.len());
    let mut counts: Vec<(u32, u32)> = Vec::new();
    for number in used {
        let maybe = &problem.maybes[*number as usize];
        match maybe.alike {
            Some(first) if maybe.from_us <= now_us && maybe.expires_us <= now_us => {
                match counts.iter_mut().find(|(kind, _)| *kind == first) {
                    Some((_, count)) => *count += 1,
                    None => counts.push((first, 1)),
                }
            }
            _ => spent.push(*number),
        }
    }
    spent.extend(counts.into_iter().flat_map(|(first, count)| first..first + count));
    spent.sort_unstable();
    spent
}

impl State {
    /// Whether it cannot happen any more, used or not: it asks for a version that will not come again.
    fn is_over(&self, maybe: &Maybe<'_>) -> bool {
        let [part] = maybe.parts[..] else {
            return false;
        };
        let key = self.keys[part.key];
        match part.event.condition() {
            Condition::Version(version) => {
                (1..=key.last).contains(&version) && version != key.version
            }
            Condition::Always | Condition::Absent | Condition::Exists => false,
        }
    }
}
