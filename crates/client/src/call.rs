//! One call: attempts over the endpoints until one answers, none may be tried any more, or time is up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use ringfort_route::{Attempts, Next, Safety};
use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::error::{Error, Failure};
use crate::pool::{Connection, Pool};
use crate::retry::{self, Retries};
use crate::routing::Way;
use crate::wire;

/// How much longer than the server's own bound a call waits for its word about the outcome.
const GRACE: Duration = Duration::from_millis(500);
/// Rounds over the endpoints.
const ROUNDS: u32 = 2;

/// A request that can be sent any number of times.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query, encoded.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) safety: Safety,
    /// Whether the route takes `Ringfort-Timeout-Ms`.
    pub(crate) bounded: bool,
}

impl Call {
    pub(crate) fn new(method: Method, target: String, safety: Safety) -> Self {
        Self {
            method,
            target,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            safety,
            bounded: false,
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// What a server answered, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// An earlier attempt of the same call may have been executed.
    pub(crate) after_doubt: bool,
    /// The endpoint that answered.
    pub(crate) endpoint: Endpoint,
}

impl Answer {
    /// A header's value, if it is there and plain text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Bounds of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) answer_bytes_max: usize,
}

/// Executes a call; answers with a status that `accepts` refuses are errors. With a way it goes to whoever leads the key's
/// shard, as far as that is known.
pub(crate) async fn execute(
    pools: &[Arc<Pool>],
    retries: &Retries,
    bounds: Bounds,
    call: &Call,
    way: Option<Way<'_>>,
    accepts: fn(StatusCode) -> bool,
) -> Result<Answer, Error> {
    let deadline = Instant::now() + bounds.timeout;
    let mut attempts = Attempts::new(call.safety, retries.handle_request(deadline));
    let mut error = Error::invalid("there is no endpoint", call.safety.is_write());
    let mut pause = Duration::ZERO;
    // A way goes on while there is time; without one each endpoint has its turns.
    let rounds = if way.is_some() { usize::MAX } else { ROUNDS as usize * pools.len() };
    for made in 0..rounds {
        let endpoint = made % pools.len();
        // Between two endpoints of one round nothing is waited for.
        if made > 0 && (endpoint == 0 || way.is_some()) {
            if Instant::now() + pause >= deadline {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        if let Some(way) = &way {
            way.refresh(pools, bounds, deadline).await;
        }
        // Whatever the map's addresses are worth from here, the endpoints were given.
        let is_unsent =
            matches!(error.failure, Failure::NotSent(_) | Failure::TimedOut { sent: false, .. });
        let target = way.as_ref().filter(|_| !is_unsent).and_then(Way::target);
        let pool = target.as_ref().map_or(&pools[endpoint], |target| &target.pool);
        let failure = match attempt(pool, bounds, call, deadline).await {
            Ok(answer) if accepts(answer.status) => {
                if let (Some(way), Some(target)) = (&way, &target) {
                    way.handle_answer(target);
                }
                let after_doubt = attempts.in_doubt();
                return Ok(Answer { after_doubt, ..answer });
            }
            Ok(answer) => wire::refused(&answer, call.safety),
            Err(failure) => failure,
        };
        if let (Some(way), Some(target)) = (&way, &target) {
            way.handle_failure(target, &failure);
        }
        let next = retries.handle_failure(&mut attempts, &failure);
        // A server that asks for time gets it.
        let asked = retry::asked(&failure);
        error = Error {
            endpoint: Some(pool.endpoint().clone()),
            failure,
            outcome: attempts.outcome(),
            attempts: u32::try_from(made).unwrap_or(u32::MAX).saturating_add(1),
        };
        match next {
            Next::Retry { after } => pause = asked.unwrap_or(after),
            Next::GiveUp => break,
        }
    }
    Err(error)
}

/// Sends a call once, over an idle connection or a new one.
pub(crate) async fn attempt(
    pool: &Pool,
    bounds: Bounds,
    call: &Call,
    deadline: Instant,
) -> Result<Answer, Failure> {
    let mut request = Some(build(pool, call, deadline)?);
    let late = |sent| Failure::TimedOut { after: bounds.timeout, sent };
    while let Some(connection) = pool.take_idle().await {
        let Some(whole) = request.take() else { break };
        match send(pool, connection, whole, bounds, deadline).await {
            // Closed while it lay idle, before any of the request was taken: the next one.
            Err(Unsent::NotTaken(whole, _)) => request = Some(*whole),
            Err(Unsent::Failed(failure)) => return Err(failure),
            Ok(answer) => return Ok(answer),
        }
    }
    let dial_until = deadline.min(Instant::now() + bounds.connect_timeout);
    let connection = match tokio::time::timeout_at(dial_until, pool.dial()).await {
        Ok(connection) => connection.map_err(|error| Failure::NotSent(error.into()))?,
        Err(_) => return Err(late(false)),
    };
    let Some(whole) = request else {
        return Err(Failure::Invalid("the request was already sent".into()));
    };
    match send(pool, connection, whole, bounds, deadline).await {
        Ok(answer) => Ok(answer),
        Err(Unsent::NotTaken(_, error)) => Err(Failure::NotSent(error.into())),
        Err(Unsent::Failed(failure)) => Err(failure),
    }
}

type Request = http::Request<Full<Bytes>>;

fn build(pool: &Pool, call: &Call, deadline: Instant) -> Result<Request, Failure> {
    let mut request = Request::new(Full::new(call.body.clone()));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = call
        .target
        .parse()
        .map_err(|error| Failure::Invalid(format!("the request's target: {error}")))?;
    *request.headers_mut() = call.headers.clone();
    let headers = request.headers_mut();
    headers.insert(http::header::HOST, pool.authority());
    if call.bounded {
        let rest = deadline.saturating_duration_since(Instant::now()).as_millis();
        let rest = u64::try_from(rest).unwrap_or(u64::MAX);
        let rest = rest.clamp(1, ringfort_types::limits::TIMEOUT_MS_MAX);
        headers.insert(wire::TIMEOUT, HeaderValue::from(rest));
    }
    Ok(request)
}

/// A request without an answer.
enum Unsent {
    /// The connection took nothing of it: here it is.
    NotTaken(Box<Request>, hyper::Error),
    Failed(Failure),
}

async fn send(
    pool: &Pool,
    mut connection: Connection,
    request: Request,
    bounds: Bounds,
    deadline: Instant,
) -> Result<Answer, Unsent> {
    let until = deadline + GRACE;
    let late = |_| Unsent::Failed(Failure::TimedOut { after: bounds.timeout, sent: true });
    let lost = |error| Unsent::Failed(Failure::Lost(error));
    let sent = tokio::time::timeout_at(until, connection.try_send_request(request));
    let response = match sent.await.map_err(late)? {
        Ok(response) => response,
        Err(mut error) => {
            let request = error.take_message();
            let error = error.into_error();
            return Err(match request {
                Some(request) => Unsent::NotTaken(Box::new(request), error),
                None => lost(error.into()),
            });
        }
    };
    let (head, body) = response.into_parts();
    let body = Limited::new(body, bounds.answer_bytes_max).collect();
    let body = tokio::time::timeout_at(until, body).await.map_err(late)?;
    let body = body.map_err(lost)?.to_bytes();
    pool.give_back(connection);
    let (status, headers, endpoint) = (head.status, head.headers, pool.endpoint().clone());
    Ok(Answer { status, headers, body, after_doubt: false, endpoint })
}
