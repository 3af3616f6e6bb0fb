//! `/v1/cluster…`: what the cluster looks like, forming it, and moving nodes out of it.

use http::{HeaderValue, Method, StatusCode};
use ringfort_types::limits::VERSION_MAX;
use ringfort_types::request::{ClusterView, NodeView, ReplicaView, ShardView};
use ringfort_types::{Code, Key, NamespaceId, NodeId, Refusal, Version};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::body::Body;
use super::call::Call;
use super::head::Head;
use super::kv::refuse_key;
use super::object::Object;
use super::query::Query;
use super::reply::{Content, Reply};
use super::route::Route;
use super::upload::{Arriving, Limit};
use super::{json, percent, query};
use crate::Backend;

/// The largest body of a request that changes the cluster: room for `{}` and its spaces.
const BODY_BYTES_MAX: usize = 1024;

/// Answers a request that reads about the cluster.
pub(crate) async fn read<B: Backend>(
    backend: &B,
    call: &Call<'_>,
    route: Route<'_>,
    query: &Query,
    head: &Head<'_>,
) -> Result<Reply, Refusal> {
    let key = match route {
        Route::WhereIs => Some(key_of(query)?),
        _ => None,
    };
    let base64 = query.base64()?;
    let node = query.text("node")?.map(parse_node).transpose()?;
    let context = call.hand_over(head);
    let view = backend.cluster(&context).await?;
    let document = match (route, key) {
        (Route::Nodes, _) => render(&NodesDocument { epoch: view.epoch.0, nodes: nodes(&view) }),
        (Route::Shards, _) => return Ok(tagged(shards_document(&view, node.as_ref())?, head)),
        (Route::Map, _) => return Ok(tagged(render(&map_document(&view)), head)),
        (Route::WhereIs, Some(key)) => route_document(backend, &view, &key, base64)?,
        _ => render(&ClusterDocument {
            cluster_id: view.cluster_id.to_string(),
            epoch: view.epoch.0,
            replication_factor: view.replication_factor,
            answered_by: view.answered_by.as_str(),
            quorum: view.quorum,
            nodes: nodes(&view),
            shards: shards(&view, None),
            warnings: &view.warnings,
        }),
    };
    Ok(Reply::json(document))
}

/// A document under a tag of its content, or 304 to whoever has it.
fn tagged(document: Vec<u8>, head: &Head<'_>) -> Reply {
    let tag = tag_of(&document);
    let is_known = head.if_none_match().is_some_and(|tags| tags.matches(tag));
    let reply = if is_known {
        Reply { status: StatusCode::NOT_MODIFIED, ..Reply::new(Content::None, Body::Empty) }
    } else {
        Reply::json(document)
    };
    Reply { etag: Some(tag), ..reply }
}

/// A number as a version is one, so that tags of documents and of keys are written and read in one way: most of the bits of
/// XXH3, and never 0.
fn tag_of(document: &[u8]) -> Version {
    Version(xxh3_64(document) % VERSION_MAX + 1)
}

/// Answers a request that moves a node out of the cluster, named as it stands in the path.
pub(crate) async fn change<B: Backend>(
    backend: &B,
    call: &Call<'_>,
    raw_node: &str,
    head: &Head<'_>,
    body: &mut Arriving,
) -> Result<Reply, Refusal> {
    head.refuse_conditions()?;
    let decoded = percent::decode(raw_node).map_err(|_| {
        let detail = "the node id in the path holds a % without two hexadecimal digits";
        Refusal::new(Code::InvalidArgument, detail)
    })?;
    let node = parse_node(&String::from_utf8_lossy(&decoded))?;
    let is_drain = call.parts.method == Method::POST;
    if is_drain {
        head.require_json()?;
        head.refuse_coding()?;
        expect_empty_object(backend, call, head, body).await?;
    } else {
        body.expect_none(backend, call.deadline(head)).await?;
    }
    let context = call.hand_over(head);
    let watch = if is_drain {
        backend.drain_node(&context, node.as_str()).await?;
        format!("/v1/cluster/shards?node={node}")
    } else {
        backend.remove_node(&context, node.as_str()).await?;
        "/v1/cluster/nodes".to_owned()
    };
    let mut document = b"{\"watch\":".to_vec();
    json::write_text(&mut document, &watch);
    document.push(b'}');
    Ok(Reply {
        status: StatusCode::ACCEPTED,
        // The characters of a node id are fit for a header.
        location: HeaderValue::from_str(&watch).ok(),
        ..Reply::json(document)
    })
}

