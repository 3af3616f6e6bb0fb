//! `GET /v1/kv`: listings, page by page.

use bytes::Bytes;
use ringfort_types::limits::{
    KEY_BYTES_MAX, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, LIST_PAGE_BYTES_MAX,
};
use ringfort_types::request::{Item, List};
use ringfort_types::{Code, Refusal};

use super::call::Call;
use super::head::Head;
use super::json::{self, BytesWriter};
use super::pieces::{self, Document, Step};
use super::query::Query;
use super::reply::{Content, Reply};
use super::upload::Arriving;
use super::{cursor, query};
use crate::{Backend, OperationKind};

/// Answers a request for a listing.
pub(crate) async fn serve<B: Backend>(
    backend: &B,
    call: &Call<'_>,
    parameters: &[&'static str],
    body: &mut Arriving,
) -> Result<Reply, Refusal> {
    call.progress.kind.set(OperationKind::List);
    let head = Head::parse(&call.parts.headers)?;
    head.refuse_identity()?;
    let query = Query::parse(call.parts.uri.query(), parameters)?;
    let (list, base64) = parse(&query)?;
    body.expect_none(backend, call.deadline(&head)).await?;
    let context = call.hand_over(&head);
    let page = backend.list(&context, list.clone()).await?;
    let next_cursor = match (page.more, page.items.last()) {
        (false, _) => None,
        (true, Some(last)) => Some(cursor::write(&list, base64, &last.key)),
        (true, None) => {
            let detail = "a page without items says that more follow";
            return Err(Refusal::new(Code::Internal, detail));
        }
    };
    let document = PageDocument {
        items: page.items.into_iter(),
        open_item: None,
        begun: false,
        first: true,
        next_cursor,
        keys_only: list.keys_only,
        base64,
    };
    Ok(Reply {
        staleness_ms: page.staleness_ms,
        ..Reply::new(Content::Json, pieces::body(document))
    })
}

fn parse(query: &Query) -> Result<(List, bool), Refusal> {
    let limit = match query.text("limit")? {
        None => LIST_LIMIT_DEFAULT,
        Some(text) => parse_limit(text)?,
    };
    let keys_only = query.choice("keys_only", &[("true", true), ("false", false)])?;
    let mut list = List {
        prefix: bound(query, "prefix")?,
        start: bound(query, "start")?,
        end: Some(bound(query, "end")?).filter(|end| !end.is_empty()),
        after: None,
        limit,
        bytes_max: LIST_PAGE_BYTES_MAX,
        keys_only: keys_only.unwrap_or(false),
        consistency: query.consistency()?,
    };
    let base64 = query.base64()?;
    if let Some(cursor) = query.bytes("cursor") {
        list.after = Some(cursor::read(&list, base64, cursor)?);
    }
    Ok((list, base64))
}

fn parse_limit(text: &str) -> Result<usize, Refusal> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(limit @ 1..=LIST_LIMIT_MAX) if digits => Ok(limit),
        _ => {
            let shown = query::shown(text.as_bytes());
            let detail = format!(
                "the query parameter limit is a whole number from 1 to {LIST_LIMIT_MAX}; got {shown}"
            );
            Err(Refusal::new(Code::InvalidArgument, detail))
        }
    }
}

/// The beginning or end of a range; empty means that there is none.
fn bound(query: &Query, name: &'static str) -> Result<Bytes, Refusal> {
    let bytes = query.bytes(name).cloned().unwrap_or_default();
    if bytes.len() > KEY_BYTES_MAX {
        let detail = format!(
            "the query parameter {name} has {} bytes; the limit of a key is {KEY_BYTES_MAX}",
            bytes.len()
        );
        return Err(Refusal::new(Code::TooLarge, detail));
    }
    Ok(bytes)
}

/// `{"items":[…],"next_cursor":…}`.
struct PageDocument {
    items: std::vec::IntoIter<Item>,
    /// The item whose value is being written.
    open_item: Option<Item>,
    begun: bool,
    first: bool,
    next_cursor: Option<String>,
    keys_only: bool,
    base64: bool,
}

impl Document for PageDocument {
    fn write_next(&mut self, out: &mut Vec<u8>) -> Step {
        if !self.begun {
            self.begun = true;
            out.extend_from_slice(b"{\"items\":[");
            return Step::More;
        }
        if let Some(item) = self.open_item.take() {
            out.extend_from_slice(b",\"version\":");
            json::write_number(out, item.version.0);
            if let Some(ttl_ms) = item.ttl_ms {
                out.extend_from_slice(b",\"ttl_ms\":");
                json::write_number(out, ttl_ms);
            }
            out.push(b'}');
            return Step::More;
        }
        let Some(mut item) = self.items.next() else {
            out.extend_from_slice(b"],\"next_cursor\":");
            match &self.next_cursor {
                Some(cursor) => json::write_text(out, cursor),
                None => out.extend_from_slice(b"null"),
            }
            out.push(b'}');
            return Step::End;
        };
        out.extend_from_slice(if std::mem::take(&mut self.first) { b"{" } else { b",{" });
        json::write_bytes(out, "key", item.key.to_bytes(), self.base64);
        let value = std::mem::take(&mut item.value);
        self.open_item = Some(item);
        if self.keys_only {
            return Step::More;
        }
        out.push(b',');
        Step::Value(BytesWriter::begin(out, "value", value, self.base64))
    }
}
