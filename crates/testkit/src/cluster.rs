//! A cluster of real server processes on loopback, each with a data directory of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Server, ServerOptions, wait_until};

/// Longest wait until every live node shows the same map: leaders found, the maps told. Debug builds on a shared machine.
const AGREEMENT_DEADLINE: Duration = Duration::from_secs(60);
/// Longest wait for a document: a node that is paused gives none.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Nodes that form one cluster. Dropping it kills them all.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
    running: Vec<bool>,
}

/// Who leads each shard, by node id, and in which term.
pub type Leaders = BTreeMap<u64, (String, u64)>;

/// The id of a node.
#[must_use]
pub fn node_id(node: usize) -> String {
    format!("n{node}")
}

impl Cluster {
    /// Makes so many nodes without starting them: each knows all of them as seeds and expects them all, and each shard has
    /// so many replicas. `change` may set more, or other, for each node.
    ///
    /// # Errors
    /// There are no ports, directories or executable.
    pub fn prepare(
        nodes: usize,
        replication_factor: usize,
        change: impl Fn(usize, ServerOptions) -> ServerOptions,
    ) -> Result<Self> {
        let servers = (0..nodes).map(|node| change(node, ServerOptions::new()).prepare());
        let mut servers = servers.collect::<Result<Vec<_>>>()?;
        let seeds: Vec<_> =
            servers.iter().map(|server| format!("127.0.0.1:{}", server.peer_port())).collect();
        for (node, server) in servers.iter_mut().enumerate() {
            server.set_options(|options| {
                let options = options
                    .set("node.id", &node_id(node))
                    .set("cluster.seeds", &seeds.join(","))
                    .set("cluster.bootstrap_expect", &nodes.to_string())
                    .set("cluster.replication_factor", &replication_factor.to_string())
                    .set("cluster.shards", "8");
                change(node, options)
            });
        }
        Ok(Self { running: vec![false; nodes], nodes: servers })
    }

    /// Starts so many nodes and awaits that they have formed a cluster that serves.
    ///
    /// # Errors
    /// See [`Self::prepare`] and [`Self::start_all`].
    pub fn start(
        nodes: usize,
        replication_factor: usize,
        change: impl Fn(usize, ServerOptions) -> ServerOptions,
    ) -> Result<Self> {
        let mut cluster = Self::prepare(nodes, replication_factor, change)?;
        cluster.start_all()?;
        Ok(cluster)
    }

    /// Starts every node that does not run, and awaits them all.
    ///
    /// # Errors
    /// One of them cannot be started, or is not ready by the deadline.
    pub fn start_all(&mut self) -> Result<()> {
        let stopped = self.numbers(false);
        for node in &stopped {
            self.spawn(*node)?;
        }
        stopped.into_iter().try_for_each(|node| self.await_ready(node))
    }

    /// Starts a node without awaiting anything.
    ///
    /// # Errors
    /// It runs, or cannot be started.
    pub fn spawn(&mut self, node: usize) -> Result<()> {
        self.nodes[node].spawn()?;
        self.running[node] = true;
        Ok(())
    }

    /// Awaits that a node is ready.
    ///
    /// # Errors
    /// It ends first, or is not ready by the deadline.
    pub fn await_ready(&mut self, node: usize) -> Result<()> {
        let ready = self.nodes[node].await_ready();
        self.running[node] = ready.is_ok();
        ready.with_context(|| format!("node {}", node_id(node)))
    }

