//! The search for an order.
//!
//! After Wing and Gong ("Testing and verifying concurrent objects", 1993): an order is built call by call; next may be
//! whatever was sent before any other that is left must have taken effect; where nothing fits, the last choice is taken
//! back. After Lowe ("Testing for linearizability", 2017): what was reached once (which calls are placed, and what the keys
//! are) is not tried again, and keys are decided one by one.
//!
//! Little is left to choose, since versions order the writes that are known to have happened:
//! - What only looks, and agrees with what stands, is placed at once: that takes nothing from any other.
//! - Of the writes with a version, only the next can be next.
//! - A write of unknown outcome is tried last, and those that do the same are tried as one. What happened to a key between
//!   two calls on it leads somewhere new with each step, none of which could have been left out. Where a state fails, so
//!   does the same state with more unknown writes used up, or later in time.
//!
//! What it leaves out: it says that there is no order, not which smallest part of the history has none.

use crate::problem::{Call, Maybe, NEVER, Problem};
use crate::state::{Idle, KeyState};
use crate::tried::Tried;

pub(crate) enum Found {
    Order,
    /// There is none.
    Nothing(Misfit),
    /// The limit of steps was reached first.
    Undecided,
}

/// What fits nowhere.
pub(crate) struct Misfit {
    /// It must take effect first of all that is left.
    pub(crate) call: u32,
    /// The keys as far as the search came at best, and what else could be next there. Absent: versions and times alone
    /// leave no moment for the call.
    pub(crate) best: Option<(Vec<KeyState>, Vec<u32>)>,
}

/// What has been placed so far, and what that made of the keys.
#[derive(Clone)]
pub(crate) struct State {
    /// Calls placed, as bits: all of the first `full` words, and these.
    pub(crate) full: usize,
    pub(crate) placed: Vec<u64>,
    count: usize,
    pub(crate) keys: Vec<KeyState>,
    /// What each key was since the last call on it: each change of its own since then is one more.
    runs: Vec<Vec<KeyState>>,
    /// Maybes that happened, in order of their numbers.
    pub(crate) used: Vec<u32>,
    /// No later call takes effect before this.
    pub(crate) now_us: u64,
}

#[derive(Clone, Copy)]
enum Move {
    Call(u32),
    Expire(usize),
    Maybe(u32),
}

/// A state, what can be tried next, and what that led to.
struct Frame {
    state: State,
    /// The first choice stands last.
    moves: Vec<Move>,
    next: Vec<State>,
}

/// Calls that could be next.
struct Window {
    calls: Vec<u32>,
    /// What must take effect first, and by when.
    first: Option<u32>,
    to_us: u64,
    /// By then one of them must have taken effect, unless a write of unknown outcome came before it.
    shows_by_us: u64,
}

/// Searches an order of the problem's calls in at most so many steps, which are added to `steps`.
pub(crate) fn search(problem: &Problem<'_>, steps_max: u64, steps: &mut u64) -> Found {
    if let Some(misfit) = without_window(problem) {
        return Found::Nothing(misfit);
    }
    let mut tried = Tried::default();
    let mut best: Option<State> = None;
    let mut stack = Vec::new();
    let steps_end = steps.saturating_add(steps_max);
    let mut reached = Some(State::start(problem));
    loop {
        if let Some(mut state) = reached.take() {
            if *steps >= steps_end {
                return Found::Undecided;
            }
            *steps += 1;
            let window = state.place_reads(problem);
            if state.count == problem.calls.len() {
                return Found::Order;
            }
            if tried.is_new(problem, &state, steps) {
                let moves = state.moves(problem, &window);
                stack.push(Frame { state, moves, next: Vec::new() });
            }
        }
        let Some(frame) = stack.last_mut() else {
            return Found::Nothing(best.unwrap_or_else(|| State::start(problem)).misfit(problem));
        };
        reached = frame.next.pop();
        if reached.is_some() {
            continue;
        }
        if let Some(next) = frame.moves.pop() {
            frame.next = frame.state.after(problem, next);
        } else if let Some(frame) = stack.pop()
            && best.as_ref().is_none_or(|best| best.count < frame.state.count)
        {
            best = Some(frame.state);
        }
    }
}

