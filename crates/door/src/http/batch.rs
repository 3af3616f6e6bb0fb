//! `POST /v1/batch`: many operations in one request.

use ringfort_types::request::{Answered, Batch, BatchAnswer, Done, Operation};
use ringfort_types::{Code, Refusal};

use super::batch_request;
use super::call::Call;
use super::head::Head;
use super::json::{self, BytesWriter};
use super::pieces::{self, Document, Step};
use super::problem;
use super::query::Query;
use super::reply::{Content, Reply};
use super::upload::{Arriving, Limit};
use crate::{Backend, OperationKind};

/// Answers a batch.
pub(crate) async fn serve<B: Backend>(
    backend: &B,
    call: &Call<'_>,
    parameters: &[&'static str],
    body: &mut Arriving,
) -> Result<Reply, Refusal> {
    call.progress.kind.set(OperationKind::Batch);
    let head = Head::parse(&call.parts.headers)?;
    head.refuse_conditions()?;
    let query = Query::parse(call.parts.uri.query(), parameters)?;
    let base64 = query.base64()?;
    let identity = head.identity()?;
    head.require_json()?;
    head.refuse_coding()?;
    let limits = backend.limits();
    let limit = Limit {
        part: "body",
        bytes_max: limits.request_bytes_max,
        setting: "limits.max_request_bytes",
    };
    let upload = body.read(backend, limit, call.deadline(&head)).await?;
    let (operations, atomic) = batch_request::parse(&upload.bytes, limits.value_bytes_max)?;
    let writes: Vec<bool> = operations.iter().map(Operation::is_write).collect();
    let context = call.hand_over(&head);
    let batch = Batch { operations, atomic, identity };
    let mut results = backend.batch(&context, batch).await?;
    if results.len() != writes.len() {
        let detail = "the number of results is not that of the operations";
        return Err(Refusal::unknown(Code::Internal, detail));
    }
    for (result, is_write) in results.iter_mut().zip(writes) {
        if let (Err(refusal), true) = (result, is_write) {
            refusal.outcome = Some(problem::outcome_of(refusal, true));
        }
    }
    Ok(Reply {
        replayed: results.iter().any(is_replayed),
        ..Reply::new(Content::Json, pieces::body(ResultsDocument::new(results, base64)))
    })
}

fn is_replayed(result: &Result<Answered, Refusal>) -> bool {
    match result {
        Ok(answered) => answered.replayed,
        Err(refusal) => refusal.replayed,
    }
}

/// `{"results":[…]}`.
struct ResultsDocument {
    results: std::vec::IntoIter<Result<Answered, Refusal>>,
    base64: bool,
    begun: bool,
    first: bool,
    /// What follows the value that is being written.
    rest_of_item: Option<Vec<u8>>,
}

impl ResultsDocument {
    fn new(results: BatchAnswer, base64: bool) -> Self {
        Self { results: results.into_iter(), base64, begun: false, first: true, rest_of_item: None }
    }

    fn write_done(&mut self, out: &mut Vec<u8>, answered: Answered) -> Step {
        let end: &[u8] = if answered.replayed { b",\"replayed\":true}" } else { b"}" };
        match answered.done {
            Done::Got(None) => out.extend_from_slice(b"\"status\":404,\"code\":\"key_not_found\""),
            Done::Got(Some(found)) => {
                out.extend_from_slice(b"\"status\":200,\"version\":");
                json::write_number(out, found.version.0);
                if let Some(ttl_ms) = found.ttl_ms {
                    out.extend_from_slice(b",\"ttl_ms\":");
                    json::write_number(out, ttl_ms);
                }
                out.push(b',');
                self.rest_of_item = Some(end.to_vec());
                return Step::Value(BytesWriter::begin(out, "value", found.value, self.base64));
            }
            Done::Put(version) => {
                out.extend_from_slice(b"\"status\":200,\"version\":");
                json::write_number(out, version.0);
            }
            Done::Deleted(Some(version)) => {
                out.extend_from_slice(b"\"status\":200,\"deleted\":true,\"version\":");
                json::write_number(out, version.0);
            }
            Done::Deleted(None) => out.extend_from_slice(b"\"status\":200,\"deleted\":false"),
        }
        out.extend_from_slice(end);
        Step::More
    }
}

impl Document for ResultsDocument {
    fn write_next(&mut self, out: &mut Vec<u8>) -> Step {
        if !self.begun {
            self.begun = true;
            out.extend_from_slice(b"{\"results\":[");
            return Step::More;
        }
        if let Some(rest) = self.rest_of_item.take() {
            out.extend_from_slice(&rest);
            return Step::More;
        }
        let Some(result) = self.results.next() else {
            out.extend_from_slice(b"]}");
            return Step::End;
        };
        out.extend_from_slice(if std::mem::take(&mut self.first) { b"{" } else { b",{" });
        match result {
            Ok(answered) => self.write_done(out, answered),
            Err(refusal) => {
                write_refusal(out, &refusal);
                Step::More
            }
        }
    }
}

fn write_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    out.extend_from_slice(b"\"status\":");
    json::write_number(out, u64::from(refusal.code.status()));
    problem::write_members(out, refusal);
    out.extend_from_slice(b",\"detail\":");
    json::write_text(out, &refusal.detail);
    if refusal.replayed {
        out.extend_from_slice(b",\"replayed\":true");
    }
    out.push(b'}');
}
