//! An answer as plain data, and the one place that turns it into an HTTP response.

use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, LOCATION, RETRY_AFTER, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version as HttpVersion};
use ringfort_types::{Code, Outcome, Refusal, Version};

use super::body::Body;
use super::json::Digits;
use super::problem;
use crate::{MetricsFormat, OperationKind};

/// `Ringfort-Code`.
pub(crate) const CODE: HeaderName = HeaderName::from_static("ringfort-code");
/// `Ringfort-Request-Id`.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("ringfort-request-id");
/// `Ringfort-Replayed`.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("ringfort-replayed");
/// `Ringfort-Ttl-Ms`.
pub(crate) const TTL_MS: HeaderName = HeaderName::from_static("ringfort-ttl-ms");
/// `Ringfort-Staleness-Ms`.
pub(crate) const STALENESS_MS: HeaderName = HeaderName::from_static("ringfort-staleness-ms");

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// There is none.
    None,
    /// A value.
    Octets,
    /// JSON.
    Json,
    /// A refusal.
    Problem,
    /// Metrics.
    Metrics(MetricsFormat),
}

impl Content {
    fn media_type(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Octets => Some("application/octet-stream"),
            Self::Json => Some("application/json"),
            Self::Problem => Some("application/problem+json"),
            Self::Metrics(MetricsFormat::Prometheus) => {
                Some("text/plain; version=0.0.4; charset=utf-8")
            }
            Self::Metrics(MetricsFormat::OpenMetrics) => {
                Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
            }
        }
    }
}

/// An answer.
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: StatusCode,
    /// What the body is.
    pub(crate) content: Content,
    /// The body. HEAD gets its length only.
    pub(crate) body: Body,
    /// The version in `ETag`.
    pub(crate) etag: Option<Version>,
    /// What a key has left to live.
    pub(crate) ttl_ms: Option<u64>,
    /// The bound of a stale read.
    pub(crate) staleness_ms: Option<u64>,
    /// The answer is a remembered one.
    pub(crate) replayed: bool,
    /// The methods of the route, for 405.
    pub(crate) allow: Option<&'static str>,
    /// Where progress can be watched, for 202.
    pub(crate) location: Option<HeaderValue>,
    /// The code of a refusal.
    pub(crate) code: Option<Code>,
    /// What a refusal says of the write.
    pub(crate) outcome: Option<Outcome>,
}

impl Reply {
    /// An answer with a body.
    pub(crate) fn new(content: Content, body: Body) -> Self {
        Self {
            status: StatusCode::OK,
            content,
            body,
            etag: None,
            ttl_ms: None,
            staleness_ms: None,
            replayed: false,
            allow: None,
            location: None,
            code: None,
            outcome: None,
        }
    }

    /// A JSON document.
    pub(crate) fn json(document: impl Into<Bytes>) -> Self {
        Self::new(Content::Json, Body::Full(document.into()))
    }

    /// A refusal. `extra` is further members of the document, each with a comma before it.
    pub(crate) fn refusal(refusal: &Refusal, extra: &[u8]) -> Self {
        let document = problem::render(refusal, extra);
        let status = StatusCode::from_u16(refusal.code.status());
        Self {
            // Every status of the table is one.
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            replayed: refusal.replayed,
            code: Some(refusal.code),
            outcome: refusal.outcome,
            ..Self::new(Content::Problem, Body::Full(document.into()))
        }
    }

    /// The response. `headers` is a map to use again, without content.
    pub(crate) fn into_response(self, mut headers: HeaderMap, frame: Framing) -> Response<Body> {
        debug_assert!(headers.is_empty());
        if let Some(media_type) = self.content.media_type() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        if let Content::Metrics(_) = self.content {
            headers.insert(VARY, HeaderValue::from_static("accept"));
        }
        if let Some(version) = self.etag {
            headers.insert(ETAG, etag(version));
        }
        if let Some(code) = self.code {
            headers.insert(CODE, HeaderValue::from_static(code.as_str()));
            if let Some(seconds) = problem::retry_after_seconds(code, frame.kind, frame.starting) {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
        }
        if let Some(ttl_ms) = self.ttl_ms {
            headers.insert(TTL_MS, HeaderValue::from(ttl_ms));
        }
        if let Some(staleness_ms) = self.staleness_ms {
            headers.insert(STALENESS_MS, HeaderValue::from(staleness_ms));
        }
        if self.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if let Some(location) = self.location {
            headers.insert(LOCATION, location);
        }
        headers.insert(REQUEST_ID, frame.request_id);
        if frame.close && frame.version < HttpVersion::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let body = if frame.head_only {
            if let Some(len) = self.body.len().filter(|_| self.content != Content::None) {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
            }
            Body::Empty
        } else {
            self.body
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }
}

/// What an answer takes from its request and connection rather than from its content.
pub(crate) struct Framing {
    /// Names the request in logs.
    pub(crate) request_id: HeaderValue,
    /// The request was a HEAD.
    pub(crate) head_only: bool,
    /// The connection ends with this answer.
    pub(crate) close: bool,
    /// What the request is.
    pub(crate) kind: OperationKind,
    /// The node is starting.
    pub(crate) starting: bool,
    /// The version of HTTP that the request came by.
    pub(crate) version: HttpVersion,
}

fn etag(version: Version) -> HeaderValue {
    let digits = Digits::of(version.0);
    let digits = digits.as_bytes();
    let mut quoted = [b'"'; 22];
    quoted[1..=digits.len()].copy_from_slice(digits);
    // Digits and quotes are visible ASCII.
    HeaderValue::from_bytes(&quoted[..digits.len() + 2])
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}
