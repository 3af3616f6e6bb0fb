//! Request headers that mean something to this door, found in one pass.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue};
use ringfort_types::limits::{IDEMPOTENCY_KEY_BYTES_MAX, TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX};
use ringfort_types::request::{Condition, Identity, Trace};
use ringfort_types::{Code, Refusal};

use super::query;
use super::tags::Tags;

/// What the headers of a request ask for.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    /// `Ringfort-Timeout-Ms`, or the default.
    pub(crate) timeout: Duration,
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
    idempotency_key: Option<&'a HeaderValue>,
    content_type: Option<&'a HeaderValue>,
    traceparent: Option<&'a HeaderValue>,
    /// A line of `Content-Encoding` that names another coding than `identity`.
    content_coding: Option<&'a HeaderValue>,
}

impl<'a> Head<'a> {
    /// Reads the headers, each of which may be meant for another route: what is misplaced is refused later, by those
    /// that know.
    pub(crate) fn parse(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let mut head = Self {
            timeout: Duration::from_millis(TIMEOUT_MS_DEFAULT),
            if_match: None,
            if_none_match: None,
            idempotency_key: None,
            content_type: None,
            traceparent: None,
            content_coding: None,
        };
        let mut timeout_seen = false;
        let mut traces = 0;
        for (name, value) in headers {
            if *name == IF_MATCH {
                head.if_match = Some(Tags::add_line(head.if_match.take(), "If-Match", value)?);
            } else if *name == IF_NONE_MATCH {
                let earlier = head.if_none_match.take();
                head.if_none_match = Some(Tags::add_line(earlier, "If-None-Match", value)?);
            } else if *name == CONTENT_TYPE {
                once(head.content_type.replace(value).is_none(), "Content-Type")?;
            } else if *name == CONTENT_ENCODING {
                head.content_coding =
                    head.content_coding.or(Some(value).filter(|line| is_coded(line)));
            } else if *name == TRANSFER_ENCODING {
                // Anything else than the framing would be stored as if it were the value.
                if !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    let shown = query::shown(value.as_bytes());
                    let detail =
                        format!("the Transfer-Encoding header is chunked, if any; got {shown}");
                    return Err(invalid(detail));
                }
            } else if *name == CONTENT_RANGE {
                // A part must never be taken for the whole (RFC 9110, section 14.5).
                return Err(invalid(
                    "the Content-Range header has no meaning here: a value is put whole",
                ));
            } else if let Some(own) = name.as_str().strip_prefix("ringfort-") {
                if own != "timeout-ms" {
                    let detail =
                        format!("unknown header {name}: a request knows Ringfort-Timeout-Ms only");
                    return Err(invalid(detail));
                }
                once(!timeout_seen, "Ringfort-Timeout-Ms")?;
                timeout_seen = true;
                head.timeout = parse_timeout(value)?;
            } else if name == "idempotency-key" {
                once(head.idempotency_key.replace(value).is_none(), "Idempotency-Key")?;
            } else if name == "traceparent" {
                // One that is none, or one of several, is nobody's fault who asks: there is no trace then.
                head.traceparent = if traces == 0 { Some(value) } else { None };
                traces += 1;
            }
        }
        Ok(head)
    }

    /// The trace that the request belongs to.
    pub(crate) fn trace(&self) -> Trace {
        self.traceparent.map(|value| Trace::parse(value.as_bytes())).unwrap_or_default()
    }

    /// What must stand for a write to happen.
    pub(crate) fn condition(&mut self) -> Result<Condition, Refusal> {
        match (self.if_match.take(), self.if_none_match.take()) {
            (None, None) => Ok(Condition::Always),
            (Some(Tags::Any), None) => Ok(Condition::Exists),
            (Some(Tags::Versions(versions)), None) => Ok(Condition::VersionIn(versions.into())),
            (None, Some(Tags::Any)) => Ok(Condition::Absent),
            (None, Some(Tags::Versions(versions))) => Ok(Condition::VersionNotIn(versions.into())),
            (Some(_), Some(_)) => Err(invalid("If-Match and If-None-Match exclude each other")),
        }
    }

    /// `If-Match` of a read.
    pub(crate) fn if_match(&self) -> Option<&Tags> {
        self.if_match.as_ref()
    }

    /// `If-None-Match` of a read.
    pub(crate) fn if_none_match(&self) -> Option<&Tags> {
        self.if_none_match.as_ref()
    }

    /// What makes a retry of a write happen once.
    pub(crate) fn identity(&self) -> Result<Identity, Refusal> {
        let Some(value) = self.idempotency_key else {
            return Ok(Identity::None);
        };
        let key = value.as_bytes();
        let visible = key.iter().all(u8::is_ascii_graphic);
        if !visible || !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) {
            let detail = "the Idempotency-Key header is 1 to 64 visible ASCII characters";
            return Err(invalid(detail));
        }
        Ok(Identity::IdempotencyKey(Bytes::copy_from_slice(key)))
    }

    /// Refuses an identity where nothing is written under one.
    pub(crate) fn refuse_identity(&self) -> Result<(), Refusal> {
        match self.idempotency_key {
            None => Ok(()),
            Some(_) => Err(invalid("the Idempotency-Key header belongs to a write of keys")),
        }
    }

    /// Refuses conditions where nothing would keep them.
    pub(crate) fn refuse_conditions(&self) -> Result<(), Refusal> {
        match (&self.if_match, &self.if_none_match) {
            (None, None) => Ok(()),
            _ => Err(invalid("this route takes neither If-Match nor If-None-Match")),
        }
    }

    /// Refuses a coded body: nothing here decodes one, and a value that is given back says nothing of a coding.
    pub(crate) fn refuse_coding(&self) -> Result<(), Refusal> {
        let Some(line) = self.content_coding else {
            return Ok(());
        };
        let shown = query::shown(line.as_bytes());
        let detail =
            format!("the Content-Encoding header is {shown}; bodies are taken without a coding");
        Err(Refusal::new(Code::UnsupportedMediaType, detail))
    }

    /// Refuses a POST whose body is not said to be JSON: what a web page may send to another site without asking is not.
    pub(crate) fn require_json(&self) -> Result<(), Refusal> {
        let is_json = self.content_type.is_some_and(|value| {
            let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
        });
        if is_json {
            return Ok(());
        }
        let detail = "every POST needs the header Content-Type: application/json";
        Err(Refusal::new(Code::UnsupportedMediaType, detail))
    }
}

/// Whether a line of `Content-Encoding` names a coding that changes the body. `identity` is none, though it should not be
/// sent (RFC 9110, section 8.4.1).
fn is_coded(line: &HeaderValue) -> bool {
    let names = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    names.filter(|name| !name.is_empty()).any(|name| !name.eq_ignore_ascii_case(b"identity"))
}

fn parse_timeout(value: &HeaderValue) -> Result<Duration, Refusal> {
    let digits = value.as_bytes();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = value.to_str().ok().filter(|_| is_number).and_then(|text| text.parse().ok());
    match number {
        Some(ms @ 1..=TIMEOUT_MS_MAX) => Ok(Duration::from_millis(ms)),
        _ => Err(invalid("the Ringfort-Timeout-Ms header is a whole number from 1 to 60000")),
    }
}

fn once(first: bool, name: &str) -> Result<(), Refusal> {
    if first { Ok(()) } else { Err(invalid(format!("the {name} header is repeated"))) }
}

fn invalid(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::InvalidArgument, detail)
}
