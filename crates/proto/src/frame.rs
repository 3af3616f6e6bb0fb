//! Messages on a connection: each behind its length.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// Version of the protocol, which a hello names. Fields that older versions do not know are no reason to raise it: they skip
/// them.
pub const PROTOCOL: u32 = 1;
/// Longest message of a connection, in bytes without its length.
pub const FRAME_BYTES_MAX: usize = 32 << 20;
/// Bytes of the length before each message: big endian.
pub const PREFIX_BYTES: usize = 4;

/// Bytes that are no message of a connection. What follows cannot be read either: the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is too long.
    #[error("a frame has {0} bytes; at most {FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// It is no protobuf of the schema.
    #[error("a frame cannot be decoded")]
    Malformed(#[from] prost::DecodeError),
}

/// Appends a message, its length before it.
///
/// # Errors
/// It is longer than [`FRAME_BYTES_MAX`]: nothing was written.
pub fn put_frame(message: &impl Message, out: &mut BytesMut) -> Result<(), FrameError> {
    let bytes = message.encoded_len();
    let length = u32::try_from(bytes).map_err(|_| FrameError::TooLong(bytes))?;
    if bytes > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(bytes));
    }
    out.reserve(PREFIX_BYTES + bytes);
    out.put_u32(length);
    message.encode_raw(out);
    Ok(())
}

/// Takes the bytes of the next message off what has arrived, for [`decode`]. `None`: it has not arrived as a whole. Nothing is
/// reserved for what has not arrived.
///
/// # Errors
/// It is longer than [`FRAME_BYTES_MAX`].
pub fn take_frame(arrived: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
    let Some(prefix) = arrived.first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let bytes = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
    if bytes > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(bytes));
    }
    if arrived.len() - PREFIX_BYTES < bytes {
        return Ok(None);
    }
    arrived.advance(PREFIX_BYTES);
    Ok(Some(arrived.split_to(bytes).freeze()))
}

/// The message of these bytes. Its keys, values and payloads are slices of them, and keep them alive.
///
/// # Errors
/// They are no such message.
pub fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, FrameError> {
    Ok(M::decode(bytes)?)
}
