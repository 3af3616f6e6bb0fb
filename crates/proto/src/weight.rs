//! What a frame takes in memory, found before it is decoded.
//!
//! An item of two bytes becomes a structure of a hundred: a frame of nothing else would take a hundred times its length. So the
//! items of a long frame are counted first, without decoding them. Items as nodes send them stay far below the bound.

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::cluster;
use crate::peer;

/// Bytes of memory that items may take for each byte of a frame, ...
const WEIGHT_PER_BYTE: usize = 8;
/// ... and for any frame.
const WEIGHT_FREE: usize = 8 << 20;
/// Bytes of memory that a byte of a frame takes at most: the largest item in two bytes, or the largest box in as many more.
const WEIGHT_PER_BYTE_WORST: usize = size_of::<peer::Request>() / 2;

const _: () = {
    assert!(size_of::<peer::Request>() <= 256);
    assert!(size_of::<peer::Consensus>() <= size_of::<peer::Request>());
    assert!(size_of::<peer::Answer>() <= size_of::<peer::Request>());
    assert!(size_of::<peer::Snapshot>() <= size_of::<peer::Request>());
    assert!(size_of::<peer::List>() <= size_of::<peer::Request>());
    assert!(size_of::<peer::Refusal>() <= size_of::<peer::Request>());
};

/// What the items of a frame of this length may take; `None` where they cannot take more.
pub(crate) fn weight_max(bytes: usize) -> Option<usize> {
    (bytes > WEIGHT_FREE / WEIGHT_PER_BYTE_WORST).then_some(WEIGHT_FREE + WEIGHT_PER_BYTE * bytes)
}

/// What the items of a frame take, growth of their vectors left aside.
pub(crate) fn weight(frame: &[u8]) -> Result<usize, DecodeError> {
    weight_in(Holder::Frame, frame)
}

/// Messages that hold items, or other messages that do.
#[derive(Clone, Copy)]
enum Holder {
    Frame,
    Consensus,
    Append,
    Request,
    Operations,
    Answer,
    All,
    Each,
    Page,
    Delta,
    Heartbeat,
    /// Holds no items.
    Item,
}

/// What stands in a field that holds items, and the memory that one of them takes of its own.
fn field(holder: Holder, tag: u32) -> Option<(Holder, usize)> {
    Some(match (holder, tag) {
        (Holder::Frame, 1) => (Holder::Consensus, size_of::<peer::Consensus>()),
        (Holder::Frame, 2) => (Holder::Request, size_of::<peer::Request>()),
        (Holder::Frame, 3) => (Holder::Answer, size_of::<peer::Answer>()),
        (Holder::Frame, 5) => (Holder::Delta, 0),
        (Holder::Frame, 6) => (Holder::Heartbeat, 0),
        (Holder::Frame, 7) => (Holder::Item, size_of::<peer::PairHeartbeatAck>()),
        (Holder::Consensus, 9) => (Holder::Append, 0),
        (Holder::Consensus, 14) => (Holder::Item, size_of::<peer::Snapshot>()),
        (Holder::Append, 3) => (Holder::Item, size_of::<peer::Entry>()),
        (Holder::Request, 12 | 14) => (Holder::Operations, 0),
        (Holder::Request, 13) => (Holder::Item, size_of::<peer::List>()),
        (Holder::Operations, 1) => (Holder::Item, size_of::<peer::Operation>()),
        (Holder::Answer, 4) => (Holder::All, 0),
        (Holder::Answer, 5) => (Holder::Page, 0),
        (Holder::Answer, 6) | (Holder::Each, 2) => (Holder::Item, size_of::<peer::Refusal>()),
        (Holder::All, 1) => (Holder::Each, size_of::<peer::Each>()),
        (Holder::Page, 1) => (Holder::Item, size_of::<peer::Item>()),
        (Holder::Delta, 3) => (Holder::Item, size_of::<cluster::Record>()),
        (Holder::Heartbeat, 3) => (Holder::Item, size_of::<peer::Led>()),
        _ => return None,
    })
}

fn weight_in(holder: Holder, mut bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut weight = 0;
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes)?;
        let mut rest = bytes;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
        let within = field(holder, tag).filter(|_| wire_type == WireType::LengthDelimited);
        if let Some((holder, own)) = within {
            let mut content = &bytes[..bytes.len() - rest.len()];
            decode_varint(&mut content)?;
            weight += own + weight_in(holder, content)?;
        }
        bytes = rest;
    }
    Ok(weight)
}