/// Answers a request to form a cluster.
pub(crate) async fn init<B: Backend>(
    backend: &B,
    call: &Call<'_>,
    head: &Head<'_>,
    body: &mut Arriving,
) -> Result<Reply, Refusal> {
    head.refuse_conditions()?;
    head.require_json()?;
    head.refuse_coding()?;
    expect_empty_object(backend, call, head, body).await?;
    let cluster_id = backend.init_cluster(&call.hand_over(head)).await?;
    Ok(Reply::json(render(&FormedDocument { cluster_id: cluster_id.to_string() })))
}

async fn expect_empty_object<B: Backend>(
    backend: &B,
    call: &Call<'_>,
    head: &Head<'_>,
    body: &mut Arriving,
) -> Result<(), Refusal> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    let limit = Limit { part: "body", bytes_max: BODY_BYTES_MAX, setting: "fixed" };
    let upload = body.read(backend, limit, call.deadline(head)).await?;
    if upload.bytes.is_empty() {
        return Ok(());
    }
    let parsed: Result<Object<Nothing>, _> = serde_json::from_slice(&upload.bytes);
    parsed.map(|_| ()).map_err(|error| {
        let detail = format!("the body is neither empty nor an empty object: {error}");
        Refusal::new(Code::InvalidArgument, detail)
    })
}

fn parse_node(text: &str) -> Result<NodeId, Refusal> {
    NodeId::parse(text).map_err(|error| Refusal::new(Code::InvalidArgument, error.to_string()))
}

fn key_of(query: &Query) -> Result<Key, Refusal> {
    let Some(bytes) = query.bytes("key") else {
        let detail = "the query parameter key is missing";
        return Err(Refusal::new(Code::InvalidArgument, detail));
    };
    Key::new(bytes.clone()).map_err(|error| refuse_key(&error))
}

#[derive(Serialize)]
struct ClusterDocument<'a> {
    cluster_id: String,
    epoch: u64,
    replication_factor: u32,
    answered_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    quorum: Option<bool>,
    nodes: Vec<NodeDocument<'a>>,
    shards: Vec<ShardDocument<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct FormedDocument {
    cluster_id: String,
}

#[derive(Serialize)]
struct NodesDocument<'a> {
    epoch: u64,
    nodes: Vec<NodeDocument<'a>>,
}

#[derive(Serialize)]
struct ShardsDocument<'a> {
    epoch: u64,
    shards: Vec<ShardDocument<'a>>,
}

/// What a client routes by, and nothing that changes while that does not: no counts, no lags, no ages.
#[derive(Serialize)]
struct MapDocument<'a> {
    epoch: u64,
    nodes: Vec<MapNode<'a>>,
    shards: Vec<MapShard<'a>>,
}

#[derive(Serialize)]
struct MapNode<'a> {
    id: &'a str,
    client: &'a str,
}

#[derive(Serialize)]
struct MapShard<'a> {
    shard: u32,
    leader: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u64>,
    replicas: Vec<MapReplica<'a>>,
}

#[derive(Serialize)]
struct MapReplica<'a> {
    id: u64,
    node: &'a str,
    role: &'a str,
}

#[derive(Serialize)]
struct NodeDocument<'a> {
    id: &'a str,
    state: &'a str,
    client: &'a str,
    peer: &'a str,
    zone: &'a str,
    capacity: f64,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    heard_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    /// Its replicas, and those that lead.
    replicas: usize,
    leaders: usize,
}

#[derive(Serialize)]
struct ShardDocument<'a> {
    shard: u32,
    first_token: String,
    last_token: String,
    state: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    leader: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u64>,
    under_replicated: bool,
    replicas: Vec<ReplicaDocument<'a>>,
    keys: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct ReplicaDocument<'a> {
    id: u64,
    node: &'a str,
    role: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit_lag: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    apply_lag: Option<u64>,
}

fn map_document(view: &ClusterView) -> MapDocument<'_> {
    MapDocument {
        epoch: view.epoch.0,
        nodes: view
            .nodes
            .iter()
            .map(|node| MapNode { id: node.id.as_str(), client: &node.client })
            .collect(),
        shards: view.shards.iter().map(map_shard).collect(),
    }
}

