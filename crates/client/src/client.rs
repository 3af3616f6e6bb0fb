//! The client: endpoints, options, and the calls that are not about keys.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use ringfort_route::Safety;
use ringfort_types::Key;
use ringfort_types::limits::{TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX};

use crate::call::{self, Answer, Bounds, Call};
use crate::cluster::{Cluster, Readiness, Route};
use crate::endpoint::Endpoint;
use crate::error::{Error, Failure};
use crate::pool::Pool;
use crate::retry::Retries;
use crate::routing::{Routing, Way};
use crate::wire;

/// Bounds of every call of a client.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bound of a call over all its attempts; at most 60 s. The server hears what is left of it. Default: 5 s.
    pub timeout: Duration,
    /// Bound of one attempt to connect. Default: 2 s.
    pub connect_timeout: Duration,
    /// Largest answer that is read, in bytes; a larger one fails. Default: 256 MiB, far above what a server sends.
    pub answer_bytes_max: usize,
    /// Whether a key's request goes to the node that leads its shard, by the cluster's map, which is fetched before the first
    /// such request and kept fresh. Worth it for clients that stay and nodes that can be reached from here; any node answers any
    /// request otherwise. Default: no.
    pub route: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(TIMEOUT_MS_DEFAULT),
            connect_timeout: Duration::from_secs(2),
            answer_bytes_max: 256 << 20,
            route: false,
        }
    }
}

/// A client of one or several endpoints. Needs a tokio runtime with time and network; any number of calls may be under
/// way at once, each on a connection of its own.
pub struct Client {
    pools: Vec<Arc<Pool>>,
    routing: Option<Routing>,
    retries: Retries,
    options: Options,
}

impl Client {
    /// A client of these endpoints, tried in this order. Nothing is dialled yet.
    ///
    /// # Errors
    /// There is no endpoint, or the timeout is zero or above 60 s.
    pub fn new(endpoints: &[Endpoint], options: Options) -> Result<Self, Error> {
        if endpoints.is_empty() {
            return Err(Error::invalid("there is no endpoint", false));
        }
        if options.timeout.is_zero() || options.timeout.as_millis() > u128::from(TIMEOUT_MS_MAX) {
            return Err(Error::invalid("the timeout is more than 0 and at most 60s", false));
        }
        let pools = endpoints.iter().map(|endpoint| {
            Pool::new(endpoint.clone())
                .map(Arc::new)
                .map_err(|_| Error::invalid(format!("{endpoint}: no host"), false))
        });
        let pools = pools.collect::<Result<_, _>>()?;
        let routing = options.route.then(Routing::new);
        Ok(Self { pools, routing, retries: Retries::new(), options })
    }