impl State {
    fn start(problem: &Problem<'_>) -> Self {
        Self {
            full: 0,
            placed: Vec::new(),
            count: 0,
            keys: vec![KeyState::ABSENT; problem.keys.len()],
            runs: vec![Vec::new(); problem.keys.len()],
            used: Vec::new(),
            now_us: 0,
        }
    }

    fn is_placed(&self, call: u32) -> bool {
        let word = call as usize / 64;
        let bits = word
            .checked_sub(self.full)
            .map_or(u64::MAX, |at| self.placed.get(at).copied().unwrap_or(0));
        bits & (1 << (call % 64)) != 0
    }

    fn place(&mut self, problem: &Problem<'_>, call: u32) {
        let Call { parts, from_us, .. } = &problem.calls[call as usize];
        for part in parts {
            self.runs[part.key].clear();
        }
        let at = call as usize / 64 - self.full;
        self.placed.resize(self.placed.len().max(at + 1), 0);
        self.placed[at] |= 1 << (call % 64);
        let full = self.placed.iter().take_while(|word| **word == u64::MAX).count();
        self.placed.drain(..full);
        self.full += full;
        self.count += 1;
        self.now_us = self.now_us.max(*from_us);
    }

    fn window(&self, problem: &Problem<'_>) -> Window {
        let mut window =
            Window { calls: Vec::new(), first: None, to_us: NEVER, shows_by_us: NEVER };
        let first = u32::try_from(self.full * 64).unwrap_or(u32::MAX);
        for (index, call) in (first..).zip(&problem.calls[self.full * 64..]) {
            if call.from_us > window.to_us {
                break;
            }
            if !self.is_placed(index) {
                window.calls.push(index);
                if window.first.is_none() || call.to_us < window.to_us {
                    (window.first, window.to_us) = (Some(index), call.to_us);
                }
                if call.shows_by_us >= self.now_us {
                    window.shows_by_us = window.shows_by_us.min(call.shows_by_us);
                }
            }
        }
        window.calls.retain(|index| problem.calls[*index as usize].from_us <= window.to_us);
        window
    }

    /// Places what only looks and agrees with what stands; gives what is left to choose from.
    fn place_reads(&mut self, problem: &Problem<'_>) -> Window {
        loop {
            let window = self.window(problem);
            let before = self.count;
            for index in &window.calls {
                let call = &problem.calls[*index as usize];
                // Time would pass over what must be seen before, or something unknown would be too late.
                let takes = call.from_us > self.now_us.max(window.shows_by_us) || call.after_maybe;
                if !call.is_write()
                    && !takes
                    && self.may_follow(call.after)
                    && !self.keys_after(problem, Move::Call(*index)).is_empty()
                {
                    self.place(problem, *index);
                }
            }
            if self.count == before {
                return window;
            }
        }
    }

    fn may_follow(&self, after: Option<u32>) -> bool {
        after.is_none_or(|after| self.is_placed(after))
    }

    /// What can be tried, the first choice last.
    fn moves(&self, problem: &Problem<'_>, window: &Window) -> Vec<Move> {
        let mut moves = Vec::new();
        for class in &problem.classes {
            let unused = class.iter().find(|maybe| self.used.binary_search(maybe).is_err());
            moves.extend(
                unused
                    .filter(|maybe| self.may_happen(problem, **maybe, window))
                    .map(|maybe| Move::Maybe(*maybe)),
            );
        }
        let due = |key: &KeyState| {
            key.version > 0 && key.expires_us <= window.to_us && key.expires_us < NEVER
        };
        moves.extend(
            self.keys
                .iter()
                .enumerate()
                .filter(|(_, key)| due(key))
                .map(|(key, _)| Move::Expire(key)),
        );
        let mut calls: Vec<_> =
            window.calls.iter().filter(|index| !self.is_placed(**index)).copied().collect();
        calls.retain(|index| self.may_follow(problem.calls[*index as usize].after));
        calls.sort_by_key(|index| std::cmp::Reverse(problem.calls[*index as usize].to_us));
        moves.extend(calls.into_iter().map(Move::Call));
        moves
    }

