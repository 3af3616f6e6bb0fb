//! The door: what happens to every request whatever its route.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use http::header::EXPECT;
use http::request::Parts;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use ringfort_types::{Code, Refusal};

use super::body::Body;
use super::call::{Call, Progress};
use super::connection::Protocols;
use super::link::Link;
use super::options::{HttpOptions, Surface};
use super::reply::{Framing, Reply};
use super::request_id::RequestIds;
use super::route::{self, Route};
use super::upload::Arriving;
use super::{host, kv};
use crate::{Backend, Observation};

/// An HTTP door over a backend, on one worker's thread. See [`HttpDoor::serve_connection`].
pub struct HttpDoor<B> {
    pub(crate) backend: Rc<B>,
    pub(crate) options: HttpOptions,
    pub(crate) protocols: Protocols,
    pub(crate) request_ids: RequestIds,
}

impl<B: Backend> HttpDoor<B> {
    /// Opens a door.
    #[must_use]
    pub fn new(backend: Rc<B>, options: HttpOptions) -> Self {
        Self {
            backend,
            protocols: Protocols::new(&options),
            request_ids: RequestIds::new(options.request_id_seed),
            options,
        }
    }

    async fn answer(&self, call: &Call<'_>, body: &mut Arriving) -> Result<Reply, Refusal> {
        host::check(call.parts, &self.options.hosts)?;
        call.refuse_cut_target()?;
        let path = call.parts.uri.path();
        let route = Route::find(path)?;
        if self.options.surface == Surface::Health && !route.is_health() {
            return Err(route::unknown(path));
        }
        let info = route.info();
        let method = call.parts.method.as_str();
        let known = info.methods.iter().find(|(known, _)| *known == method);
        let Some((_, parameters)) = known else {
            return Ok(method_not_allowed(call, info));
        };
        match route {
            Route::Key(raw) => kv::serve(&*self.backend, call, raw, parameters, body).await,
            // Everything else is rare or large: its state lives in a box, not in every request's future.
            _ => Box::pin(self.answer_rest(call, route, parameters, body)).await,
        }
    }
}

/// Answers one request. A function of its own, with what it needs by value, so that nothing is moved from one future
/// into the next.
pub(crate) async fn serve<B: Backend>(
    door: Rc<HttpDoor<B>>,
    link: Rc<Link>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let _open = link.open_request();
    let arrived = door.backend.now();
    let (mut parts, incoming) = request.into_parts();
    let mut body = Arriving::new(incoming);
    let progress = Progress::new(&parts.method);
    let cut_at_hash = parts.version < Version::HTTP_2 && link.target_holds_hash();
    let call = Call { parts: &parts, cut_at_hash, arrived, progress: &progress };
    let request_id = door.request_ids.next();
    let reply = match caught(pin!(door.answer(&call, &mut body))).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(mut refusal)) => {
            progress.complete(&mut refusal);
            if refusal.code == Code::Internal {
                tracing::error!(?request_id, %refusal, "internal error");
            } else {
                tracing::debug!(?request_id, %refusal, "refused");
            }
            Reply::refusal(&refusal, b"")
        }
        Err(Panicked(message)) => {
            tracing::error!(?request_id, message, "a request's handler panicked");
            let detail = "the request ran into an error of ours; the log has more under its id";
            let mut refusal = Refusal::new(Code::Internal, detail);
            progress.complete(&mut refusal);
            Reply::refusal(&refusal, b"")
        }
    };
    if body.is_open() {
        body.skip_short_rest(&parts.headers).await;
    }
    // Behind a target with a `#` heads are not looked at any more: no further request is taken.
    let input_left = body.is_open() || cut_at_hash;
    if input_left {
        link.input_left.set(true);
    }
    let frame = Framing {
        request_id,
        head_only: parts.method == Method::HEAD,
        close: input_left || door.options.starting,
        kind: progress.kind.get(),
        starting: door.options.starting,
        version: parts.version,
    };
    if body.is_open() && parts.version == Version::HTTP_2 && !parts.headers.contains_key(EXPECT) {
        tokio::task::spawn_local(body.drop_rest());
    }
    // The request's map of headers becomes the answer's, and hyper's next request's after that: no allocation.
    let mut headers = std::mem::take(&mut parts.headers);
    headers.clear();
    let outcome = reply.outcome;
    let response = reply.into_response(headers, frame);
    door.backend.observe(Observation {
        kind: progress.kind.get(),
        status: response.status().as_u16(),
        outcome,
        elapsed: door.backend.now().since(arrived),
    });
    Ok(response)
}

fn method_not_allowed(call: &Call<'_>, info: &route::RouteInfo) -> Reply {
    let Parts { method, .. } = call.parts;
    let detail = format!("{method} is none of this route's methods: {}", info.allow);
    let mut refusal = Refusal::new(Code::MethodNotAllowed, detail);
    call.progress.complete(&mut refusal);
    Reply { allow: Some(info.allow), ..Reply::refusal(&refusal, b"") }
}

/// A handler's panic, as text.
struct Panicked(String);

/// Runs a handler such that its panic ends nothing but the handler.
async fn caught<F: Future>(mut handler: Pin<&mut F>) -> Result<F::Output, Panicked> {
    poll_fn(|cx| {
        // The handler is never polled again after a panic, and what it shares with others (cells of numbers and flags) is
        // never left half changed.
        match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(payload) => {
                let message = payload
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| payload.downcast_ref::<String>().cloned());
                Poll::Ready(Err(Panicked(message.unwrap_or_default())))
            }
        }
    })
    .await
}
