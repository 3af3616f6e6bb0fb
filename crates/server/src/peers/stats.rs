//! What links and accepted connections have done, for metrics.

use ringfort_types::NodeNumber;

use super::hello::Channel;

/// One link of one thread. Counters rise from the first dial of the link; a link whose node changed its address or data
/// directory begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkStats {
    /// Whether it is connected.
    pub(crate) is_up: bool,
    /// Frames written.
    pub(crate) frames: u64,
    /// Their bytes, lengths included.
    pub(crate) bytes: u64,
    /// Writes that carried them.
    pub(crate) writes: u64,
    /// Connections made.
    pub(crate) connects: u64,
    /// Dials that failed, refusals included.
    pub(crate) dials_failed: u64,
    /// Dials that the other side refused.
    pub(crate) refusals: u64,
    /// Frames given back because the queue was full, the node unreachable or the frame too large.
    pub(crate) unsent: u64,
    /// Frames dropped from the queue as the link broke.
    pub(crate) lost: u64,
    /// Frames in the queue now.
    pub(crate) queue_frames: usize,
    /// Bytes in the queue now.
    pub(crate) queue_bytes: usize,
}

/// The connections that one thread accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AcceptStats {
    /// Connections that carry frames now.
    pub(crate) connections: usize,
    /// Frames read.
    pub(crate) frames: u64,
    /// Their bytes, lengths included.
    pub(crate) bytes: u64,
    /// Handshakes that failed: refused, malformed, too slow.
    pub(crate) handshakes_failed: u64,
    /// Connections closed because of what they carried.
    pub(crate) malformed: u64,
}

/// A link's name.
pub(super) type LinkKey = (NodeNumber, Channel);
