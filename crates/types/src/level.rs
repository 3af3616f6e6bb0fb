//! Feature levels: what the nodes of a cluster have agreed that entries may hold.
//!
//! A level stands for everything that an executable has to know to apply an entry as all others do. The catalog keeps the one
//! that is *active*, leaders stamp it on what they propose, and a replica stops before an entry of a level that its executable
//! does not know. An entry is applied by the level that it carries, so leaders whose copies of the catalog differ do no harm.

use std::fmt;

use crate::id::number;

number! {
    /// A feature level. The first is 1.
    FeatureLevel(u8)
}

impl FeatureLevel {
    /// The newest that this executable knows. It rises with whatever a node of an older version could not apply.
    pub const NEWEST: Self = Self(1);
}

/// The levels that a replica goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Stamped where it leads: the catalog's, as far as the node knows it.
    pub active: FeatureLevel,
    /// The newest that it applies: [`FeatureLevel::NEWEST`], but in tests.
    pub known: FeatureLevel,
}

impl Levels {
    /// This active level, in this executable.
    #[must_use]
    pub fn active(active: FeatureLevel) -> Self {
        Self { active, known: FeatureLevel::NEWEST }
    }
}
