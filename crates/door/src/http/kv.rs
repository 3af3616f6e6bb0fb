//! The routes of a single key: the fast path. No JSON is parsed, nothing is boxed, and what is allocated is the key, a
//! buffered body if it came in pieces, and what the answer says.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use ringfort_types::limits::TTL_MS_MAX;
use ringfort_types::request::{Done, Found, Get, Got, Operation, Write};
use ringfort_types::{Code, Key, KeyError, Refusal, Version, parse_duration};

use super::body::Body;
use super::call::Call;
use super::head::Head;
use super::json::Digits;
use super::percent;
use super::query::Query;
use super::reply::{Content, Reply};
use super::upload::{Arriving, Limit};
use crate::{Backend, OperationKind};

/// Answers a request for one key, with the key as it stands in the path.
pub(crate) async fn serve<B: Backend>(
    backend: &B,
    call: &Call<'_>,
    raw_key: &str,
    parameters: &[&'static str],
    body: &mut Arriving,
) -> Result<Reply, Refusal> {
    let method = &call.parts.method;
    call.progress.kind.set(match *method {
        Method::PUT => OperationKind::Put,
        Method::DELETE => OperationKind::Delete,
        _ => OperationKind::Get,
    });
    let head = Head::parse(&call.parts.headers)?;
    let query = Query::parse(call.parts.uri.query(), parameters)?;
    let key = key_of_path(raw_key)?;
    match *method {
        Method::PUT => put(backend, call, head, &query, key, body).await,
        Method::DELETE => delete(backend, call, head, key, body).await,
        _ => get(backend, call, &head, &query, key, body).await,
    }
}

async fn get<B: Backend>(
    backend: &B,
    call: &Call<'_>,
    head: &Head<'_>,
    query: &Query,
    key: Key,
    body: &mut Arriving,
) -> Result<Reply, Refusal> {
    head.refuse_identity()?;
    let consistency = query.consistency()?;
    body.expect_none(backend, call.deadline(head)).await?;
    let context = call.hand_over(head);
    let Got { found, staleness_ms } = backend.get(&context, Get { key, consistency }).await?;
    Ok(Reply { staleness_ms, ..reading(found, head) })
}

/// The answer to a read, by what stands and what the conditions ask.
fn reading(found: Option<Found>, head: &Head<'_>) -> Reply {
    let Some(found) = found else {
        return Reply::refusal(&Refusal::new(Code::KeyNotFound, "the key is absent"), b"");
    };
    if head.if_match().is_some_and(|tags| !tags.matches(found.version)) {
        let refusal = Refusal::precondition(found.version);
        return Reply::refusal(&Refusal { outcome: None, ..refusal }, b"");
    }
    let reply = if head.if_none_match().is_some_and(|tags| tags.matches(found.version)) {
        Reply { status: StatusCode::NOT_MODIFIED, ..Reply::new(Content::None, Body::Empty) }
    } else {
        Reply::new(Content::Octets, Body::Full(found.value))
    };
    Reply { etag: Some(found.version), ttl_ms: found.ttl_ms, ..reply }
}

async fn put<B: Backend>(
    backend: &B,
    call: &Call<'_>,
    mut head: Head<'_>,
    query: &Query,
    key: Key,
    body: &mut Arriving,
) -> Result<Reply, Refusal> {
    head.refuse_coding()?;
    let ttl =
        query.text("ttl")?.map(|text| parse_ttl(text, "the query parameter ttl")).transpose()?;
    let condition = head.condition()?;
    let identity = head.identity()?;
    let limit = Limit {
        part: "value",
        bytes_max: backend.limits().value_bytes_max,
        setting: "limits.max_value_bytes",
    };
    let upload = body.read(backend, limit, call.deadline(&head)).await?;
    let operation = Operation::Put { key, value: upload.bytes.clone(), ttl, condition };
    let context = call.hand_over(&head);
    let write = Write { operation, identity };
    let answered = backend.write(&context, write).await?;
    match answered.done {
        Done::Put(version) => Ok(Reply {
            etag: Some(version),
            replayed: answered.replayed,
            ..Reply::json(version_document(b"{\"version\":", version))
        }),
        Done::Got(_) | Done::Deleted(_) => Err(mixed_up()),
    }
}

async fn delete<B: Backend>(
    backend: &B,
    call: &Call<'_>,
    mut head: Head<'_>,
    key: Key,
    body: &mut Arriving,
) -> Result<Reply, Refusal> {
    let condition = head.condition()?;
    let identity = head.identity()?;
    body.expect_none(backend, call.deadline(&head)).await?;
    let context = call.hand_over(&head);
    let write = Write { operation: Operation::Delete { key, condition }, identity };
    let answered = backend.write(&context, write).await?;
    let document = match answered.done {
        Done::Deleted(Some(version)) => {
            version_document(b"{\"deleted\":true,\"version\":", version)
        }
        Done::Deleted(None) => Bytes::from_static(b"{\"deleted\":false}"),
        Done::Got(_) | Done::Put(_) => return Err(mixed_up()),
    };
    Ok(Reply { replayed: answered.replayed, ..Reply::json(document) })
}

fn version_document(beginning: &[u8], version: Version) -> Bytes {
    let digits = Digits::of(version.0);
    let digits = digits.as_bytes();
    let mut document = Vec::with_capacity(beginning.len() + digits.len() + 1);
    document.extend_from_slice(beginning);
    document.extend_from_slice(digits);
    document.push(b'}');
    document.into()
}

/// An answer to another question than was asked.
pub(crate) fn mixed_up() -> Refusal {
    Refusal::unknown(Code::Internal, "the answer does not belong to the operation")
}

fn key_of_path(raw: &str) -> Result<Key, Refusal> {
    let bytes = percent::decode(raw).map_err(|bad| {
        let detail = format!(
            "the key in the path holds a % without two hexadecimal digits, {} bytes into it",
            bad.at
        );
        Refusal::new(Code::InvalidArgument, detail)
    })?;
    Key::new(bytes).map_err(|error| refuse_key(&error))
}

/// The refusal of bytes that cannot be a key.
pub(crate) fn refuse_key(error: &KeyError) -> Refusal {
    let code = match error {
        KeyError::Empty => Code::InvalidArgument,
        KeyError::TooLong(_) => Code::TooLarge,
    };
    Refusal::new(code, error.to_string())
}

/// Parses a time to live.
pub(crate) fn parse_ttl(text: &str, part: &'static str) -> Result<Duration, Refusal> {
    let invalid = |detail: String| Refusal::new(Code::InvalidArgument, Cow::Owned(detail));
    let ttl = parse_duration(text).map_err(|error| invalid(format!("{part}: {error}")))?;
    if (1..=u128::from(TTL_MS_MAX)).contains(&ttl.as_millis()) {
        Ok(ttl)
    } else {
        Err(invalid(format!("{part} is from 1ms to 10000d")))
    }
}
