//! What stands on the wire: encodings of keys, the JSON bodies, and problem documents.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use ringfort_types::request::{Condition, Done, Found, Item, Operation};
use ringfort_types::{Code, Key, Outcome, Refusal, Version, format_duration};
use serde::{Deserialize, Serialize};

use crate::call::Answer;
use crate::error::{Failure, Rejection};
use ringfort_route::Safety;

pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("ringfort-timeout-ms");
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const JSON: &str = "application/json";

/// Characters that stay as they are in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Characters that stay as they are in the path of a key, where `/` belongs to the key.
const PATH: &AsciiSet = &QUERY.remove(b'/');

pub(crate) fn encode_query(bytes: &[u8]) -> String {
    percent_encode(bytes, QUERY).to_string()
}

/// One segment of a path.
pub(crate) fn encode_segment(bytes: &[u8]) -> String {
    encode_path(bytes).replace('/', "%2F")
}

/// A key as the rest of a path. The dots of `.` and `..` are encoded, so that nothing between here and the server takes
/// them for directories.
pub(crate) fn encode_path(key: &[u8]) -> String {
    let encoded = percent_encode(key, PATH).to_string();
    if !encoded.split('/').any(|segment| matches!(segment, "." | "..")) {
        return encoded;
    }
    let segments = encoded.split('/').map(|segment| match segment {
        "." => "%2E",
        ".." => "%2E%2E",
        other => other,
    });
    segments.collect::<Vec<_>>().join("/")
}

pub(crate) fn json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// An RFC 9457 problem document with our members. Everything is optional: what stands between may answer too.
#[derive(Debug, Default, Deserialize)]
struct Problem {
    code: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    outcome: Option<String>,
    current_version: Option<u64>,
    failed_op: Option<usize>,
}

/// Turns an answer that is no success into the failure it tells of.
pub(crate) fn refused(answer: &Answer, safety: Safety) -> Failure {
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
    let status = answer.status;
    let told = problem.code.as_deref().or_else(|| answer.header("ringfort-code"));
    let code = told.and_then(Code::parse).unwrap_or_else(|| code_of_status(status));
    let detail = problem.detail.or(problem.title).unwrap_or_else(|| {
        let reason = status.canonical_reason().unwrap_or("no reason given");
        format!("HTTP status {} ({reason})", status.as_u16())
    });
    let refusal = Refusal {
        outcome: safety.is_write().then(|| outcome(problem.outcome.as_deref(), status)),
        current_version: problem.current_version.map(Version),
        failed_op: problem.failed_op,
        replayed: is_replayed(answer),
        ..Refusal::new(code, detail)
    };
    Failure::Refused(Box::new(Rejection {
        status: status.as_u16(),
        refusal,
        request_id: answer.header("ringfort-request-id").map(str::to_owned),
        retry_after: answer
            .header("retry-after")
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs),
    }))
}

pub(crate) fn is_replayed(answer: &Answer) -> bool {
    answer.header("ringfort-replayed") == Some("true")
}

/// The outcome told; where none is, nothing was applied for a client's error, and anything may have been for a server's.
fn outcome(told: Option<&str>, status: StatusCode) -> Outcome {
    match told {
        Some("not_applied") => Outcome::NotApplied,
        None if status.is_client_error() => Outcome::NotApplied,
        _ => Outcome::Unknown,
    }
}

fn code_of_status(status: StatusCode) -> Code {
    let known = Code::ALL.into_iter().find(|code| code.status() == status.as_u16());
    known.unwrap_or(if status.is_client_error() { Code::InvalidArgument } else { Code::Internal })
}

/// The version in `ETag: "17"`.
pub(crate) fn version_of_tag(answer: &Answer) -> Result<Version, String> {
    let tag = answer.header("etag").ok_or("it has no ETag")?;
    let number = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    let number = number.and_then(|number| number.parse().ok());
    number.map(Version).ok_or_else(|| format!("its ETag {tag:?} is no version"))
}

#[derive(Deserialize)]
pub(crate) struct PutAnswer {
    pub(crate) version: u64,
}

#[derive(Deserialize)]
pub(crate) struct DeleteAnswer {
    pub(crate) deleted: bool,
    pub(crate) version: Option<u64>,
}

#[derive(Deserialize)]
pub(crate) struct PageAnswer {
    pub(crate) items: Vec<ItemAnswer>,
    pub(crate) next_cursor: Option<String>,
}

/// Key or value as text where it is UTF-8, else in base64.
fn bytes_of(text: Option<String>, base64: Option<&str>) -> Result<Option<Bytes>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err("both text and base64 are given".into()),
        (Some(text), None) => Ok(Some(text.into())),
        (None, Some(base64)) => match STANDARD.decode(base64) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) => Err(format!("base64: {error}")),
        },
        (None, None) => Ok(None),
    }
}

#[derive(Deserialize)]
pub(crate) struct ItemAnswer {
    key: Option<String>,
    key_b64: Option<String>,
    value: Option<String>,
    value_b64: Option<String>,
    version: u64,
    ttl_ms: Option<u64>,
}

impl ItemAnswer {
    pub(crate) fn into_item(self) -> Result<Item, String> {
        let key = bytes_of(self.key, self.key_b64.as_deref())?.ok_or("an item has no key")?;
        Ok(Item {
            key: Key::new(key).map_err(|error| error.to_string())?,
            version: Version(self.version),
            value: bytes_of(self.value, self.value_b64.as_deref())?.unwrap_or_default(),
            ttl_ms: self.ttl_ms,
        })
    }
}

#[derive(Serialize)]
pub(crate) struct BatchRequest {
    pub(crate) ops: Vec<OperationRequest>,
    pub(crate) atomic: bool,
}

