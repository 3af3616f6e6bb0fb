//! The routes: which there are, which methods and query parameters each knows, and which of them a path names.
//!
//! The table is what 405 and the refusal of unknown parameters go by, and what `openapi.json` is checked against.

use ringfort_types::{Code, Refusal};

/// A route that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// `/v1/kv/{key}`, with the key as it stands in the path.
    Key(&'a str),
    /// `/v1/kv`.
    List,
    /// `/v1/batch`.
    Batch,
    /// `/v1/cluster`.
    Cluster,
    /// `/v1/cluster/nodes`.
    Nodes,
    /// `/v1/cluster/shards`.
    Shards,
    /// `/v1/cluster/map`.
    Map,
    /// `/v1/cluster/route`.
    WhereIs,
    /// `/v1/cluster/nodes/{id}`, with the id as it stands in the path.
    Node(&'a str),
    /// `/v1/cluster/nodes/{id}/drain`.
    Drain(&'a str),
    /// `/v1/cluster/init`.
    Init,
    /// `/livez`.
    Live,
    /// `/readyz`.
    Ready,
    /// `/metrics`.
    Metrics,
    /// `/openapi.json`.
    OpenApi,
    /// `/version`.
    Version,
}

/// One route of the table.
#[derive(Clone, Copy, Debug)]
pub struct RouteInfo {
    /// The path, with the names of its parts in braces.
    pub path: &'static str,
    /// The methods as they stand in `Allow`.
    pub allow: &'static str,
    /// Each method and the query parameters it takes.
    pub methods: &'static [(&'static str, &'static [&'static str])],
}

const KEY: RouteInfo = RouteInfo {
    path: "/v1/kv/{key}",
    allow: "GET, HEAD, PUT, DELETE",
    methods: &[
        ("GET", &["consistency"]),
        ("HEAD", &["consistency"]),
        ("PUT", &["ttl"]),
        ("DELETE", &[]),
    ],
};

const LIST_PARAMETERS: &[&str] =
    &["prefix", "start", "end", "limit", "cursor", "keys_only", "consistency", "encoding"];

const LIST: RouteInfo = get("/v1/kv", &[("GET", LIST_PARAMETERS), ("HEAD", LIST_PARAMETERS)]);

const BATCH: RouteInfo =
    RouteInfo { path: "/v1/batch", allow: "POST", methods: &[("POST", &["encoding"])] };

const SHARDS: RouteInfo = get("/v1/cluster/shards", &[("GET", &["node"]), ("HEAD", &["node"])]);

const WHERE_IS: RouteInfo =
    get("/v1/cluster/route", &[("GET", &["key", "encoding"]), ("HEAD", &["key", "encoding"])]);

const NODE: RouteInfo =
    RouteInfo { path: "/v1/cluster/nodes/{id}", allow: "DELETE", methods: &[("DELETE", &[])] };

const DRAIN: RouteInfo =
    RouteInfo { path: "/v1/cluster/nodes/{id}/drain", allow: "POST", methods: &[("POST", &[])] };

const INIT: RouteInfo =
    RouteInfo { path: "/v1/cluster/init", allow: "POST", methods: &[("POST", &[])] };

const CLUSTER: RouteInfo = get("/v1/cluster", PLAIN);
const NODES: RouteInfo = get("/v1/cluster/nodes", PLAIN);
const MAP: RouteInfo = get("/v1/cluster/map", PLAIN);
const LIVE: RouteInfo = get("/livez", PLAIN);
const READY: RouteInfo = get("/readyz", PLAIN);
const METRICS: RouteInfo = get("/metrics", PLAIN);
const OPEN_API: RouteInfo = get("/openapi.json", PLAIN);
const VERSION: RouteInfo = get("/version", PLAIN);

const PLAIN: &[(&str, &[&str])] = &[("GET", &[]), ("HEAD", &[])];

const fn get(
    path: &'static str,
    methods: &'static [(&'static str, &'static [&'static str])],
) -> RouteInfo {
    RouteInfo { path, allow: "GET, HEAD", methods }
}

/// Every route that a client listener serves.
pub const ROUTES: [&RouteInfo; 16] = [
    &KEY, &LIST, &BATCH, &CLUSTER, &NODES, &SHARDS, &MAP, &WHERE_IS, &NODE, &DRAIN, &INIT, &LIVE,
    &READY, &METRICS, &OPEN_API, &VERSION,
];

