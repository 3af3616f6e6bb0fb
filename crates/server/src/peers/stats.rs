//! What links and accepted connections have done, for metrics.

use ringfort_types::NodeNumber;

use super::hello::Channel;

/// One link of one thread. Counters rise from the first dial of the link; a link whose node changed its address or data
/// directory begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Whether it is connected.
    pub is_up: bool,
    /// Frames written.
    pub frames: u64,
    /// Their bytes, lengths included.
    pub bytes: u64,
    /// Writes that carried them.
    pub writes: u64,
    /// Connections made.
    pub connects: u64,
    /// Dials that failed, refusals included.
    pub dials_failed: u64,
    /// Dials that the other side refused.
    pub refusals: u64,
    /// Frames given back because the queue was full, the node unreachable or the frame too large.
    pub unsent: u64,
    /// Frames dropped from the queue as the link broke.
    pub lost: u64,
    /// Frames in the queue now.
    pub queue_frames: usize,
    /// Bytes in the queue now.
    pub queue_bytes: usize,
}

/// The connections that one thread accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptStats {
    /// Connections that carry frames now.
    pub connections: usize,
    /// Frames read.
    pub frames: u64,
    /// Their bytes, lengths included.
    pub bytes: u64,
    /// Handshakes that failed: refused, malformed, too slow.
    pub handshakes_failed: u64,
    /// Connections closed because of what they carried.
    pub malformed: u64,
}

/// A link's name.
pub(super) type LinkKey = (NodeNumber, Channel);