#[derive(Default, Serialize)]
pub(crate) struct OperationRequest {
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_version: Option<u64>,
}

/// Text where the bytes are UTF-8, else base64.
fn text_or_base64(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.into()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

impl OperationRequest {
    pub(crate) fn of(operation: &Operation) -> Result<Self, String> {
        let (key, key_b64) = text_or_base64(operation.key().as_bytes());
        let base = Self { key, key_b64, ..Self::default() };
        Ok(match operation {
            Operation::Get { .. } => Self { op: "get", ..base },
            Operation::Delete { condition, .. } => {
                Self { op: "delete", if_version: version_asked(condition)?, ..base }
            }
            Operation::Put { value, ttl, condition, .. } => {
                let (value, value_b64) = text_or_base64(value);
                Self {
                    op: "put",
                    value,
                    value_b64,
                    ttl: ttl.map(format_duration),
                    if_version: version_asked(condition)?,
                    ..base
                }
            }
        })
    }
}

/// A condition as `if_version`, the only one that batches know; 0 means absent.
fn version_asked(condition: &Condition) -> Result<Option<u64>, String> {
    match condition {
        Condition::Always => Ok(None),
        Condition::Absent => Ok(Some(0)),
        Condition::VersionIn(versions) => match &**versions {
            [version] => Ok(Some(version.0)),
            _ => Err("an operation of a batch takes one version as its condition".into()),
        },
        Condition::Exists | Condition::VersionNotIn(_) => {
            Err("an operation of a batch takes a version as its condition, nothing else".into())
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct BatchAnswer {
    pub(crate) results: Vec<ResultAnswer>,
}

#[derive(Deserialize)]
pub(crate) struct ResultAnswer {
    status: u16,
    version: Option<u64>,
    deleted: Option<bool>,
    value: Option<String>,
    value_b64: Option<String>,
    ttl_ms: Option<u64>,
    #[serde(default)]
    replayed: bool,
    code: Option<String>,
    detail: Option<String>,
    outcome: Option<String>,
    current_version: Option<u64>,
}

impl ResultAnswer {
    /// The result of an operation. `doubt`: an earlier attempt of the batch may have been executed.
    pub(crate) fn into_result(
        self,
        operation: &Operation,
        doubt: bool,
    ) -> Result<crate::BatchResult, String> {
        let absent = self.status == 404 && !operation.is_write();
        if absent {
            return Ok(Ok(Done::Got(None)));
        }
        if !(200..300).contains(&self.status) {
            return Ok(Err(self.into_refusal(operation.is_write(), doubt)));
        }
        let version = self.version.map(Version);
        let needed = || version.ok_or("a result has no version");
        Ok(Ok(match operation {
            Operation::Put { .. } => Done::Put(needed()?),
            Operation::Delete { .. } if self.deleted == Some(false) => Done::Deleted(None),
            Operation::Delete { .. } => Done::Deleted(Some(needed()?)),
            Operation::Get { .. } => Done::Got(Some(Found {
                version: needed()?,
                value: bytes_of(self.value, self.value_b64.as_deref())?
                    .ok_or("a result has no value")?,
                ttl_ms: self.ttl_ms,
            })),
        }))
    }

    fn into_refusal(self, write: bool, doubt: bool) -> Refusal {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let code =
            self.code.as_deref().and_then(Code::parse).unwrap_or_else(|| code_of_status(status));
        let told = outcome(self.outcome.as_deref(), status);
        let remembered = matches!(code, Code::PreconditionFailed | Code::IdempotencyMismatch);
        Refusal {
            outcome: write.then_some(if doubt && !remembered { Outcome::Unknown } else { told }),
            current_version: self.current_version.map(Version),
            replayed: self.replayed,
            ..Refusal::new(code, self.detail.unwrap_or_else(|| format!("status {}", self.status)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_so_that_one_decoding_gives_them_back() {
        for (key, path) in [
            ("a/b", "a/b"),
            ("a b+c", "a%20b%2Bc"),
            ("..", "%2E%2E"),
            ("a/./b", "a/%2E/b"),
            ("a..b", "a..b"),
            ("{u}:ü?", "%7Bu%7D%3A%C3%BC%3F"),
            ("%41", "%2541"),
        ] {
            assert_eq!(encode_path(key.as_bytes()), path);
        }
        assert_eq!(encode_path(&[0, 0xff]), "%00%FF");
        assert_eq!(encode_query(b"a/b&c"), "a%2Fb%26c");
        assert_eq!(encode_segment(b"a/b"), "a%2Fb");
    }

    #[test]
    fn an_answer_of_another_program_is_still_a_failure_with_an_outcome() {
        let answer = |status: u16, body: &'static str| Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
            after_doubt: false,
            endpoint: crate::endpoint::Endpoint::default(),
        };
        let refusal = |status, body| match refused(&answer(status, body), Safety::Once) {
            Failure::Refused(rejection) => rejection.refusal,
            other => panic!("{other}"),
        };
        let other = refusal(502, "<html>");
        assert_eq!(other.outcome, Some(Outcome::Unknown));
        assert_eq!(other.to_string(), "internal: HTTP status 502 (Bad Gateway)");
        assert_eq!(refusal(404, "").outcome, Some(Outcome::NotApplied));
        let body = r#"{"code":"precondition_failed","detail":"no","outcome":"not_applied","current_version":3}"#;
        assert_eq!(refusal(412, body).current_version, Some(Version(3)));
    }

    #[test]
    fn bytes_are_text_or_base64_never_both() {
        assert!(bytes_of(Some("a".into()), Some("YQ==")).is_err());
        assert_eq!(bytes_of(None, Some("/w==")).unwrap().unwrap(), &[0xff_u8][..]);
        assert!(bytes_of(None, Some("!")).is_err());
    }
}
