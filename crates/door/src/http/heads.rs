//! Where the heads of HTTP/1 requests stand among the bytes of a connection, and whether a target holds a `#`.
//!
//! hyper hands out targets as URIs, which end at a `#`: what follows is dropped, and a PUT of `/v1/kv/a#b` would write the
//! key `a`. No request target has a fragment (RFC 9112, section 3.2), so such a request is refused; but only the raw bytes
//! still show it. To tell a target from a value that looks like one, heads and bodies are followed here as hyper reads
//! them:
//!
//! ```text
//!   Preface ── HTTP/2 ───────────────────────────────────────────────────► Done
//!     │                                                                     ▲
//!     ▼                                                                     │ #
//!   Between ─► Method ── space ──► Target ── space ──► Rest ──► FieldStart ─┘
//!     ▲                                                  ▲         │  ├─► FieldName ─► Length
//!     │                                                  └─────────┴──┘
//!     └──────── Body, or ChunkSize ⇄ ChunkData ─► trailers ◄─────── end of the head
//! ```
//!
//! # Invariants
//!
//! - For every head and body that hyper takes, this agrees with hyper about where it ends. What hyper refuses ends the
//!   connection, so it does not matter what is made of it here.
//! - Nothing is stored but a number or two, whatever a client sends.
//! - The first target with a `#` is the last that is looked for: its connection ends with the refusal.
//!
//! Left out on purpose: HTTP/2. There a `#` in `:path` (which RFC 9113, section 8.3.1, does not allow) is dropped as well
//! before we see it, and what shows it is compressed with the connection's history. Such a request is answered for the path
//! before the `#`.

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The names of the two fields that say how long a body is, in lower case.
const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";

