//! Messages on a connection: each behind its length.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::peer::Frame;
use crate::weight::{weight, weight_max};

/// Version of the protocol, which a hello names. Fields that older versions do not know are no reason to raise it: they skip
/// them.
pub const PROTOCOL: u32 = 1;
/// Longest frame, in bytes without its length.
pub const FRAME_BYTES_MAX: usize = 32 << 20;
/// Longest message that is no frame: hellos, their answers, messages of formation. In bytes without its length.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of the length before each message: big endian.
pub const PREFIX_BYTES: usize = 4;

/// Bytes that are no message of a connection. What follows cannot be read either: the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is too long.
    #[error("a message has {bytes} bytes; at most {bytes_max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest that may be.
        bytes_max: usize,
    },
    /// It has so many items, and each so few bytes, that they would take far more memory than it has bytes.
    #[error("a frame of {bytes} bytes would take {weight} bytes of memory besides")]
    TooHeavy {
        /// Its length.
        bytes: usize,
        /// Bytes of memory that its items would take.
        weight: usize,
    },
    /// It is no protobuf of the schema.
    #[error("a message cannot be decoded")]
    Malformed(#[from] prost::DecodeError),
}

/// Appends a message, its length before it.
///
/// # Errors
/// It is longer than [`FRAME_BYTES_MAX`]: nothing was written.
pub fn put_frame(message: &impl Message, out: &mut BytesMut) -> Result<(), FrameError> {
    let bytes = message.encoded_len();
    let too_long = FrameError::TooLong { bytes, bytes_max: FRAME_BYTES_MAX };
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= FRAME_BYTES_MAX).ok_or(too_long)?;
    out.reserve(PREFIX_BYTES + bytes);
    out.put_u32(length);
    message.encode_raw(out);
    Ok(())
}

/// Takes the bytes of the next message off what has arrived. `None`: it has not arrived as a whole. Nothing is reserved for
/// what has not arrived. `bytes_max` is [`FRAME_BYTES_MAX`] where frames are expected, else [`MESSAGE_BYTES_MAX`].
///
/// # Errors
/// It is longer than `bytes_max`.
pub fn take_frame(arrived: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(prefix) = arrived.first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let bytes = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
    if bytes > bytes_max {
        return Err(FrameError::TooLong { bytes, bytes_max });
    }
    if arrived.len() - PREFIX_BYTES < bytes {
        return Ok(None);
    }
    arrived.advance(PREFIX_BYTES);
    Ok(Some(arrived.split_to(bytes).freeze()))
}

/// The frame of these bytes. Its keys, values and payloads are slices of them, and keep them alive.
///
/// # Errors
/// They are no frame, or one that would take far more memory than it has bytes.
pub fn decode_frame(bytes: Bytes) -> Result<Frame, FrameError> {
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { bytes: bytes.len(), bytes_max: FRAME_BYTES_MAX });
    }
    if let Some(weight_max) = weight_max(bytes.len()) {
        let weight = weight(&bytes)?;
        if weight > weight_max {
            return Err(FrameError::TooHeavy { bytes: bytes.len(), weight });
        }
    }
    Ok(Frame::decode(bytes)?)
}

/// The message of these bytes: a hello, its answer, a message of formation.
///
/// # Errors
/// They are none, or more than [`MESSAGE_BYTES_MAX`].
pub fn decode_message<M: Message + Default>(bytes: Bytes) -> Result<M, FrameError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLong { bytes: bytes.len(), bytes_max: MESSAGE_BYTES_MAX });
    }
    Ok(M::decode(bytes)?)
}
