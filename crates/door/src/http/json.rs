//! Writing JSON (RFC 8259) where it is worth doing by hand: numbers and versions of the fast path, and bytes of any kind,
//! which may be megabytes that are better written in pieces.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// The longest piece of a value that is written in one go. A multiple of 3, so that pieces of Base64 join without padding.
const PIECE_BYTES: usize = 3 * 8192;

/// The decimal digits of a number, without allocation.
pub(crate) struct Digits {
    buffer: [u8; 20],
    start: usize,
}

impl Digits {
    /// Writes the number down.
    pub(crate) fn of(mut number: u64) -> Self {
        let mut buffer = [0; 20];
        let mut start = buffer.len();
        loop {
            start -= 1;
            // A digit fits a byte.
            buffer[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { buffer, start };
            }
        }
    }

    /// The digits, at least one.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

/// Writes a number.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(Digits::of(number).as_bytes());
}

/// Writes a text with its quotes.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text.as_bytes());
    out.push(b'"');
}

/// Writes valid UTF-8, or a piece of it, as the inside of a text.
fn write_escaped(out: &mut Vec<u8>, mut text: &[u8]) {
    let special = |byte: &u8| matches!(byte, 0..=0x1f | b'"' | b'\\');
    while let Some(at) = text.iter().position(special) {
        out.extend_from_slice(&text[..at]);
        let byte = text[at];
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
            }
        }
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

/// Writes `"name":"…"` where the bytes are valid UTF-8, else `"name_b64":"…"`.
pub(crate) fn write_bytes(out: &mut Vec<u8>, name: &'static str, bytes: Bytes, base64: bool) {
    let mut writer = BytesWriter::begin(out, name, bytes, base64);
    while !writer.write_piece(out) {}
}

/// A `"name":"…"` member under way, written piece by piece.
pub(crate) struct BytesWriter {
    rest: Bytes,
    base64: bool,
}

impl BytesWriter {
    /// Writes the name, and decides which of the two it is.
    pub(crate) fn begin(
        out: &mut Vec<u8>,
        name: &'static str,
        bytes: Bytes,
        force_base64: bool,
    ) -> Self {
        let base64 = force_base64 || std::str::from_utf8(&bytes).is_err();
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(if base64 { b"_b64\":\"" } else { b"\":\"" });
        Self { rest: bytes, base64 }
    }

    /// Writes the next piece; true once it is the last.
    pub(crate) fn write_piece(&mut self, out: &mut Vec<u8>) -> bool {
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        if self.base64 {
            let start = out.len();
            out.resize(start + piece.len().div_ceil(3) * 4, 0);
            let written = STANDARD.encode_slice(&piece, &mut out[start..]);
            debug_assert_eq!(written.ok(), Some(out.len() - start));
        } else {
            write_escaped(out, &piece);
        }
        if self.rest.is_empty() {
            out.push(b'"');
        }
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digits_of_the_ends() {
        for number in [0, 9, 10, 17, u64::MAX] {
            assert_eq!(Digits::of(number).as_bytes(), number.to_string().as_bytes());
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>, text: String, long in 0..60_000_usize, force: bool) {
            let long = [b'a', b'"', 0xc3, 0xa4].repeat(long / 4);
            for original in [bytes, text.into_bytes(), long] {
                let mut out = b"{".to_vec();
                write_bytes(&mut out, "value", Bytes::from(original.clone()), force);
                out.push(b'}');
                let parsed: serde_json::Value = serde_json::from_slice(&out).unwrap();
                let read = match (parsed.get("value"), parsed.get("value_b64")) {
                    (Some(text), None) if !force => text.as_str().unwrap().as_bytes().to_vec(),
                    (None, Some(text)) => STANDARD.decode(text.as_str().unwrap()).unwrap(),
                    _ => panic!("{parsed}"),
                };
                prop_assert_eq!(read, original);
            }
        }
    }
}
