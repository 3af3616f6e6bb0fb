//! `ringfort cluster`: how a cluster is, and changes to it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use ringfort_client::{Client, Cluster, Error, Readiness, ReplicaStatus, ShardStatus};
use ringfort_types::Code;
use serde_json::json;

use super::confirm::{Decision, decide};
use crate::arguments::{ChangeArguments, ClusterArguments, ClusterCommand};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

pub(crate) async fn run(command: ClusterCommand) -> Result<Exit, Failure> {
    match command {
        ClusterCommand::Status(arguments) => status(&arguments).await,
        ClusterCommand::Nodes(arguments) => nodes(&arguments).await,
        ClusterCommand::Shards { node, arguments } => shards(node.as_deref(), &arguments).await,
        ClusterCommand::Route { key, arguments } => route(&key, &arguments).await,
        ClusterCommand::Init(arguments) => init(&arguments).await,
        ClusterCommand::Set { setting, arguments } => set(&setting, &arguments).await,
        ClusterCommand::Drain { node, arguments } => change(Change::Drain, &node, &arguments).await,
        ClusterCommand::Remove { node, arguments } => {
            change(Change::Remove, &node, &arguments).await
        }
        ClusterCommand::Recover(arguments) => recover(&arguments).await,
    }
}

/// Calls the server and turns what fails into an exit.
async fn ask<T>(
    arguments: &ClusterArguments,
    call: impl AsyncFnOnce(&Client) -> Result<T, Error>,
) -> Result<T, Failure> {
    let client = arguments.connection.client()?;
    let answer = call(&client).await;
    answer.map_err(|error| Failure::of_call(&error, arguments.connection.output))
}

async fn status(arguments: &ClusterArguments) -> Result<Exit, Failure> {
    let client = arguments.connection.client()?;
    let failed = |error: Error| Failure::of_call(&error, arguments.connection.output);
    let readiness = client.ready().await.map_err(failed)?;
    let cluster = client.cluster().await.map_err(failed)?;
    match arguments.connection.output {
        Format::Json => output::print_json(&status_document(&cluster, &readiness))?,
        Format::Table => output::print(status_text(&cluster, &readiness).as_bytes())?,
    }
    Ok(Exit::Done)
}

/// How many shards are in each state.
fn shard_states(cluster: &Cluster) -> BTreeMap<&str, usize> {
    let mut states = BTreeMap::new();
    for shard in &cluster.shards {
        *states.entry(shard.state.as_str()).or_default() += 1;
    }
    states
}

fn totals(cluster: &Cluster) -> (u64, u64) {
    let add = |(keys, bytes): (u64, u64), shard: &ShardStatus| {
        (keys.saturating_add(shard.keys), bytes.saturating_add(shard.bytes))
    };
    cluster.shards.iter().fold((0, 0), add)
}

fn status_document(cluster: &Cluster, readiness: &Readiness) -> serde_json::Value {
    let (keys, bytes) = totals(cluster);
    json!({
        "cluster_id": cluster.cluster_id,
        "epoch": cluster.epoch,
        "answered_by": cluster.answered_by,
        "ready": readiness.ready,
        "checks": readiness.checks,
        "replication_factor": cluster.replication_factor,
        "nodes": cluster.nodes,
        "shards": { "total": cluster.shards.len(), "states": shard_states(cluster) },
        "keys": keys,
        "bytes": bytes,
        "warnings": cluster.warnings,
    })
}

fn status_text(cluster: &Cluster, readiness: &Readiness) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    rows.push(("cluster", format!("{} (epoch {})", cluster.cluster_id, cluster.epoch)));
    rows.push(("node", answering_node(cluster)));
    rows.push(("ready", ready_text(readiness)));
    let active = cluster.nodes.iter().filter(|node| node.state == "active").count();
    rows.push(("nodes", format!("{active} active of {}", cluster.nodes.len())));
    let states: Vec<_> =
        shard_states(cluster).into_iter().map(|(state, n)| format!("{n} {state}")).collect();
    rows.push(("shards", format!("{} of {}", states.join(", "), cluster.shards.len())));
    let wanted = usize::try_from(cluster.replication_factor).unwrap_or(usize::MAX);
    let fewest = cluster.shards.iter().map(|shard| shard.replicas.len()).min().unwrap_or(0);
    let short = if fewest < wanted { " (under-replicated)" } else { "" };
    rows.push(("replicas", format!("{fewest} of {wanted} wanted{short}")));
    let (keys, bytes) = totals(cluster);
    rows.push(("keys", output::grouped(keys)));
    rows.push(("data", output::human_size(bytes)));
    for shard in cluster.shards.iter().filter(|shard| !shard.reason.is_empty()) {
        rows.push((
            "warning",
            format!("shard {} is {}: {}", shard.shard, shard.state, shard.reason),
        ));
    }
    rows.extend(cluster.warnings.iter().map(|warning| ("warning", warning.clone())));
    rows.into_iter().map(|(name, text)| format!("{name:<10}{text}\n")).collect()
}