/// Paths that later versions will serve, and whose meaning nobody should guess until then.
const RESERVED: [&str; 5] = ["/v1/ns", "/v1/txn", "/v1/watch", "/v1/auth", "/v1/backup"];

impl<'a> Route<'a> {
    /// The route that a path names.
    pub(crate) fn find(path: &'a str) -> Result<Self, Refusal> {
        if let Some(key) = path.strip_prefix("/v1/kv/") {
            return Ok(Self::Key(key));
        }
        Ok(match path {
            "/v1/kv" => Self::List,
            "/v1/batch" => Self::Batch,
            "/v1/cluster" => Self::Cluster,
            "/v1/cluster/nodes" => Self::Nodes,
            "/v1/cluster/shards" => Self::Shards,
            "/v1/cluster/map" => Self::Map,
            "/v1/cluster/route" => Self::WhereIs,
            "/v1/cluster/init" => Self::Init,
            "/livez" => Self::Live,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/openapi.json" => Self::OpenApi,
            "/version" => Self::Version,
            _ => return Self::find_node(path).ok_or_else(|| unknown(path)),
        })
    }

    fn find_node(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix("/v1/cluster/nodes/")?;
        match rest.split_once('/') {
            None if !rest.is_empty() => Some(Self::Node(rest)),
            Some((id, "drain")) if !id.is_empty() => Some(Self::Drain(id)),
            _ => None,
        }
    }

    /// Whether a health listener serves it.
    pub(crate) fn is_health(self) -> bool {
        matches!(self, Self::Live | Self::Ready | Self::Metrics)
    }

    /// What the table says of it.
    pub(crate) fn info(self) -> &'static RouteInfo {
        match self {
            Self::Key(_) => &KEY,
            Self::List => &LIST,
            Self::Batch => &BATCH,
            Self::Cluster => &CLUSTER,
            Self::Nodes => &NODES,
            Self::Shards => &SHARDS,
            Self::Map => &MAP,
            Self::WhereIs => &WHERE_IS,
            Self::Node(_) => &NODE,
            Self::Drain(_) => &DRAIN,
            Self::Init => &INIT,
            Self::Live => &LIVE,
            Self::Ready => &READY,
            Self::Metrics => &METRICS,
            Self::OpenApi => &OPEN_API,
            Self::Version => &VERSION,
        }
    }
}

/// The refusal of a path that names no route.
pub(crate) fn unknown(path: &str) -> Refusal {
    let reserved = RESERVED.iter().any(|known| {
        path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let shown: String = path.chars().take(100).collect();
    let detail = if reserved {
        format!("{shown:?} is reserved for a later version")
    } else {
        format!("there is no route {shown:?}")
    };
    Refusal::new(Code::RouteNotFound, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_routes() {
        for (path, route) in [
            ("/v1/kv/a", Some(Route::Key("a"))),
            ("/v1/kv/", Some(Route::Key(""))),
            ("/v1/kv//a/../b/", Some(Route::Key("/a/../b/"))),
            ("/v1/kv", Some(Route::List)),
            ("/v1/cluster/nodes/a", Some(Route::Node("a"))),
            ("/v1/cluster/nodes/a/drain", Some(Route::Drain("a"))),
            ("/v1/cluster/init", Some(Route::Init)),
            ("/v1/cluster/nodes/", None),
            ("/v1/cluster/nodes//drain", None),
            ("/v1/cluster/nodes/a/drain/", None),
            ("/v1/cluster/", None),
            ("/V1/kv/a", None),
            ("/", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(Route::find(path).ok(), route, "{path}");
        }
    }

    #[test]
    fn reserved_paths_say_so() {
        for path in ["/v1/ns/a", "/v1/txn", "/v1/watch/x", "/v1/auth", "/v1/backup"] {
            let refusal = Route::find(path).unwrap_err();
            assert_eq!(refusal.code, Code::RouteNotFound);
            assert!(refusal.detail.contains("reserved"), "{refusal}");
        }
        assert!(!Route::find("/v1/watchers").unwrap_err().detail.contains("reserved"));
    }
}
