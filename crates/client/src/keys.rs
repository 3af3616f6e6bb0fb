//! Calls about keys: get, put, delete, list, batch.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use ringfort_types::request::{Condition, Consistency, Done, Found, Got, Item, Operation};
use ringfort_types::{Key, Refusal, Version, format_duration};

use crate::call::Call;
use crate::client::{Client, is_success};
use crate::error::Error;
use crate::wire;
use ringfort_route::Safety;

/// How to put.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// Lifetime, in whole milliseconds of at least 1; without one an earlier lifetime is cleared.
    pub ttl: Option<Duration>,
    /// What must stand.
    pub condition: Condition,
    /// Makes repetitions happen once, which lets the client try again; 1 to 64 visible ASCII characters. See
    /// [`random_idempotency_key`].
    pub idempotency_key: Option<String>,
}

/// How to delete.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// What must stand.
    pub condition: Condition,
    /// As in [`PutOptions`].
    pub idempotency_key: Option<String>,
}

/// A put that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The key's new version.
    pub version: Version,
    /// The answer is the remembered one of an earlier request with the same idempotency key.
    pub replayed: bool,
}

/// A delete that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The shard's revision at the delete; `None` where the key was absent.
    pub version: Option<Version>,
    /// As in [`Written`].
    pub replayed: bool,
}

/// The result of one operation of a batch: done, or refused with the outcome of this operation.
pub type BatchResult = Result<Done, Refusal>;

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only keys that begin so; empty for all.
    pub prefix: Bytes,
    /// Smallest key, inclusive; empty for the first.
    pub start: Bytes,
    /// End, exclusive.
    pub end: Option<Bytes>,
    /// Most items of a page, 1 to 10,000; the server's default is 100.
    pub limit: Option<usize>,
    /// Where the page before ended; the rest of the query must be the same.
    pub cursor: Option<String>,
    /// Leaves the values out.
    pub keys_only: bool,
    /// How fresh.
    pub consistency: Consistency,
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct ListPage {
    /// The items, in byte order of their keys.
    pub items: Vec<Item>,
    /// Where the next page begins; `None` is the end.
    pub next_cursor: Option<String>,
}

/// A fresh idempotency key: 128 random bits as 32 hexadecimal digits. `None` where the system has no randomness to give.
#[must_use]
pub fn random_idempotency_key() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(format!("{:032x}", u128::from_be_bytes(bytes)))
}

impl Client {
    /// Reads a key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, key: &Key, consistency: Consistency) -> Result<Got, Error> {
        let query = match consistency {
            Consistency::Linearizable => "",
            Consistency::Stale => "?consistency=stale",
        };
        let call =
            Call { bounded: true, ..Call::new(Method::GET, key_target(key) + query, Safety::Read) };
        let accepts = |status: StatusCode| status.is_success() || status == StatusCode::NOT_FOUND;
        let answer = self.execute_for(key, &call, accepts).await?;
        self.decode(&call, &answer, |answer| {
            let number = |name| answer.header(name).and_then(|number| number.parse().ok());
            let staleness_ms = number("ringfort-staleness-ms");
            if answer.status == StatusCode::NOT_FOUND {
                return match answer.header("ringfort-code") {
                    Some("key_not_found") => Ok(Got { found: None, staleness_ms }),
                    _ => Err("404 without key_not_found: is this a Ringfort server?".into()),
                };
            }
            let found = Found {
                version: wire::version_of_tag(answer)?,
                value: answer.body.clone(),
                ttl_ms: number("ringfort-ttl-ms"),
            };
            Ok(Got { found: Some(found), staleness_ms })
        })
    }

    /// Sets a key.
    ///
    /// # Errors
    /// See [`Error`]; a condition that does not hold is a refusal with
    /// [`PreconditionFailed`](ringfort_types::Code::PreconditionFailed).
    pub async fn put(
        &self,
        key: &Key,
        value: Bytes,
        options: &PutOptions,
    ) -> Result<Written, Error> {
        let mut target = key_target(key);
        if let Some(ttl) = options.ttl {
            target = target + "?ttl=" + &format_duration(ttl);
        }
        let mut call = write_call(
            Method::PUT,
            target,
            &options.condition,
            options.idempotency_key.as_deref(),
        )?;
        call.body = value;
        let answer = self.execute_for(key, &call, is_success).await?;
        self.decode(&call, &answer, |answer| {
            let put: wire::PutAnswer = wire::json(&answer.body)?;
            Ok(Written { version: Version(put.version), replayed: wire::is_replayed(answer) })
        })
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`Client::put`]; an absent key is no error.
    pub async fn delete(&self, key: &Key, options: &DeleteOptions) -> Result<Deleted, Error> {
        let call = write_call(
            Method::DELETE,
            key_target(key),
            &options.condition,
            options.idempotency_key.as_deref(),
        )?;
        let answer = self.execute_for(key, &call, is_success).await?;
        self.decode(&call, &answer, |answer| {
            let deleted: wire::DeleteAnswer = wire::json(&answer.body)?;
            let version = match (deleted.deleted, deleted.version) {
                (false, _) => None,
                (true, Some(version)) => Some(Version(version)),
                (true, None) => return Err("a delete has no version".into()),
            };
            Ok(Deleted { version, replayed: wire::is_replayed(answer) })
        })
    }

    /// One page of a listing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self, query: &ListQuery) -> Result<ListPage, Error> {
        let call =
            Call { bounded: true, ..Call::new(Method::GET, list_target(query), Safety::Read) };
        let answer = self.execute(&call, is_success).await?;
        self.decode(&call, &answer, |answer| {
            let page: wire::PageAnswer = wire::json(&answer.body)?;
            let items = page.items.into_iter().map(wire::ItemAnswer::into_item);
            Ok(ListPage { items: items.collect::<Result<_, _>>()?, next_cursor: page.next_cursor })
        })
    }

    /// Executes many operations; one result for each, in order. An atomic batch that was not executed is an error.
    ///
    /// # Errors
    /// See [`Error`]; also a condition that a batch cannot express (it knows versions and absence).
    pub async fn batch(
        &self,
        operations: &[Operation],
        atomic: bool,
        idempotency_key: Option<&str>,
    ) -> Result<Vec<BatchResult>, Error> {
        let writes = operations.iter().any(Operation::is_write);
        let ops = operations.iter().map(wire::OperationRequest::of).collect::<Result<_, _>>();
        let ops = ops.map_err(|detail| Error::invalid(detail, writes))?;
        let body = serde_json::to_vec(&wire::BatchRequest { ops, atomic });
        let body = body.map_err(|error| Error::invalid(error.to_string(), writes))?;
        let mut call = if writes {
            write_call(Method::POST, "/v1/batch".into(), &Condition::Always, idempotency_key)?
        } else {
            Call { bounded: true, ..Call::new(Method::POST, "/v1/batch".into(), Safety::Read) }
        };
        call = call.header(CONTENT_TYPE, HeaderValue::from_static(wire::JSON));
        call.body = body.into();
        let answer = match operations.first() {
            // All in one shard, or refused.
            Some(first) if atomic => self.execute_for(first.key(), &call, is_success).await?,
            _ => self.execute(&call, is_success).await?,
        };
        self.decode(&call, &answer, |answer| {
            let batch: wire::BatchAnswer = wire::json(&answer.body)?;
            if batch.results.len() != operations.len() {
                return Err(format!(
                    "{} results for {} operations",
                    batch.results.len(),
                    operations.len()
                ));
            }
            let results = batch.results.into_iter().zip(operations);
            results
                .map(|(result, operation)| result.into_result(operation, answer.after_doubt))
                .collect()
        })
    }
}

