//! Histories as a store that keeps its promises would give them: each operation takes effect at one moment of a random
//! window, some answers are lost, some writes happen long after their clients gave up, or never.

use ringfort_check::{Condition, Event, Member, Operation, Outcome};

use crate::model::{Bug, Store};

/// A small generator (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What a history is to be like.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) operations: u64,
    pub(crate) keys: u64,
    pub(crate) clients: u64,
    /// The longest that an operation takes to reach the store, and its answer to come back, in microseconds.
    pub(crate) delay_us: u64,
    pub(crate) unknown_percent: u64,
    pub(crate) ttl_percent: u64,
    pub(crate) ttl_ms_max: u64,
    pub(crate) stale_percent: u64,
    pub(crate) batch_percent: u64,
    pub(crate) atomic_percent: u64,
    pub(crate) retry_percent: u64,
    /// How long a key may be seen after its time.
    pub(crate) late_us: u64,
    /// What the store does wrong, this many times in a hundred.
    pub(crate) bug: Option<(Bug, u64)>,
}

/// What is asked for at once.
struct Request {
    client: u32,
    /// Sent, takes effect, answered.
    times: [u64; 3],
    kind: Kind,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Stale,
    Batch,
    Atomic,
    Retried,
}

/// How a request ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Unknown { happened: bool },
    NotApplied,
}

pub(crate) struct Generator {
    plan: Plan,
    random: Random,
    store: Store,
    events: Vec<Event>,
    next_number: u64,
}

impl Generator {
    pub(crate) fn new(plan: Plan, seed: u64) -> Self {
        let store = Store::new(plan.late_us, plan.bug);
        Self { plan, random: Random(seed), store, events: Vec::new(), next_number: 0 }
    }

    pub(crate) fn history(mut self) -> Vec<Event> {
        let mut requests = Vec::new();
        for client in 0..self.plan.clients {
            let mut now_us = self.random.below(self.plan.delay_us);
            for _ in 0..self.plan.operations / self.plan.clients {
                let request = self.request(client, now_us);
                now_us = request.times[2] + 1 + self.random.below(self.plan.delay_us);
                requests.push(request);
            }
        }
        requests.sort_by_key(|request| request.times[1]);
        for request in requests {
            self.execute(&request);
        }
        self.events
    }