fn map_shard(shard: &ShardView) -> MapShard<'_> {
    let replicas = shard.replicas.iter().map(|replica| MapReplica {
        id: replica.id.0,
        node: replica.node.as_str(),
        role: replica.role,
    });
    MapShard {
        shard: shard.shard.0,
        leader: shard.leader.as_ref().map(NodeId::as_str),
        term: shard.term.map(|term| term.0),
        replicas: replicas.collect(),
    }
}

fn nodes(view: &ClusterView) -> Vec<NodeDocument<'_>> {
    view.nodes.iter().map(|node| node_document(view, node)).collect()
}

fn node_document<'a>(view: &ClusterView, node: &'a NodeView) -> NodeDocument<'a> {
    let replicas = view.shards.iter().flat_map(|shard| &shard.replicas);
    let leads = |shard: &&ShardView| shard.leader.as_ref() == Some(&node.id);
    NodeDocument {
        id: node.id.as_str(),
        state: node.state,
        client: &node.client,
        peer: &node.peer,
        zone: &node.zone,
        capacity: node.capacity,
        version: &node.version,
        heard_ms: node.heard_ms,
        epoch: node.epoch.map(|epoch| epoch.0),
        replicas: replicas.filter(|replica| replica.node == node.id).count(),
        leaders: view.shards.iter().filter(leads).count(),
    }
}

fn replica_document(replica: &ReplicaView) -> ReplicaDocument<'_> {
    ReplicaDocument {
        id: replica.id.0,
        node: replica.node.as_str(),
        role: replica.role,
        reason: &replica.reason,
        commit_lag: replica.commit_lag,
        apply_lag: replica.apply_lag,
    }
}

fn shards<'a>(view: &'a ClusterView, node: Option<&NodeId>) -> Vec<ShardDocument<'a>> {
    let is_asked = |shard: &&ShardView| {
        node.is_none_or(|node| shard.replicas.iter().any(|replica| replica.node == *node))
    };
    view.shards.iter().filter(is_asked).map(|shard| shard_document(view, shard)).collect()
}

fn shard_document<'a>(view: &ClusterView, shard: &'a ShardView) -> ShardDocument<'a> {
    ShardDocument {
        shard: shard.shard.0,
        first_token: token(shard.tokens.first),
        last_token: token(shard.tokens.last),
        state: shard.state,
        reason: &shard.reason,
        leader: shard.leader.as_ref().map(NodeId::as_str),
        term: shard.term.map(|term| term.0),
        under_replicated: view.is_under_replicated(shard),
        replicas: shard.replicas.iter().map(replica_document).collect(),
        keys: shard.keys,
        bytes: shard.bytes,
    }
}

fn token(token: ringfort_types::Token) -> String {
    format!("{:016x}", token.0)
}

fn shards_document(view: &ClusterView, node: Option<&NodeId>) -> Result<Vec<u8>, Refusal> {
    if let Some(node) = node.filter(|node| view.nodes.iter().all(|known| known.id != **node)) {
        let shown = query::shown(node.as_str().as_bytes());
        let detail = format!("the query parameter node names no node of this cluster: {shown}");
        return Err(Refusal::new(Code::InvalidArgument, detail));
    }
    Ok(render(&ShardsDocument { epoch: view.epoch.0, shards: shards(view, node) }))
}

/// `{"epoch":…,"key":…,"token":…, and the members of the shard}`.
fn route_document<B: Backend>(
    backend: &B,
    view: &ClusterView,
    key: &Key,
    base64: bool,
) -> Result<Vec<u8>, Refusal> {
    let shard = backend.shard_of(key);
    let Some(shard) = view.shards.iter().find(|known| known.shard == shard) else {
        let detail = format!("this node's map of the cluster holds no shard {shard}");
        return Err(Refusal::new(Code::Unavailable, detail));
    };
    let mut document = b"{\"epoch\":".to_vec();
    json::write_number(&mut document, view.epoch.0);
    document.push(b',');
    json::write_bytes(&mut document, "key", key.to_bytes(), base64);
    document.extend_from_slice(b",\"token\":");
    json::write_text(&mut document, &token(key.token(NamespaceId(0))));
    document.push(b',');
    let members = render(&shard_document(view, shard));
    document.extend_from_slice(members.strip_prefix(b"{").unwrap_or(&members));
    Ok(document)
}

/// Documents of ours hold nothing that JSON cannot: maps have text keys, and no number is rendered that is none.
fn render(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}