    /// A client of one endpoint with default options.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn of(endpoint: Endpoint) -> Result<Self, Error> {
        Self::new(&[endpoint], Options::default())
    }

    /// The endpoints, in the order they are tried.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.pools.iter().map(|pool| pool.endpoint())
    }

    /// The cluster as the answering node knows it: id, epoch, nodes, shards.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cluster(&self) -> Result<Cluster, Error> {
        self.read_json("/v1/cluster".into()).await
    }

    /// The answer of any GET route as JSON.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn json(&self, target: &str) -> Result<serde_json::Value, Error> {
        self.read_json(target.into()).await
    }

    /// The shards as JSON, all or those of one node.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn shards(&self, node: Option<&str>) -> Result<serde_json::Value, Error> {
        let query = node.map(|node| format!("?node={}", wire::encode_query(node.as_bytes())));
        self.read_json(format!("/v1/cluster/shards{}", query.unwrap_or_default())).await
    }

    /// Which token, shard, replicas and leader serve a key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn route(&self, key: &[u8]) -> Result<Route, Error> {
        self.read_json(format!("/v1/cluster/route?key={}", wire::encode_query(key))).await
    }

    /// Whether the node can serve, check by check. A node that is not ready is an answer, not an error.
    ///
    /// # Errors
    /// Nothing answers.
    pub async fn ready(&self) -> Result<Readiness, Error> {
        let call = Call::new(Method::GET, "/readyz".into(), Safety::Read);
        let accepts = |status| matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE);
        let answer = self.execute(&call, accepts).await?;
        Ok(Readiness::parse(answer.status == StatusCode::OK, &answer.body))
    }

    /// The metrics of the node, in the Prometheus text format.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn metrics(&self) -> Result<String, Error> {
        let call = Call::new(Method::GET, "/metrics".into(), Safety::Read);
        let answer = self.execute(&call, is_success).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Asks that everything be moved off a node; answers what the server says about the progress.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn drain_node(&self, node: &str) -> Result<serde_json::Value, Error> {
        let target = format!("/v1/cluster/nodes/{}/drain", wire::encode_segment(node.as_bytes()));
        let mut call = Call::new(Method::POST, target, Safety::Once)
            .header(http::header::CONTENT_TYPE, HeaderValue::from_static(wire::JSON));
        call.body = bytes::Bytes::from_static(b"{}");
        self.change(&call).await
    }

    /// Asks that a node be removed; answers what the server says about the progress.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn remove_node(&self, node: &str) -> Result<serde_json::Value, Error> {
        let target = format!("/v1/cluster/nodes/{}", wire::encode_segment(node.as_bytes()));
        self.change(&Call::new(Method::DELETE, target, Safety::Once)).await
    }

    /// Forms a cluster of the node that is asked and those that it has met and that wait for one; answers the cluster's
    /// id. A client of several endpoints asks the first that answers: use one.
    ///
    /// # Errors
    /// See [`Error`]. The node has a cluster already, or too few nodes agreed in time; then they may yet.
    pub async fn init_cluster(&self) -> Result<String, Error> {
        #[derive(serde::Deserialize)]
        struct Formed {
            cluster_id: String,
        }

        let mut call = Call::new(Method::POST, "/v1/cluster/init".into(), Safety::Once)
            .header(http::header::CONTENT_TYPE, HeaderValue::from_static(wire::JSON));
        call.body = bytes::Bytes::from_static(b"{}");
        let answer = self.execute(&call, is_success).await?;
        let formed: Formed = self.decode(&call, &answer, |answer| wire::json(&answer.body))?;
        Ok(formed.cluster_id)
    }

    async fn change(&self, call: &Call) -> Result<serde_json::Value, Error> {
        let answer = self.execute(call, is_success).await?;
        Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    async fn read_json<T: serde::de::DeserializeOwned>(&self, target: String) -> Result<T, Error> {
        let call = Call::new(Method::GET, target, Safety::Read);
        let answer = self.execute(&call, is_success).await?;
        self.decode(&call, &answer, |answer| wire::json(&answer.body))
    }

    pub(crate) async fn execute(
        &self,
        call: &Call,
        accepts: fn(StatusCode) -> bool,
    ) -> Result<Answer, Error> {
        self.execute_by(call, None, accepts).await
    }

    /// Executes a call about one key, or about several of one shard.
    pub(crate) async fn execute_for(
        &self,
        key: &Key,
        call: &Call,
        accepts: fn(StatusCode) -> bool,
    ) -> Result<Answer, Error> {
        let way = self.routing.as_ref().map(|routing| routing.way(key));
        self.execute_by(call, way, accepts).await
    }

    async fn execute_by(
        &self,
        call: &Call,
        way: Option<Way<'_>>,
        accepts: fn(StatusCode) -> bool,
    ) -> Result<Answer, Error> {
        let bounds = Bounds {
            timeout: self.options.timeout,
            connect_timeout: self.options.connect_timeout,
            answer_bytes_max: self.options.answer_bytes_max,
        };
        call::execute(&self.pools, &self.retries, bounds, call, way, accepts).await
    }

    /// Reads an answer; one that is not understood is an error that says so. A write that was answered with success has
    /// happened, but its version is not known: in doubt.
    pub(crate) fn decode<T>(
        &self,
        call: &Call,
        answer: &Answer,
        read: impl FnOnce(&Answer) -> Result<T, String>,
    ) -> Result<T, Error> {
        read(answer).map_err(|detail| Error {
            endpoint: Some(answer.endpoint.clone()),
            failure: Failure::Malformed(detail),
            outcome: call.safety.is_write().then_some(ringfort_types::Outcome::Unknown),
            attempts: 1,
        })
    }
}

pub(crate) fn is_success(status: StatusCode) -> bool {
    status.is_success()
}
