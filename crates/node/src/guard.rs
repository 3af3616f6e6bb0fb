//! The guards of this crate, by name, so that a simulation can take one out and show that it is missed: as `ringfort_raft` has
//! its own. Without the feature `mutants` every guard is a constant `true`.

/// A check that can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum NodeGuard {
    /// A request that was routed here by a map or belief that is stale is not served: a replica that does not lead says so,
    /// and who does.
    OnlyLeadersServe,
}

/// Which guards are in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeGuards {
    #[cfg(feature = "mutants")]
    without: u64,
}

impl NodeGuards {
    /// All but this one.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn without(guard: NodeGuard) -> Self {
        Self { without: 1 << guard as u8 }
    }

    /// Whether the guard is in place.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn has(self, guard: NodeGuard) -> bool {
        self.without & (1 << guard as u8) == 0
    }

    /// Whether the guard is in place.
    #[cfg(not(feature = "mutants"))]
    #[inline]
    #[must_use]
    pub fn has(self, _: NodeGuard) -> bool {
        true
    }
}