    fn request(&mut self, client: u64, now_us: u64) -> Request {
        let kinds = [
            (self.plan.stale_percent, Kind::Stale),
            (self.plan.batch_percent, Kind::Batch),
            (self.plan.atomic_percent, Kind::Atomic),
            (self.plan.retry_percent, Kind::Retried),
        ];
        let mut drawn = self.random.below(100);
        let mut kind = Kind::Single;
        for (percent, candidate) in kinds {
            if drawn < percent {
                kind = candidate;
                break;
            }
            drawn -= percent;
        }
        let happens = now_us + self.random.below(self.plan.delay_us);
        let answered = happens + self.random.below(self.plan.delay_us);
        let mut times = [now_us, happens, answered];
        let fate = self.fate();
        let plain = !matches!(kind, Kind::Stale | Kind::Retried);
        if fate == (Fate::Unknown { happened: true }) && plain && self.random.percent(50) {
            // The client gives up before it happens.
            times[1] = answered + self.random.below(5 * self.plan.delay_us);
        }
        Request { client: u32::try_from(client).unwrap(), times, kind, fate }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn key(&mut self) -> String {
        format!("k{}", self.random.below(self.plan.keys))
    }

    fn operation(&mut self, key: &str, write: bool) -> Operation {
        let condition = match self.random.below(100) {
            0..10 => Condition::Absent,
            10..15 => Condition::Exists,
            15..27 => Condition::Version(self.store.version(key)),
            27..30 => Condition::Version(self.random.below(4)),
            _ => Condition::Always,
        };
        match self.random.below(100) {
            0..45 if !write => Operation::Get,
            0..85 => {
                let value = format!("v{}", self.number());
                let ttl = self.random.percent(self.plan.ttl_percent);
                let ttl_ms = ttl.then(|| 1 + self.random.below(self.plan.ttl_ms_max));
                Operation::Put { value, condition, ttl_ms }
            }
            _ => Operation::Delete { condition },
        }
    }

    fn fate(&mut self) -> Fate {
        match self.random.below(100) {
            drawn if drawn < self.plan.unknown_percent => {
                Fate::Unknown { happened: self.random.percent(50) }
            }
            97.. => Fate::NotApplied,
            _ => Fate::Answered,
        }
    }

    fn execute(&mut self, request: &Request) {
        match request.kind {
            Kind::Single => {
                let key = self.key();
                let operation = self.operation(&key, false);
                self.together(request, vec![(key, operation)], None);
            }
            Kind::Stale => self.stale(request),
            Kind::Batch => {
                let keys = [self.key(), self.key()];
                let keys = [&keys[0], &keys[self.random.index(2)], &keys[1]];
                let operations =
                    keys.map(|key| (key.clone(), self.operation(key, false))).into_iter().collect();
                self.together(request, operations, Some(false));
            }
            Kind::Atomic => {
                let pair = self.random.below(self.plan.keys) / 2 * 2;
                let other = (pair + 1).min(self.plan.keys - 1);
                let mut operations = Vec::new();
                let plain = self.random.percent(50);
                for position in 0..2 + u64::from(!plain && self.random.percent(50)) {
                    let second = if plain { position == 1 } else { self.random.percent(50) };
                    let key = format!("k{}", if second { other } else { pair });
                    let mut operation = self.operation(&key, plain);
                    if let Operation::Put { condition, .. } = &mut operation
                        && plain
                    {
                        *condition = Condition::Always;
                    }
                    operations.push((key, operation));
                }
                self.together(request, operations, Some(true));
            }
            Kind::Retried => self.retried(request),
        }
    }

    /// Operations that take effect at the same moment.
    fn together(
        &mut self,
        request: &Request,
        operations: Vec<(String, Operation)>,
        atomic: Option<bool>,
    ) {
        let [invoked_us, happens_us, returned_us] = request.times;
        let fate = request.fate;
        let batch = self.number();
        let outcomes = match fate {
            Fate::NotApplied | Fate::Unknown { happened: false } => Vec::new(),
            _ => self.store.execute(
                &operations,
                happens_us,
                invoked_us,
                atomic == Some(true),
                &mut self.random,
            ),
        };
        for (position, (key, operation)) in operations.into_iter().enumerate() {
            let outcome = match fate {
                Fate::Answered => outcomes[position].clone(),
                Fate::Unknown { .. } => Outcome::Unknown,
                Fate::NotApplied => Outcome::NotApplied,
            };
            let position = u32::try_from(position).unwrap();
            self.events.push(Event {
                client: request.client,
                key,
                operation,
                invoked_us,
                returned_us,
                outcome,
                batch: atomic.map(|atomic| Member { batch, position, atomic }),
                staleness_us: None,
                write: None,
            });
        }
    }

    fn stale(&mut self, request: &Request) {
        let [invoked_us, happens_us, returned_us] = request.times;
        let key = self.key();
        let seen_us = happens_us.saturating_sub(self.random.below(10 * self.plan.delay_us));
        self.events.push(Event {
            client: request.client,
            operation: Operation::Get,
            invoked_us,
            returned_us,
            outcome: self.store.at(&key, seen_us),
            key,
            batch: None,
            staleness_us: Some(invoked_us.saturating_sub(seen_us)),
            write: None,
        });
    }

    /// A write that is sent twice or three times; the first sending may be the one that happens, or another.
    fn retried(&mut self, request: &Request) {
        let [invoked_us, happens_us, returned_us] = request.times;
        let key = self.key();
        let operation = self.operation(&key, true);
        let operations = [(key.clone(), operation.clone())];
        let outcome = self
            .store
            .execute(&operations, happens_us, invoked_us, false, &mut self.random)
            .remove(0);
        let again_us = invoked_us + self.random.below(returned_us - invoked_us + 1);
        let number = self.number();
        let first = if self.random.percent(20) { outcome.clone() } else { Outcome::Unknown };
        let first_returned_us = if first == Outcome::Unknown { again_us } else { returned_us };
        let mut attempts =
            vec![(invoked_us, first_returned_us, first), (again_us, returned_us, outcome)];
        if self.random.percent(30) {
            attempts.push((invoked_us, again_us, Outcome::NotApplied));
        }
        for (invoked_us, returned_us, outcome) in attempts {
            self.events.push(Event {
                client: request.client,
                key: key.clone(),
                operation: operation.clone(),
                invoked_us,
                returned_us,
                outcome,
                batch: None,
                staleness_us: None,
                write: Some(number),
            });
        }
    }
}
