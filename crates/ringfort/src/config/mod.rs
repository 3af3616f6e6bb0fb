//! The configuration: what a node is told, by whom, and what is wrong with it.
//!
//! # Model
//! Four layers, the later one wins, value by value:
//!
//! ```text
//!   default  <  file (TOML)  <  environment (RINGFORT_SECTION__KEY)  <  flag (--set section.key=value)
//! ```
//!
//! [`layers`] turns each source into assignments, [`table`] knows every setting and how its value is read, [`check`]
//! knows what settings must agree on. Each problem names its origin: file and line, variable, or flag.
//!
//! # Invariants
//! - Nothing is ignored: an unknown key, a value of another type or out of range, and a setting that is valid but not
//!   available yet are all problems.
//! - All problems are reported at once; a wrong value is a problem even where a later layer overrides it.
//! - A value that no layer gives has a default, written down once, in [`settings`].

pub(crate) mod check;
pub(crate) mod effective;
pub(crate) mod layers;
pub(crate) mod origin;
pub(crate) mod settings;
pub(crate) mod table;
pub(crate) mod value;

#[cfg(test)]
mod tests;

pub(crate) use effective::Effective;
pub(crate) use layers::Sources;
pub(crate) use origin::Problems;
