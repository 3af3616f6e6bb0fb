//! Ids of clusters, data directories and starts, and numbers of nodes, as messages have them.

use bytes::Bytes;
use ringfort_types::{NODE_NUMBER_MAX, NodeNumber};

use crate::error::DecodeError;

/// The bytes of an id of 128 bits, big endian.
#[must_use]
pub fn id_to_wire(id: u128) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

/// The id of these bytes.
///
/// # Errors
/// They are not 16.
pub fn id_of_wire(field: &'static str, bytes: &[u8]) -> Result<u128, DecodeError> {
    let bytes = bytes.try_into().map_err(|_| DecodeError::invalid(field, "is not of 16 bytes"))?;
    Ok(u128::from_be_bytes(bytes))
}

/// The number of a node.
///
/// # Errors
/// It is above [`NODE_NUMBER_MAX`].
pub fn number_of_wire(field: &'static str, number: u32) -> Result<NodeNumber, DecodeError> {
    let number = u16::try_from(number).ok().filter(|number| *number <= NODE_NUMBER_MAX);
    number.map(NodeNumber).ok_or(DecodeError::invalid(field, "is above the largest one, 4095"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_numbers_come_back() {
        for id in [0, 1, u128::MAX, 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10] {
            assert_eq!(id_of_wire("id", &id_to_wire(id)), Ok(id));
        }
        assert_eq!(id_to_wire(1)[15], 1);
        assert_eq!(number_of_wire("number", 4095), Ok(NodeNumber(4095)));
    }

    #[test]
    fn what_is_no_id_or_number_is_refused() {
        for bytes in [&[0; 15][..], &[0; 17], &[]] {
            assert_eq!(id_of_wire("id", bytes).unwrap_err().to_string(), "id: is not of 16 bytes");
        }
        for number in [4096, 65_536, 65_537, u32::MAX] {
            assert!(number_of_wire("number", number).is_err(), "{number}");
        }
    }
}