    /// `kill -9` of a node.
    ///
    /// # Errors
    /// It does not run, or had ended by itself.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        self.running[node] = false;
        self.nodes[node].kill().with_context(|| format!("node {}", node_id(node)))
    }

    /// `kill -9` of every node that runs.
    ///
    /// # Errors
    /// One had ended by itself.
    pub fn kill_all(&mut self) -> Result<()> {
        self.live().into_iter().try_for_each(|node| self.kill(node))
    }

    /// A node.
    #[must_use]
    pub fn node(&self, node: usize) -> &Server {
        &self.nodes[node]
    }

    /// A node, to be signalled or given other options.
    pub fn node_mut(&mut self, node: usize) -> &mut Server {
        &mut self.nodes[node]
    }

    /// Client ports of all nodes, those that are down too.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(Server::port).collect()
    }

    /// Nodes that run.
    #[must_use]
    pub fn live(&self) -> Vec<usize> {
        self.numbers(true)
    }

    fn numbers(&self, running: bool) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.running[*node] == running).collect()
    }

    /// A document that a node serves, such as `/v1/cluster`.
    ///
    /// # Errors
    /// It serves none.
    pub fn document(&self, node: usize, target: &str) -> Result<Value> {
        let response = self.nodes[node].client().with_timeout(DOCUMENT_TIMEOUT).get(target)?;
        ensure!(response.status == 200, "GET {target}: {} {}", response.status, response.text());
        Ok(response.json())
    }

    /// Who leads each shard as one node sees it, of those that have a majority of their replicas on live nodes; `None` while
    /// it knows no live leader of one of them.
    fn leaders_seen_by(&self, node: usize) -> Result<Option<(Value, Leaders)>> {
        let live: Vec<_> = self.live().into_iter().map(node_id).collect();
        let document = self.document(node, "/v1/cluster/shards")?;
        let shards = document["shards"].as_array().context("a map without shards")?;
        let mut leaders = Leaders::new();
        let mut placement = Vec::new();
        for shard in shards {
            let replicas = shard["replicas"].as_array().context("a shard without replicas")?;
            let is_live = |replica: &&Value| live.iter().any(|id| replica["node"] == id.as_str());
            if replicas.iter().filter(is_live).count() * 2 <= replicas.len() {
                continue;
            }
            let leader =
                shard["leader"].as_str().filter(|leader| live.iter().any(|id| id == leader));
            let (Some(number), Some(leader)) = (shard["shard"].as_u64(), leader) else {
                return Ok(None);
            };
            leaders.insert(number, (leader.to_owned(), shard["term"].as_u64().unwrap_or(0)));
            let replicas = replicas.iter().map(|replica| {
                let words = ["id", "node", "role"].map(|word| replica[word].to_string());
                words.join(" ")
            });
            placement.push(format!("{number}: {}", replicas.collect::<Vec<_>>().join(", ")));
        }
        Ok(Some((Value::from(placement), leaders)))
    }

    /// The map on which all live nodes agree, if they do, and the leaders themselves with it: whoever is called a leader
    /// says so of its own replica.
    fn agreed(&self) -> Result<Result<Leaders, String>> {
        let mut agreed: Option<(Value, Leaders)> = None;
        for node in self.live() {
            let Some((placement, leaders)) = self.leaders_seen_by(node)? else {
                return Ok(Err(format!("{} knows no live leader of some shard", node_id(node))));
            };
            // A node that holds no replica of a shard knows no term of it.
            let by_name = |leaders: &Leaders| {
                leaders.values().map(|(leader, _)| leader.clone()).collect::<Vec<_>>()
            };
            match &mut agreed {
                None => agreed = Some((placement, leaders)),
                Some((first, known))
                    if *first == placement && by_name(known) == by_name(&leaders) =>
                {
                    for (shard, (_, term)) in known {
                        *term = (*term).max(leaders.get(shard).map_or(0, |(_, term)| *term));
                    }
                }
                Some((first, _)) => {
                    return Ok(Err(format!("{first}\n{} sees {placement}", node_id(node))));
                }
            }
        }
        let (_, leaders) = agreed.context("no node runs")?;
        for node in self.live() {
            if let Some(difference) = self.differs_from_own(node, &leaders)? {
                return Ok(Err(difference));
            }
        }
        Ok(Ok(leaders))
    }

    /// What a node's own replicas say, compared with the map: it leads exactly what the map says it leads.
    fn differs_from_own(&self, node: usize, leaders: &Leaders) -> Result<Option<String>> {
        let id = node_id(node);
        let own = self.document(node, &format!("/v1/cluster/shards?node={id}"))?;
        let shards = own["shards"].as_array().context("a map without shards")?;
        for shard in shards {
            let number = shard["shard"].as_u64().context("a shard without a number")?;
            let replicas = shard["replicas"].as_array().into_iter().flatten();
            let role = replicas.into_iter().find(|replica| replica["node"] == id.as_str());
            let role = role.map(|replica| replica["role"].clone()).unwrap_or_default();
            let Some((leader, term)) = leaders.get(&number) else { continue };
            let expected = if *leader == id { "leader" } else { "follower" };
            if role != expected || shard["term"].as_u64() != Some(*term) {
                let said = format!("{id} is {role} of shard {number} in term {}", shard["term"]);
                return Ok(Some(format!("{said}; {leader} leads it in term {term}")));
            }
        }
        Ok(None)
    }

    /// Awaits that the shard maps of all live nodes are one, with a leader for every shard that can have one, and that the
    /// replicas' own state is the same. Gives who leads.
    ///
    /// # Errors
    /// They do not agree by the deadline; the message shows the last difference.
    pub fn await_agreement(&self) -> Result<Leaders> {
        let mut difference = String::new();
        let agreed = wait_until("all maps to agree", AGREEMENT_DEADLINE, || {
            Ok(match self.agreed()? {
                Ok(leaders) => Some(leaders),
                Err(found) => {
                    difference = found;
                    None
                }
            })
        });
        agreed.with_context(|| difference)
    }

    /// The node that leads the most shards, as the first live node sees it.
    ///
    /// # Errors
    /// It serves no map.
    pub fn leads_most(&self) -> Result<usize> {
        let document =
            self.document(*self.live().first().context("no node runs")?, "/v1/cluster/nodes")?;
        let nodes = document["nodes"].as_array().context("no nodes")?;
        let live = self.live();
        let leads = |node: &usize| {
            let found = nodes.iter().find(|known| known["id"] == node_id(*node).as_str());
            found.and_then(|known| known["leaders"].as_u64())
        };
        live.into_iter().max_by_key(leads).context("no node runs")
    }
}