fn key_target(key: &Key) -> String {
    format!("/v1/kv/{}", wire::encode_path(key.as_bytes()))
}

fn list_target(query: &ListQuery) -> String {
    let mut pairs = Vec::new();
    let mut pair = |name: &str, value: String| pairs.push(format!("{name}={value}"));
    if !query.prefix.is_empty() {
        pair("prefix", wire::encode_query(&query.prefix));
    }
    if !query.start.is_empty() {
        pair("start", wire::encode_query(&query.start));
    }
    if let Some(end) = &query.end {
        pair("end", wire::encode_query(end));
    }
    if let Some(limit) = query.limit {
        pair("limit", limit.to_string());
    }
    if query.keys_only {
        pair("keys_only", "true".into());
    }
    if query.consistency == Consistency::Stale {
        pair("consistency", "stale".into());
    }
    if let Some(cursor) = &query.cursor {
        pair("cursor", wire::encode_query(cursor.as_bytes()));
    }
    if pairs.is_empty() {
        return "/v1/kv".into();
    }
    format!("/v1/kv?{}", pairs.join("&"))
}

fn write_call(
    method: Method,
    target: String,
    condition: &Condition,
    idempotency_key: Option<&str>,
) -> Result<Call, Error> {
    let safety = if idempotency_key.is_some() { Safety::Identified } else { Safety::Once };
    let mut call = Call { bounded: true, ..Call::new(method, target, safety) };
    if let Some((name, value)) = condition_header(condition) {
        call = call.header(name, value.map_err(|error| Error::invalid(error.to_string(), true))?);
    }
    if let Some(key) = idempotency_key {
        let value = HeaderValue::from_str(key);
        let value =
            value.map_err(|_| Error::invalid("the idempotency key is no visible ASCII", true))?;
        call = call.header(wire::IDEMPOTENCY_KEY, value);
    }
    Ok(call)
}

type HeaderResult = Result<HeaderValue, http::header::InvalidHeaderValue>;

fn condition_header(condition: &Condition) -> Option<(HeaderName, HeaderResult)> {
    let tags = |versions: &[Version]| {
        let tags: Vec<_> = versions.iter().map(|version| format!("\"{version}\"")).collect();
        HeaderValue::try_from(tags.join(", "))
    };
    match condition {
        Condition::Always => None,
        Condition::Exists => Some((IF_MATCH, Ok(HeaderValue::from_static("*")))),
        Condition::Absent => Some((IF_NONE_MATCH, Ok(HeaderValue::from_static("*")))),
        Condition::VersionIn(versions) => Some((IF_MATCH, tags(versions))),
        Condition::VersionNotIn(versions) => Some((IF_NONE_MATCH, tags(versions))),
    }
}