    fn may_happen(&self, problem: &Problem<'_>, maybe: u32, window: &Window) -> bool {
        let maybe = &problem.maybes[maybe as usize];
        maybe.from_us <= window.to_us
            && maybe.calls_before.iter().all(|call| self.is_placed(*call))
            && !maybe.calls_behind.iter().any(|call| self.is_placed(*call))
            && !maybe.maybes_behind.iter().any(|maybe| self.used.binary_search(maybe).is_ok())
    }

    /// What the move leads to: nothing where it does not fit.
    fn after(&self, problem: &Problem<'_>, next: Move) -> Vec<Self> {
        let mut states = Vec::new();
        for keys in self.keys_after(problem, next) {
            let mut state = Self { keys, ..self.clone() };
            match next {
                Move::Call(call) => state.place(problem, call),
                Move::Expire(key) => {
                    state.now_us = self.now_us.max(self.keys[key].expires_us);
                    if !state.goes_further(self, key) {
                        continue;
                    }
                }
                Move::Maybe(number) => {
                    let maybe = &problem.maybes[number as usize];
                    let at = state.used.partition_point(|used| *used < number);
                    state.used.insert(at, number);
                    state.now_us = self.now_us.max(maybe.from_us);
                    match &maybe.parts[..] {
                        [part]
                            if self.could_before(maybe) || !state.goes_further(self, part.key) =>
                        {
                            continue;
                        }
                        [_] => {}
                        parts => parts.iter().for_each(|part| state.runs[part.key].clear()),
                    }
                }
            }
            states.push(state);
        }
        states
    }

    /// Whether this is no state that the key had in its run before: what led back to it did nothing.
    fn goes_further(&mut self, before: &Self, key: usize) -> bool {
        self.runs[key].push(before.keys[key]);
        self.runs[key].iter().all(|was| was.version != self.keys[key].version)
    }

    /// Whether this could have happened earlier in its key's run, with the same result: then what came between did nothing.
    fn could_before(&self, maybe: &Maybe<'_>) -> bool {
        let part = maybe.parts[0];
        let could = |was: &KeyState| {
            part.event.condition().holds(was.version) && (part.is_put() || was.version > 0)
        };
        self.runs[part.key].iter().any(could)
    }

    fn keys_after(&self, problem: &Problem<'_>, next: Move) -> Vec<Vec<KeyState>> {
        let (parts, from_us, idle) = match next {
            Move::Call(call) => {
                let call = &problem.calls[call as usize];
                (&call.parts, call.from_us, Idle::Keep)
            }
            Move::Maybe(maybe) => {
                let maybe = &problem.maybes[maybe as usize];
                let idle = if maybe.parts.len() == 1 { Idle::Skip } else { Idle::Keep };
                (&maybe.parts, maybe.from_us, idle)
            }
            Move::Expire(key) => {
                let mut keys = self.keys.clone();
                keys[key] = keys[key].expired();
                return vec![keys];
            }
        };
        let now_us = self.now_us.max(from_us);
        let mut all = vec![self.keys.clone()];
        let mut after = Vec::new();
        for part in parts {
            let mut next = Vec::new();
            for keys in &all {
                keys[part.key].after(part, &problem.keys[part.key], now_us, idle, &mut after);
                next.extend(after.drain(..).map(|key| {
                    let mut keys = keys.clone();
                    keys[part.key] = key;
                    keys
                }));
            }
            all = next;
        }
        all
    }

    fn misfit(self, problem: &Problem<'_>) -> Misfit {
        let window = self.window(problem);
        Misfit { call: window.first.unwrap_or(0), best: Some((self.keys, window.calls)) }
    }
}

/// A call that versions and times leave no moment at all.
fn without_window(problem: &Problem<'_>) -> Option<Misfit> {
    let call = problem.calls.iter().position(|call| call.from_us > call.to_us)?;
    Some(Misfit { call: u32::try_from(call).unwrap_or(0), best: None })
}
