//! The simulator on itself, and groups under it.

mod groups;