/// Follows the bytes that a client sends, from the first on.
#[derive(Debug)]
pub(crate) struct Heads {
    place: Place,
    /// Requests begun.
    begun: u64,
    /// How long the body is, by as much of the head as was read.
    body: BodyLength,
    hash_in: Option<u64>,
    is_http2: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyLength {
    Bytes(u64),
    Chunked,
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Behind this many bytes of HTTP/2's preface.
    Preface(usize),
    /// Before a request line, where empty lines are skipped.
    Between,
    Method,
    Target,
    /// In a line of the head whose rest says nothing of interest.
    Rest,
    FieldStart,
    /// Behind this many bytes of a name.
    FieldName(&'static [u8], usize),
    /// In the value of `Content-Length`, which begins with this number.
    Length(u64),
    /// In a body with this many bytes to go, at least one.
    Body(u64),
    /// In the size of a chunk, which begins with this number.
    ChunkSize(u64),
    /// Behind the size of a chunk, in its line.
    ChunkExtension(u64),
    /// In a chunk with this many bytes to go, its line's end included.
    ChunkData(u64),
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    /// Nothing is looked for any more.
    Done,
}

impl Default for Heads {
    fn default() -> Self {
        Self {
            place: Place::Preface(0),
            begun: 0,
            body: BodyLength::Bytes(0),
            hash_in: None,
            is_http2: false,
        }
    }
}

impl Heads {
    /// Whether the connection began as one of HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.is_http2
    }

    /// Which request of the connection, counted from 1, was the first with a `#` in its target.
    pub(crate) fn hash_in(&self) -> Option<u64> {
        self.hash_in
    }

    /// Follows the next bytes.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        while let Some((byte, after)) = bytes.split_first() {
            bytes = match self.place {
                Place::Done => return,
                Place::Body(left) | Place::ChunkData(left) => self.skip(left, bytes),
                Place::Rest => match bytes.iter().position(|byte| *byte == b'\n') {
                    Some(end) => {
                        self.place = Place::FieldStart;
                        &bytes[end + 1..]
                    }
                    None => return,
                },
                _ => match self.skip_run(bytes) {
                    0 => {
                        self.place = self.step(*byte);
                        after
                    }
                    run => &bytes[run..],
                },
            };
        }
    }

    /// Goes over the bytes of a target, or of a name as far as it is the one that is looked for, and says how many they are.
    fn skip_run(&mut self, bytes: &[u8]) -> usize {
        match &mut self.place {
            Place::Target => {
                bytes.iter().take_while(|byte| !matches!(byte, b' ' | b'#' | b'\n')).count()
            }
            Place::FieldName(name, at) => {
                let pairs = name[*at..].iter().zip(bytes);
                let same = pairs.take_while(|(known, byte)| byte.eq_ignore_ascii_case(known));
                let run = same.count();
                *at += run;
                run
            }
            _ => 0,
        }
    }

    /// Skips what is here of the bytes that are left of a body or chunk.
    fn skip<'a>(&mut self, left: u64, bytes: &'a [u8]) -> &'a [u8] {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - here as u64;
        self.place = match self.place {
            Place::ChunkData(_) if left == 0 => Place::ChunkSize(0),
            Place::ChunkData(_) => Place::ChunkData(left),
            _ if left == 0 => Place::Between,
            _ => Place::Body(left),
        };
        &bytes[here..]
    }

    /// The place behind a byte that stands in the head, or in the framing of a body.
    fn step(&mut self, byte: u8) -> Place {
        match (self.place, byte) {
            (Place::Preface(matched), _) => self.step_in_preface(matched, byte),
            (Place::Between, b'\r' | b'\n') | (Place::LastLf, _) => Place::Between,
            (Place::Between, _) => {
                self.begun += 1;
                self.body = BodyLength::Bytes(0);
                Place::Method
            }
            (Place::Method, b' ') => Place::Target,
            (Place::Target, b' ') => Place::Rest,
            (Place::Target, b'#') => {
                self.hash_in = Some(self.begun);
                Place::Done
            }
            (Place::Method | Place::Target, b'\n') => Place::FieldStart,
            (Place::FieldStart | Place::FieldName(..) | Place::Length(_), _) => {
                self.step_in_field(byte)
            }
            (Place::ChunkSize(_) | Place::ChunkExtension(_), _) => self.step_in_chunk_size(byte),
            (Place::TrailerStart, b'\r') => Place::LastLf,
            (Place::TrailerStart, _) => Place::Trailer,
            (Place::Trailer, b'\r') => Place::TrailerLf,
            (Place::TrailerLf, _) => Place::TrailerStart,
            (place, _) => place,
        }
    }

    fn step_in_preface(&mut self, matched: usize, byte: u8) -> Place {
        if HTTP2_PREFACE.get(matched) == Some(&byte) {
            let matched = matched + 1;
            self.is_http2 = matched == HTTP2_PREFACE.len();
            return if self.is_http2 { Place::Done } else { Place::Preface(matched) };
        }
        // What matched so far is the beginning of something else.
        self.place = Place::Between;
        self.read(&HTTP2_PREFACE[..matched]);
        self.read(&[byte]);
        self.place
    }

    fn step_in_field(&mut self, byte: u8) -> Place {
        match (self.place, byte) {
            (Place::FieldStart, b'\n') => match self.body {
                BodyLength::Bytes(0) => Place::Between,
                BodyLength::Bytes(length) => Place::Body(length),
                BodyLength::Chunked => Place::ChunkSize(0),
            },
            (Place::FieldStart, b'c' | b'C') => Place::FieldName(CONTENT_LENGTH, 1),
            (Place::FieldStart, b't' | b'T') => Place::FieldName(TRANSFER_ENCODING, 1),
            (Place::FieldName(name, at), b':') if at == name.len() => {
                if name == CONTENT_LENGTH {
                    return Place::Length(0);
                }
                // hyper refuses any coding of a request whose last one is another.
                self.body = BodyLength::Chunked;
                Place::Rest
            }
            (Place::Length(length), b'0'..=b'9') => {
                Place::Length(length.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
            }
            (Place::Length(length), b'\n') => {
                // Chunks win over a length, whichever comes first.
                if self.body != BodyLength::Chunked {
                    self.body = BodyLength::Bytes(length);
                }
                Place::FieldStart
            }
            (Place::Length(length), _) => Place::Length(length),
            (Place::FieldStart, b'\r') | (_, b'\n') => Place::FieldStart,
            _ => Place::Rest,
        }
    }

    fn step_in_chunk_size(&self, byte: u8) -> Place {
        let (Place::ChunkSize(size) | Place::ChunkExtension(size)) = self.place else {
            return self.place;
        };
        let digit = char::from(byte).to_digit(16);
        match (self.place, digit, byte) {
            (_, _, b'\n') if size == 0 => Place::TrailerStart,
            // The line's end behind the data is as good as part of it.
            (_, _, b'\n') => Place::ChunkData(size.saturating_add(2)),
            (Place::ChunkSize(_), Some(digit), _) => {
                Place::ChunkSize(size.saturating_mul(16).saturating_add(u64::from(digit)))
            }
            _ => Place::ChunkExtension(size),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Follows the bytes in pieces of this size.
    fn followed(bytes: &[u8], size: usize) -> Heads {
        let mut heads = Heads::default();
        bytes.chunks(size).for_each(|piece| heads.read(piece));
        heads
    }

    #[test]
    fn targets_are_told_from_everything_else() {
        let plain = "PUT /a HTTP/1.1\r\n";
        for (text, begun, hash_in) in [
            ("", 0, None),
            ("GET /a#b HTTP/1.1\r\n\r\n", 1, Some(1)),
            ("GET /a?b=#", 1, Some(1)),
            ("\r\n\nGET # HTTP/1.1\r\n\r\n", 1, Some(1)),
            ("PRINT /# HTTP/1.1\r\n\r\n", 1, Some(1)),
            ("PRI * HTTP/1.1\r\n\r\nGET /#", 2, Some(2)),
            ("PRI * HTTP/2.0\r\n\r\nS /#", 2, Some(2)),
            ("PRO# /a HTTP/1.1\r\n\r\nGET /# ", 2, Some(2)),
            ("P /# HTTP/1.1\n\n", 1, Some(1)),
            ("GET /a HTTP/1.1\r\nX: a #b\r\n\r\n", 1, None),
            ("GET /a HTTP/1.1\nX: a #b\n\nGET /#", 2, Some(2)),
            (&format!("{plain}Content-Length: 5\r\n\r\nA /#\nB /b H\r\n\r\n"), 2, None),
            (&format!("{plain}Content-Length: 5\r\n\r\nA /#\nB /#"), 2, Some(2)),
            (&format!("{plain}content-LENGTH:05 \r\nCookie: #\r\n\r\nA /# B /#"), 2, Some(2)),
            (&format!("{plain}Content-Length-X: 9\r\n\r\nB /#"), 2, Some(2)),
            (&format!("{plain}Content-Length: 99999999999999999999\r\n\r\nB /#"), 1, None),
            (&format!("{plain}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nB /#"), 2, Some(2)),
            (
                &format!(
                    "{plain}Content-Length: 9\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n0\r\n\r\nB /#"
                ),
                2,
                Some(2),
            ),
            (
                &format!(
                    "{plain}Transfer-Encoding: chunked\r\n\r\n0000A ;x=\"#\"\r\nA /#\n\n\n\n\n\n\r\n0\r\nX: a\n\nB /#\r\n\r\nC /c"
                ),
                2,
                None,
            ),
            (
                &format!("{plain}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nB /#"),
                1,
                None,
            ),
        ] {
            for size in [1, 2, 3, 1000] {
                let heads = followed(text.as_bytes(), size);
                assert_eq!((heads.begun, heads.hash_in), (begun, hash_in), "{size}: {text}");
            }
        }
        assert!(followed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n# #", 1).is_http2());
        assert!(!followed(b"PR /# HTTP/1.1\r\n\r\nPRI", 1).is_http2());
    }

    /// A request, and whether its target holds a `#`.
    fn any_request() -> impl Strategy<Value = (Vec<u8>, bool)> {
        let target = "/[a-z#?=]{0,6}";
        let field =
            prop::sample::select(vec!["Cookie: a #b", "T: /# ", "content-lengthy: 7", "X:"]);
        let fields = prop::collection::vec(field, 0..4);
        let piece = prop::collection::vec(prop::sample::select(b"A /#\r\n0".to_vec()), 1..12);
        let pieces = prop::collection::vec(piece, 0..4);
        (target, fields, pieces, any::<bool>(), any::<bool>()).prop_map(
            |(target, fields, pieces, chunked, coding_first)| {
                let length = format!("Content-Length: {}", pieces.concat().len());
                let framing = if chunked { "TRANSFER-encoding:chunked" } else { &length };
                let mut lines: Vec<_> = fields.into_iter().chain([framing]).collect();
                if coding_first {
                    lines.rotate_right(1);
                }
                let head = format!("PUT {target} HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
                let mut request = head.into_bytes();
                for piece in &pieces {
                    if chunked {
                        request.extend(format!("{:x}\r\n", piece.len()).bytes());
                    }
                    request.extend(piece);
                    if chunked {
                        request.extend(b"\r\n");
                    }
                }
                if chunked {
                    request.extend(b"0\r\n\r\n");
                }
                (request, target.contains('#'))
            },
        )
    }

    proptest! {
        #[test]
        fn the_first_number_sign_in_a_target_is_found(
            requests in prop::collection::vec(any_request(), 0..6),
            size in 1..40_usize,
        ) {
            let bytes: Vec<u8> = requests.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            let expected = (1..).zip(&requests).find(|(_, (_, hash))| *hash).map(|(at, _)| at);
            let heads = followed(&bytes, size);
            prop_assert_eq!(heads.hash_in(), expected);
            if expected.is_none() {
                prop_assert_eq!(heads.begun, requests.len() as u64);
            }
        }

        #[test]
        fn any_bytes_will_do(bytes: Vec<u8>, size in 1..40_usize) {
            followed(&bytes, size);
        }
    }
}
