//! Refusals as `application/problem+json` (RFC 9457).

use ringfort_types::{Code, Outcome, Refusal};

use super::json;
use crate::OperationKind;

/// What a person reads first: the same for every refusal with the code.
pub(crate) fn title(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "The request is malformed",
        Code::CrossShard => "An atomic batch reaches over more than one hash tag",
        Code::Unauthenticated => "Credentials are missing or wrong",
        Code::PermissionDenied => "Not permitted",
        Code::KeyNotFound => "The key is absent",
        Code::RouteNotFound => "There is no such route",
        Code::MethodNotAllowed => "The route does not know this method",
        Code::UnsupportedMediaType => "The body is of a type that the route does not take",
        Code::Misdirected => "The request is meant for another host",
        Code::PreconditionFailed => "The condition does not hold",
        Code::TooLarge => "Larger than the limit",
        Code::SessionExpired => "The session is no longer known",
        Code::Conflict => "A conflict with another transaction",
        Code::IdempotencyMismatch => "The idempotency key was used for another request",
        Code::Overloaded => "Too much to do",
        Code::Internal => "An error of ours",
        Code::Unavailable => "Not available now",
        Code::Timeout => "The request's time ran out",
        Code::StorageFull => "The disk or the quota is full",
    }
}

/// Seconds after which it is worth trying again, where that is worth saying: 429 is over once there is room, and 503 of
/// data once there is a leader, and any once the node has started. A cluster that refuses a change, or a node that has
/// started and is not ready, does so until somebody or something else changes.
pub(crate) fn retry_after_seconds(code: Code, kind: OperationKind, starting: bool) -> Option<u32> {
    let passes = starting || kind != OperationKind::Other;
    (code == Code::Overloaded || code == Code::Unavailable && passes).then_some(1)
}

/// The truth about a write that was refused, where whoever refused it did not say: what was handed over and then failed in
/// a way that says nothing about it is in doubt.
pub(crate) fn outcome_of(refusal: &Refusal, handed_over: bool) -> Outcome {
    let in_doubt =
        matches!(refusal.code, Code::Internal | Code::Unavailable | Code::Timeout | Code::Conflict);
    match refusal.outcome {
        Some(outcome) => outcome,
        None if handed_over && in_doubt => Outcome::Unknown,
        None => Outcome::NotApplied,
    }
}

/// The document. `extra` is further members, each with a comma before it.
pub(crate) fn render(refusal: &Refusal, extra: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + refusal.detail.len() + extra.len());
    out.extend_from_slice(b"{\"type\":\"urn:ringfort:problem:");
    out.extend_from_slice(refusal.code.as_str().as_bytes());
    out.extend_from_slice(b"\",\"title\":");
    json::write_text(&mut out, title(refusal.code));
    out.extend_from_slice(b",\"status\":");
    json::write_number(&mut out, u64::from(refusal.code.status()));
    out.extend_from_slice(b",\"detail\":");
    json::write_text(&mut out, &refusal.detail);
    write_members(&mut out, refusal);
    if let Some(operation) = refusal.failed_op {
        out.extend_from_slice(b",\"failed_op\":");
        json::write_number(&mut out, operation as u64);
    }
    out.extend_from_slice(extra);
    out.push(b'}');
    out
}

/// The members that a refused request and a refused operation of a batch share, each with a comma before it.
pub(crate) fn write_members(out: &mut Vec<u8>, refusal: &Refusal) {
    out.extend_from_slice(b",\"code\":\"");
    out.extend_from_slice(refusal.code.as_str().as_bytes());
    out.push(b'"');
    if let Some(outcome) = refusal.outcome {
        out.extend_from_slice(b",\"outcome\":\"");
        out.extend_from_slice(outcome.as_str().as_bytes());
        out.push(b'"');
    }
    if let Some(version) = refusal.current_version {
        out.extend_from_slice(b",\"current_version\":");
        json::write_number(out, version.0);
    }
}
