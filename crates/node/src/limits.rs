//! How much a worker does at once. Production runs with the defaults; a simulator sets them low, so that what lies behind them,
//! which a small cluster would never come to, is met in every run.

/// Limits of a worker. None of them decides what a replica makes of its log: nodes may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLimits {
    /// A frame that has grown to about this size, in bytes, takes nothing more, and another one is begun. Default 2 MiB.
    pub frame_bytes_target: usize,
    /// A pass over the groups that has applied so many bytes of entries leaves those that it has not come to for the next turn.
    /// Default 256 KiB, about a millisecond of small entries. A group's own part is bounded by Raft's `apply_bytes_max`.
    pub apply_bytes_per_turn: usize,
    /// Sleeping groups woken in one tick at most: that many elections may follow. Default 64; at least 1.
    pub wakes_per_tick: usize,
    /// Work on listings in one turn, in units of a record looked at. Default 1,024, well below a millisecond; at least 1.
    pub listing_units_per_turn: usize,
    /// Keys that one Expire names at most, but for keys that a command touches. Default 256; at least 1.
    pub expire_keys_max: usize,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self {
            frame_bytes_target: 2 << 20,
            apply_bytes_per_turn: 256 << 10,
            wakes_per_tick: 64,
            listing_units_per_turn: 1024,
            expire_keys_max: 256,
        }
    }
}
