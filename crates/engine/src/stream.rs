//! The snapshot stream: one store at one position, framed and checksummed. What travels between nodes is the bare stream;
//! a file is a head of its own and then the stream. To the byte in `docs/formats/snapshot.md`.
//!
//! ```text
//!  file:    | file head 32 | stream ...                                            |
//!  stream:  | stream head 64 | frame 0 | frame 1 | ... | frame n (tail)            |
//!  frame:   | head 20: kind, length, records, CRC of payload, CRC of head | payload |
//! ```
//!
//! Every checksum of a frame covers the stream's salt and the frame's number too, so that a frame of another stream, or one
//! in another place, never parses. The tail repeats the counts and holds a second, independent checksum over the whole
//! stream. Records come in strictly ascending order of keys.

mod decode;
mod encode;
mod layout;

pub(crate) use decode::{Decoder, Fault, Sink};
pub(crate) use encode::{Encoder, Frame};
pub(crate) use layout::{FILE_HEAD_BYTES, FORMAT_VERSION, StreamHead, check_file_head, file_head};

#[cfg(test)]
mod tests;
