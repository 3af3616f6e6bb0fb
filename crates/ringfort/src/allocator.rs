//! The allocator, and the one thing that is asked of it by name.
//!
//! mimalloc gives freed memory back to the system a little later, when it is next asked for some. A server that has just
//! replayed its log has freed as much as it read, and may then have nothing to do for hours.
//!
//! This module and `scheduling` have the workspace's only `unsafe` code: calls of C whose arguments carry no promise.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives memory that was freed back to the system now.
#[expect(unsafe_code, reason = "the allocator's own interface is C")]
pub(crate) fn give_back() {
    // SAFETY: `mi_collect` takes a flag by value, may be called from any thread at any time, and moves or frees nothing
    // that is in use (mimalloc's documentation: "Eagerly free memory").
    unsafe { libmimalloc_sys::mi_collect(true) }
}