fn answering_node(cluster: &Cluster) -> String {
    let node = cluster.nodes.iter().find(|node| node.id == cluster.answered_by);
    match node {
        Some(node) if node.version.is_empty() => format!("{} at {}", node.id, node.client),
        Some(node) => format!("{} at {}, version {}", node.id, node.client, node.version),
        None => cluster.answered_by.clone(),
    }
}

fn ready_text(readiness: &Readiness) -> String {
    if readiness.ready {
        return "yes".into();
    }
    let failed = readiness.checks.iter().filter(|check| !check.ok);
    let failed: Vec<_> = failed.map(|check| format!("{}: {}", check.name, check.detail)).collect();
    format!("no ({})", failed.join("; "))
}

async fn nodes(arguments: &ClusterArguments) -> Result<Exit, Failure> {
    if arguments.connection.output == Format::Json {
        let document =
            ask(arguments, async |client| client.json("/v1/cluster/nodes").await).await?;
        output::print_json(&document)?;
        return Ok(Exit::Done);
    }
    let cluster = ask(arguments, Client::cluster).await?;
    let mut table =
        output::table(["NODE", "STATE", "CLIENT", "PEER", "ZONE", "CAPACITY", "SHARDS", "VERSION"]);
    for node in &cluster.nodes {
        let holds =
            |shard: &&ShardStatus| shard.replicas.iter().any(|replica| replica.node == node.id);
        table.add_row([
            node.id.clone(),
            node.state.clone(),
            node.client.clone(),
            node.peer.clone(),
            node.zone.clone(),
            node.capacity.to_string(),
            cluster.shards.iter().filter(holds).count().to_string(),
            node.version.clone(),
        ]);
    }
    output::print_table(table)?;
    Ok(Exit::Done)
}

async fn shards(node: Option<&str>, arguments: &ClusterArguments) -> Result<Exit, Failure> {
    if arguments.connection.output == Format::Json {
        let document = ask(arguments, async |client| client.shards(node).await).await?;
        output::print_json(&document)?;
        return Ok(Exit::Done);
    }
    let cluster = ask(arguments, Client::cluster).await?;
    if let Some(node) = node.filter(|node| !cluster.nodes.iter().any(|known| known.id == *node)) {
        return Err(unknown_node(&cluster, node));
    }
    let here = |shard: &&ShardStatus| {
        node.is_none_or(|node| shard.replicas.iter().any(|replica| replica.node == node))
    };
    let mut table =
        output::table(["SHARD", "TOKENS", "STATE", "LEADER", "REPLICAS", "KEYS", "DATA"]);
    for shard in cluster.shards.iter().filter(here) {
        table.add_row([
            shard.shard.to_string(),
            format!("{}..{}", shard.first_token, shard.last_token),
            shard.state.clone(),
            shard.leader.clone().unwrap_or_else(|| "-".into()),
            replicas_text(&shard.replicas),
            output::grouped(shard.keys),
            output::human_size(shard.bytes),
        ]);
    }
    output::print_table(table)?;
    Ok(Exit::Done)
}

fn replicas_text(replicas: &[ReplicaStatus]) -> String {
    let texts: Vec<_> =
        replicas.iter().map(|replica| format!("{} ({})", replica.node, replica.role)).collect();
    texts.join(", ")
}

async fn route(key: &OsString, arguments: &ClusterArguments) -> Result<Exit, Failure> {
    let route = ask(arguments, async |client| client.route(key.as_bytes()).await).await?;
    if arguments.connection.output == Format::Json {
        output::print_json(&json!(route))?;
        return Ok(Exit::Done);
    }
    let rows = [
        ("key", output::escape(key.as_bytes())),
        ("token", route.token),
        ("shard", route.shard.shard.to_string()),
        ("state", route.shard.state),
        ("reason", route.shard.reason),
        ("leader", route.shard.leader.unwrap_or_else(|| "none".into())),
        ("replicas", replicas_text(&route.shard.replicas)),
    ];
    let known = rows.into_iter().filter(|(_, text)| !text.is_empty());
    let text: String = known.map(|(name, text)| format!("{name:<10}{text}\n")).collect();
    output::print(text.as_bytes())?;
    Ok(Exit::Done)
}

