//! How much a test does: little by default, all of it with `RINGFORT_CAMPAIGN=full`, in a release build.

/// Whether the whole campaign is asked for.
pub(crate) fn is_full() -> bool {
    std::env::var("RINGFORT_CAMPAIGN").is_ok_and(|extent| extent == "full")
}

/// One of two sizes.
pub(crate) fn size<T>(few: T, full: T) -> T {
    if is_full() { full } else { few }
}
