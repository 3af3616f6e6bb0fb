//! Values by name, requests as bytes, answers as outcomes.

use anyhow::{Context, Result, bail};
use ringfort_check::{Condition, Operation, Outcome};
use serde_json::{Value, json};

use crate::http::{HttpClient, HttpError, Request, Response};

/// Name of a value: `<load>.<client>.<sequence>.<length in bytes>`.
pub(super) fn value_name(load: u64, client: u32, sequence: u64, len: u64) -> String {
    format!("{load}.{client}.{sequence}.{len}")
}

/// The bytes of a value: its name, a bar, and filler that depends on name and place, of the length in the name.
pub(super) fn value_bytes(name: &str) -> Vec<u8> {
    let len = name.rsplit('.').next().and_then(|len| len.parse().ok());
    let mut bytes = format!("{name}|").into_bytes();
    let salt = name
        .bytes()
        .fold(7_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut random = crate::Random::new(salt);
    let letters = b"abcdefghijklmnopqrstuvwxyz0123456789";
    while bytes.len() < len.unwrap_or(0) {
        let word = random.next().to_le_bytes();
        bytes.extend(word.map(|byte| letters[usize::from(byte) % letters.len()]));
    }
    bytes.truncate(len.unwrap_or(0).max(name.len() + 1));
    bytes
}

/// The name of these bytes; where any of them is wrong, a name that nobody put.
fn name_of(bytes: &[u8]) -> String {
    let bar = bytes.iter().position(|byte| *byte == b'|');
    let name = String::from_utf8_lossy(&bytes[..bar.unwrap_or(0)]).into_owned();
    if value_bytes(&name) == bytes {
        return name;
    }
    let shown = &bytes[..bytes.len().min(60)];
    format!("damaged, {} bytes: {}…", bytes.len(), shown.escape_ascii())
}

/// Percent-encodes a key for a path.
pub(super) fn encode(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte);
    key.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// Sends one operation.
pub(super) fn send(
    http: &mut HttpClient,
    key: &str,
    operation: &Operation,
    idempotency_key: Option<&str>,
) -> Result<Response, HttpError> {
    let (method, body, condition) = match operation {
        Operation::Put { value, condition, .. } => ("PUT", value_bytes(value), *condition),
        Operation::Delete { condition } => ("DELETE", Vec::new(), *condition),
        Operation::Get => ("GET", Vec::new(), Condition::Always),
    };
    let ttl = match operation {
        Operation::Put { ttl_ms: Some(ttl_ms), .. } => format!("?ttl={ttl_ms}ms"),
        _ => String::new(),
    };
    let tag = match condition {
        Condition::Always => None,
        Condition::Absent => Some(("If-None-Match", "*".to_owned())),
        Condition::Exists => Some(("If-Match", "*".to_owned())),
        Condition::Version(version) => Some(("If-Match", format!("\"{version}\""))),
    };
    let mut headers = Vec::new();
    if let Some((name, value)) = &tag {
        headers.push((*name, value.as_str()));
    }
    if let Some(idempotency_key) = idempotency_key {
        headers.push(("Idempotency-Key", idempotency_key));
    }
    http.send(&Request {
        method,
        target: &format!("/v1/kv/{}{ttl}", encode(key)),
        headers: &headers,
        body: &body,
    })
}

/// Sends a read that any replica may answer from what it has applied.
pub(super) fn send_stale(http: &mut HttpClient, key: &str) -> Result<Response, HttpError> {
    http.get(&format!("/v1/kv/{}?consistency=stale", encode(key)))
}

/// What an answer to a stale read says of its age, in microseconds.
///
/// # Errors
/// It says nothing, and must: a value, or its absence, was given.
pub(super) fn staleness_us(response: &Response) -> Result<u64> {
    let header = response.header("ringfort-staleness-ms");
    let milliseconds = header.and_then(|text| text.parse::<u64>().ok());
    let milliseconds = milliseconds
        .with_context(|| format!("a stale read without a bound: {:?}", response.headers))?;
    Ok(milliseconds.saturating_mul(1000))
}

/// Sends a batch.
pub(super) fn send_batch(
    http: &mut HttpClient,
    operations: &[(String, Operation)],
    atomic: bool,
) -> Result<Response, HttpError> {
    let ops: Vec<_> = operations.iter().map(|(key, op)| batch_json(key, op)).collect();
    let body = json!({"ops": ops, "atomic": atomic}).to_string();
    http.send(&Request {
        method: "POST",
        target: "/v1/batch",
        headers: &[("Content-Type", "application/json")],
        body: body.as_bytes(),
    })
}

fn batch_json(key: &str, operation: &Operation) -> Value {
    let (mut op, condition) = match operation {
        Operation::Put { value, condition, ttl_ms } => {
            let value = String::from_utf8_lossy(&value_bytes(value)).into_owned();
            let mut op = json!({"op": "put", "key": key, "value": value});
            if let Some(ttl_ms) = ttl_ms {
                op["ttl"] = json!(format!("{ttl_ms}ms"));
            }
            (op, *condition)
        }
        Operation::Delete { condition } => (json!({"op": "delete", "key": key}), *condition),
        Operation::Get => (json!({"op": "get", "key": key}), Condition::Always),
    };
    match condition {
        Condition::Always => {}
        Condition::Absent => op["if_version"] = json!(0),
        // The batches of the contract know no such condition: the server refuses it, and the load ends with that.
        Condition::Exists => op["if_exists"] = json!(true),
        Condition::Version(version) => op["if_version"] = json!(version),
    }
    op
}

/// What a GET said; [`Outcome::NotApplied`] where it was not served.
pub(super) fn outcome_of_get(response: &Response) -> Outcome {
    let tag = response.header("etag").map(|tag| tag.trim_matches('"'));
    match (response.status, tag.and_then(|tag| tag.parse().ok())) {
        (200, Some(version)) => Outcome::Found { value: name_of(&response.body), version },
        (404, _) => Outcome::Absent,
        _ => Outcome::NotApplied,
    }
}

/// What an answer to one operation said.
///
/// # Errors
/// It is no answer that the contract knows for this operation under such a load.
pub(super) fn outcome(operation: &Operation, response: &Response) -> Result<Outcome> {
    if *operation == Operation::Get {
        return Ok(outcome_of_get(response));
    }
    outcome_of_write(response.status, &response.json())
}

/// The same for one result of a batch.
///
/// # Errors
/// As [`outcome`].
pub(super) fn outcome_in_batch(operation: &Operation, result: &Value) -> Result<Outcome> {
    let status = result["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let status = status.unwrap_or(0);
    if *operation != Operation::Get {
        return outcome_of_write(status, result);
    }
    match (status, result["value"].as_str(), result["version"].as_u64()) {
        (200, Some(value), Some(version)) => {
            Ok(Outcome::Found { value: name_of(value.as_bytes()), version })
        }
        (404, ..) => Ok(Outcome::Absent),
        _ => Ok(Outcome::NotApplied),
    }
}

/// Every key that begins so with name and version of its value, page by page; pages are short, so that there are many.
///
/// # Errors
/// A page is not served, or is none.
pub(super) fn list(http: &mut HttpClient, prefix: &str) -> Result<Vec<(String, (String, u64))>> {
    let mut listed = Vec::new();
    let mut cursor = String::new();
    loop {
        let target = format!("/v1/kv?prefix={}&limit=7{cursor}", encode(prefix));
        let response = http.get(&target)?;
        let page = response.json();
        let items = page["items"].as_array();
        let items = items.with_context(|| format!("{target}: {}", response.text()))?;
        for item in items {
            let parts = (item["key"].as_str(), item["value"].as_str(), item["version"].as_u64());
            let (Some(key), Some(value), Some(version)) = parts else {
                bail!("an item of a listing: {item}");
            };
            listed.push((key.to_owned(), (name_of(value.as_bytes()), version)));
        }
        match &page["next_cursor"] {
            Value::Null => return Ok(listed),
            next => {
                let next = next.as_str().context("a cursor that is no text")?;
                cursor = format!("&cursor={}", encode(next));
            }
        }
    }
}

fn outcome_of_write(status: u16, body: &Value) -> Result<Outcome> {
    let version = body["version"].as_u64();
    let current_version = body["current_version"].as_u64();
    Ok(match (status, version, current_version, body["outcome"].as_str()) {
        (200, Some(version), ..) => Outcome::Written { version },
        (200, None, ..) if body["deleted"] == json!(false) => Outcome::Absent,
        (412, _, Some(current_version), _) => Outcome::Refused { current_version },
        (412, None, None, _) if body["failed_op"].is_u64() => Outcome::NotApplied,
        (429 | 503 | 504 | 507, _, _, Some("not_applied")) => Outcome::NotApplied,
        (500 | 503 | 504, _, _, Some("unknown")) => Outcome::Unknown,
        _ => bail!("a write was answered with {status} {body}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_by_its_bytes_and_only_by_all_of_them() {
        for len in [0, 5, 12, 700] {
            let name = value_name(3, 1, 17, len);
            let bytes = value_bytes(&name);
            assert_eq!(name_of(&bytes), name);
            assert_eq!(bytes.len() as u64, len.max(name.len() as u64 + 1));
            for place in [0, bytes.len() - 1] {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1;
                assert_ne!(name_of(&damaged), name);
            }
            assert_ne!(name_of(&bytes[..bytes.len() - 1]), name);
        }
        assert!(name_of(b"").starts_with("damaged"));
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        let answer =
            |status, body: &str| outcome_of_write(status, &serde_json::from_str(body).unwrap());
        assert_eq!(answer(200, r#"{"version":3}"#).unwrap(), Outcome::Written { version: 3 });
        assert_eq!(answer(200, r#"{"deleted":false}"#).unwrap(), Outcome::Absent);
        let refused = answer(412, r#"{"current_version":0}"#).unwrap();
        assert_eq!(refused, Outcome::Refused { current_version: 0 });
        assert_eq!(answer(503, r#"{"outcome":"unknown"}"#).unwrap(), Outcome::Unknown);
        for (status, body) in
            [(200, "{}"), (404, "{}"), (503, "{}"), (400, r#"{"outcome":"not_applied"}"#)]
        {
            assert!(answer(status, body).is_err(), "{status} {body}");
        }
    }
}
