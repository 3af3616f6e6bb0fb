//! The simulator on itself, and groups under it.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]
#![expect(clippy::disallowed_methods, reason = "a test takes its seed from the environment")]

mod groups;
