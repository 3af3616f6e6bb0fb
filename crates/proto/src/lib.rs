//! What nodes say to each other, as bytes: the protobuf schema, the code that `cargo xtask proto` makes of it, and the way
//! between its messages and the types that the cores speak.
//!
//! ```text
//!   raft::Message, Forward, Reply ── From ──▶ peer::Frame ── put_frame ──▶ bytes
//!                                 ◀─ TryFrom ─             ◀─ decode_frame, take_frame ─
//! ```
//!
//! Encoding never fails but for a frame that is too long. Decoding never panics: what comes from outside is refused with the
//! field's name ([`DecodeError`]). Keys, values and payloads are slices of the buffer that a frame was decoded from, not
//! copies. The bytes are described in `docs/formats/peer.md`.
//!
//! Left out on purpose: connections, handshakes, and what to do with a message.

mod answer;
mod consensus;
mod divide;
mod error;
mod frame;
mod generated;
mod id;
mod listing;
mod operation;
mod refusal;
mod request;
mod request_id;
mod weight;

pub use answer::{Reply, Told};
pub use error::{DecodeError, Reason};
pub use frame::{
    FRAME_BYTES_MAX, FrameError, MESSAGE_BYTES_MAX, PREFIX_BYTES, PROTOCOL, decode_frame,
    decode_message, put_frame, take_frame,
};
pub use generated::{cluster, peer};
pub use id::{id_of_wire, id_to_wire, number_of_wire};
pub use request::{Ask, Forward};
pub use request_id::RequestId;
