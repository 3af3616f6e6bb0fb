//! Percent-decoding, strict: `%` must be followed by two hexadecimal digits, `+` is a plus, and what was decoded is never
//! decoded again.

use bytes::Bytes;

/// A `%` that no two hexadecimal digits follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadEscape {
    /// Offset of the `%` in the undecoded text.
    pub(crate) at: usize,
}

/// Decodes once. Text without an escape is copied in one piece.
pub(crate) fn decode(raw: &str) -> Result<Bytes, BadEscape> {
    let raw = raw.as_bytes();
    let Some(first) = raw.iter().position(|byte| *byte == b'%') else {
        return Ok(Bytes::copy_from_slice(raw));
    };
    let mut decoded = Vec::with_capacity(raw.len());
    decoded.extend_from_slice(&raw[..first]);
    let mut at = first;
    while let Some(byte) = raw.get(at).copied() {
        if byte != b'%' {
            decoded.push(byte);
            at += 1;
            continue;
        }
        let digits = (raw.get(at + 1), raw.get(at + 2));
        let (Some(high), Some(low)) =
            (digits.0.copied().and_then(digit), digits.1.copied().and_then(digit))
        else {
            return Err(BadEscape { at });
        };
        decoded.push(high << 4 | low);
        at += 3;
    }
    Ok(decoded.into())
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_once_and_strictly() {
        for (raw, decoded) in [
            ("plain/key", Ok(&b"plain/key"[..])),
            ("a+b", Ok(b"a+b")),
            ("a%2Bb%2fc", Ok(b"a+b/c")),
            ("%2541", Ok(b"%41")),
            ("%00%fF", Ok(b"\x00\xff")),
            ("100%", Err(BadEscape { at: 3 })),
            ("a%4", Err(BadEscape { at: 1 })),
            ("%41%zz", Err(BadEscape { at: 3 })),
            ("%+1", Err(BadEscape { at: 0 })),
        ] {
            assert_eq!(decode(raw).as_deref().map_err(|e| *e), decoded, "{raw}");
        }
    }
}