fn unknown_node(cluster: &Cluster, node: &str) -> Failure {
    let known: Vec<_> = cluster.nodes.iter().map(|node| node.id.as_str()).collect();
    Failure::not_done(format_args!(
        "there is no node {node:?}; the members are {}",
        known.join(", ")
    ))
}

#[derive(Clone, Copy)]
enum Change {
    Drain,
    Remove,
}

/// Drains or removes a node: asks the cluster who it is, then a person, then the server, which has the last word.
async fn change(change: Change, node: &str, arguments: &ChangeArguments) -> Result<Exit, Failure> {
    let client = arguments.connection.client()?;
    let format = arguments.connection.output;
    let failed = |error: Error| Failure::of_call(&error, format);
    let cluster = client.cluster().await.map_err(failed)?;
    if !cluster.nodes.iter().any(|known| known.id == node) {
        return Err(unknown_node(&cluster, node));
    }
    let what = match change {
        Change::Drain => {
            format!("move every replica off node {node} of cluster {}", cluster.cluster_id)
        }
        Change::Remove => {
            format!("remove node {node} from cluster {} for ever", cluster.cluster_id)
        }
    };
    if let Decision::Stop(exit) = decide(&what, arguments)? {
        return Ok(exit);
    }
    let answer = match change {
        Change::Drain => client.drain_node(node).await,
        Change::Remove => client.remove_node(node).await,
    };
    let answer = answer.map_err(failed)?;
    match format {
        Format::Json => output::print_json(&answer)?,
        Format::Table => output::say("accepted; `ringfort cluster status` shows the progress"),
    }
    Ok(Exit::Done)
}

/// Refuses what needs several nodes, after asking whether there is a server at all.
async fn needs_cluster(arguments: &ChangeArguments, what: &str) -> Result<Exit, Failure> {
    let client = arguments.connection.client()?;
    let cluster = client.cluster().await;
    let cluster = cluster.map_err(|error| Failure::of_call(&error, arguments.connection.output))?;
    Err(Failure::not_done(format_args!(
        "{what} (cluster {}); nothing was changed",
        cluster.cluster_id
    )))
}

/// Forms a cluster, unless the node has one. A node that waits for one refuses to show it, which is how it is told apart
/// from one that is not there; the server has the last word.
async fn init(arguments: &ChangeArguments) -> Result<Exit, Failure> {
    let client = arguments.connection.client()?;
    let format = arguments.connection.output;
    let failed = |error: Error| Failure::of_call(&error, format);
    let mut endpoints = client.endpoints();
    let (Some(endpoint), None) = (endpoints.next(), endpoints.next()) else {
        return Err(Failure::usage("one node forms the cluster: name one --endpoint"));
    };
    match client.cluster().await {
        Ok(cluster) => {
            let id = cluster.cluster_id;
            return Err(Failure::not_done(format_args!(
                "the node at {endpoint} belongs to cluster {id} already; nothing was changed"
            )));
        }
        Err(error) if error.code() == Some(Code::Unavailable) => {}
        Err(error) => return Err(failed(error)),
    }
    let what = format!("form a new cluster of the node at {endpoint} and those that wait for it");
    if let Decision::Stop(exit) = decide(&what, arguments)? {
        return Ok(exit);
    }
    let cluster_id = client.init_cluster().await.map_err(failed)?;
    match format {
        Format::Json => output::print_json(&json!({ "cluster_id": cluster_id }))?,
        Format::Table => output::say(&format!("cluster {cluster_id} is formed")),
    }
    Ok(Exit::Done)
}

async fn set(setting: &str, arguments: &ChangeArguments) -> Result<Exit, Failure> {
    if !setting.contains('=') {
        return Err(Failure::usage("cluster set takes SETTING=VALUE"));
    }
    needs_cluster(
        arguments,
        "a cluster of one node has no settings of its own: they are its configuration's",
    )
    .await
}

async fn recover(arguments: &ChangeArguments) -> Result<Exit, Failure> {
    needs_cluster(
        arguments,
        "recovery brings shards back that lost most of several replicas, and this cluster has one node",
    )
    .await
}
