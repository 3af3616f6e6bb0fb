//! Whom to avoid: nodes that could not be reached, each for a time of its own.
//!
//! ```text
//!            unreachable, or some requests without an answer
//!   closed ─────────────────────────────────────────────────▶ open ──time──▶ one request per period
//!     ▲                                                         ▲                  │
//!     └──────────────────── reachable, answered ────────────────┴── unreachable ───┘ (longer)
//! ```

use std::time::Duration;

use ringfort_types::{Monotonic, NodeNumber};

/// How long a node is avoided after its first failure.
pub const AVOID_MIN: Duration = Duration::from_millis(100);
/// How long a node is avoided at most, before another request shows whether it is back.
pub const AVOID_MAX: Duration = Duration::from_millis(3200);
/// Requests without an answer, one after the other, until a node is avoided.
pub const TIMEOUTS_MAX: u8 = 3;

#[derive(Clone, Copy, Debug, Default)]
struct Circuit {
    /// 0: closed.
    failures: u8,
    timeouts: u8,
    until: Monotonic,
    /// A request is out to show whether the node is back.
    tested: bool,
}

impl Circuit {
    fn period(self) -> Duration {
        AVOID_MIN.saturating_mul(1 << self.failures.saturating_sub(1).min(8)).min(AVOID_MAX)
    }
}

/// By node number; nodes beyond the end never failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Circuits(Vec<Circuit>);

impl Circuits {
    pub(crate) fn handle_unreachable(&mut self, now: Monotonic, node: NodeNumber) {
        let circuit = self.circuit(node);
        // Many requests fail with one connection: that is one failure.
        if circuit.failures == 0 || circuit.tested || circuit.until <= now {
            circuit.failures = circuit.failures.saturating_add(1);
            circuit.tested = false;
        }
        circuit.until = circuit.until.max(now + circuit.period());
    }

    pub(crate) fn handle_timeout(&mut self, now: Monotonic, node: NodeNumber) {
        let circuit = self.circuit(node);
        circuit.timeouts = circuit.timeouts.saturating_add(1);
        if circuit.timeouts >= TIMEOUTS_MAX {
            circuit.timeouts = 0;
            self.handle_unreachable(now, node);
        }
    }

    fn circuit(&mut self, node: NodeNumber) -> &mut Circuit {
        let place = usize::from(node.0);
        if place >= self.0.len() {
            self.0.resize(place + 1, Circuit::default());
        }
        &mut self.0[place]
    }

    pub(crate) fn handle_reachable(&mut self, node: NodeNumber) {
        if let Some(circuit) = self.0.get_mut(usize::from(node.0)) {
            *circuit = Circuit::default();
        }
    }

    /// Whether the node failed and did not answer since.
    pub(crate) fn is_open(&self, node: NodeNumber) -> bool {
        self.0.get(usize::from(node.0)).is_some_and(|circuit| circuit.failures > 0)
    }

    /// Whether a request may go there now. Whoever asks sends it: of an avoided node, one request per period is the test.
    pub(crate) fn admit(&mut self, now: Monotonic, node: NodeNumber) -> bool {
        match self.0.get_mut(usize::from(node.0)) {
            Some(circuit) if circuit.failures > 0 => {
                let due = circuit.until <= now;
                if due {
                    circuit.until = now + circuit.period();
                    circuit.tested = true;
                }
                due
            }
            _ => true,
        }
    }
}
