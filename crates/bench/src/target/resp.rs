//! Redis over RESP 2: `SET` and `GET`.

use std::io::Write as _;

use super::wire::{Codec, Decoded};
use super::{Expected, Failure};
use crate::workload::{KEY_BYTES, Kind, Operation, Values};

/// The longest line of an answer.
const LINE_BYTES_MAX: usize = 4096;
/// The longest bulk string.
const BULK_BYTES_MAX: usize = 32 << 20;

/// Writes commands and reads replies.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RespCodec;

impl Codec for RespCodec {
    fn encode(&mut self, operation: &Operation, values: &Values, out: &mut Vec<u8>) {
        let (count, verb) = match operation.kind {
            Kind::Put => (3, "SET"),
            Kind::Get => (2, "GET"),
        };
        // Writing to a vector cannot fail.
        let _ = write!(out, "*{count}\r\n$3\r\n{verb}\r\n${KEY_BYTES}\r\n");
        out.extend_from_slice(&operation.key);
        out.extend_from_slice(b"\r\n");
        if operation.kind == Kind::Put {
            let _ = write!(out, "${}\r\n", values.value_bytes());
            values.write(operation, out);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn decode(
        &mut self,
        expected: &Expected<'_>,
        input: &[u8],
    ) -> Result<Option<Decoded>, Failure> {
        let protocol = |detail: &str| Failure::new("protocol", detail);
        let Some(line_end) = input.windows(2).position(|pair| pair == b"\r\n") else {
            return if input.len() > LINE_BYTES_MAX {
                Err(protocol("a line without end"))
            } else {
                Ok(None)
            };
        };
        let after_line = line_end + 2;
        let whole = |consumed, verdict| Ok(Some(Decoded { consumed, closes: false, verdict }));
        match (&input[..line_end], expected.kind) {
            (b"+OK", Kind::Put) => whole(after_line, Ok(())),
            ([b'-', rest @ ..], _) => whole(after_line, Err(error_reply(rest))),
            (b"$-1", Kind::Get) => whole(after_line, expected.judge_value(None)),
            ([b'$', digits @ ..], Kind::Get) => {
                let length = std::str::from_utf8(digits)
                    .ok()
                    .and_then(|text| text.parse::<usize>().ok())
                    .filter(|length| *length <= BULK_BYTES_MAX)
                    .ok_or_else(|| protocol("the length of a bulk string is none"))?;
                let value_end = after_line + length;
                match input.get(after_line..value_end + 2) {
                    None => Ok(None),
                    Some(bytes) if bytes.ends_with(b"\r\n") => {
                        whole(value_end + 2, expected.judge_value(Some(&bytes[..length])))
                    }
                    Some(_) => Err(protocol("a bulk string without its end")),
                }
            }
            (line, _) => Err(protocol(&format!(
                "unexpected reply {}",
                line[..line.len().min(80)].escape_ascii()
            ))),
        }
    }
}

/// `-ERR what happened`: the first word is the code.
fn error_reply(line: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(line);
    let code = text.split(' ').next().unwrap_or_default().to_lowercase();
    let named = (1..=40).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
    let code = if named { code } else { "error".to_owned() };
    Failure::new(code, text.chars().take(300).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Random, key_of};

    fn code(kind: Kind, input: &[u8]) -> String {
        let values = Values::new(20, &mut Random::new(1));
        let key = key_of(1);
        let expected = Expected { kind, key: &key, values: &values, allow_absent: false };
        match RespCodec.decode(&expected, input) {
            Ok(Some(decoded)) => match decoded.verdict {
                Ok(()) => format!("good, {} bytes", decoded.consumed),
                Err(failure) => failure.code.into_owned(),
            },
            Ok(None) => "incomplete".to_owned(),
            Err(failure) => failure.code.into_owned(),
        }
    }

    #[test]
    fn replies_are_judged() {
        assert_eq!(code(Kind::Put, b"+OK\r\n"), "good, 5 bytes");
        assert_eq!(code(Kind::Put, b"-OOM command not allowed\r\n"), "oom");
        assert_eq!(code(Kind::Put, b"-\r\n"), "error");
        assert_eq!(code(Kind::Get, b"$-1\r\n"), "key_not_found");
        let found = b"$20\r\n0000000000000001abcd\r\n";
        assert_eq!(code(Kind::Get, found), "good, 27 bytes");
        for cut in 0..found.len() {
            assert_eq!(code(Kind::Get, &found[..cut]), "incomplete", "{cut}");
        }
        let other = b"$20\r\n0000000000000002abcd\r\n";
        assert_eq!(code(Kind::Get, other), "value_mismatch");
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for (kind, input) in [
            (Kind::Put, "$-1\r\n"),
            (Kind::Get, "+OK\r\n"),
            (Kind::Get, "$99999999999999999999\r\n"),
            (Kind::Get, "$99999999999\r\n"),
            (Kind::Get, "$-2\r\n"),
            (Kind::Get, "$1\r\nxyz"),
            (Kind::Get, "HTTP/1.1 400 Bad Request\r\n"),
        ] {
            assert_eq!(code(kind, input.as_bytes()), "protocol", "{input}");
        }
        assert_eq!(code(Kind::Get, &[b'x'; LINE_BYTES_MAX + 1]), "protocol");
    }
}
