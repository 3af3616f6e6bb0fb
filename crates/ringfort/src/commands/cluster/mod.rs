//! `ringfort cluster`: how a cluster is, and changes to it.

mod health;
mod route;
mod status;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use ringfort_client::{Client, Cluster, Error, ShardStatus};
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
    let cluster = client.cluster().await.map_err(|error| {
        // It answers, and has no cluster to show: its checks say what it waits for.
        let says = arguments.connection.output == Format::Table;
        if says && error.code() == Some(Code::Unavailable) && !readiness.ready {
            output::say(&format!("the node is not ready ({})", health::failed(&readiness)));
        }
        failed(error)
    })?;
    match arguments.connection.output {
        Format::Json => output::print_json(&status::document(&cluster, &readiness))?,
        Format::Table => output::print(status::text(&cluster, &readiness).as_bytes())?,
    }
    Ok(Exit::Done)
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
            status::replicas(&cluster, &shard.replicas),
            output::grouped(shard.keys),
            output::human_size(shard.bytes),
        ]);
    }
    output::print_table(table)?;
    Ok(Exit::Done)
}

async fn route(key: &OsString, arguments: &ClusterArguments) -> Result<Exit, Failure> {
    let route = ask(arguments, async |client| client.route(key.as_bytes()).await).await?;
    if arguments.connection.output == Format::Json {
        output::print_json(&json!(route))?;
        return Ok(Exit::Done);
    }
    let cluster = ask(arguments, Client::cluster).await?;
    output::print(route::text(key.as_bytes(), &route, &cluster).as_bytes())?;
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
    needs_cluster(arguments, "this version keeps the settings that a cluster was formed with").await
}

async fn recover(arguments: &ChangeArguments) -> Result<Exit, Failure> {
    needs_cluster(
        arguments,
        "this version cannot bring back shards that lost most of their replicas",
    )
    .await
}
