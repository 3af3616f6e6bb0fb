//! Room in queues.

use std::collections::VecDeque;

/// Gives room back where less than a quarter of it is used; all of it where none is.
pub(crate) fn release<T>(queue: &mut VecDeque<T>) {
    if queue.len() < queue.capacity().div_ceil(4) {
        queue.shrink_to(2 * queue.len());
    }
}
