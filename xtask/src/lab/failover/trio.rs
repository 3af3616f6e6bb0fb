//! Three members of one system, on this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use ringfort_types::{Key, NamespaceId, shard_of_token};
use serde_json::Value;

use super::lanes::Write1;
use crate::lab::http;
use crate::lab::process::{Guarded, LabDirectory, wait_until};
use crate::lab::servers::{System, free_ports};

const MEMBERS: usize = 3;
/// Longest time from start to serving.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// The shards of a cluster with default settings.
pub(super) const SHARDS: u32 = 64;
/// Lanes that write to etcd, whose keys are all in one group.
const ETCD_LANES: u32 = 16;
/// The value: 256 bytes, for etcd in Base64.
const VALUE_BYTES: usize = 256;

#[derive(Debug)]
struct Member {
    command: Vec<String>,
    log: PathBuf,
    address: SocketAddr,
    process: Option<Guarded>,
}

/// Three members.
#[derive(Debug)]
pub(super) struct Trio {
    pub(super) system: System,
    members: Vec<Member>,
}

impl Trio {
    /// Starts three members on empty directories and waits until they serve.
    pub(super) fn start(
        system: System,
        executable: &Path,
        lab: &LabDirectory,
    ) -> anyhow::Result<Self> {
        let ports = (0..MEMBERS).map(|_| free_ports()).collect::<anyhow::Result<Vec<_>>>()?;
        let mut members = Vec::new();
        for number in 0..MEMBERS {
            let name = format!("{}-{number}", system.name());
            let data = lab.fresh(&name)?;
            let command = match system {
                System::Etcd => etcd(number, &data, &ports),
                _ => ringfort(executable, number, &data, &ports),
            };
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[number][0]));
            let log = lab.file(&format!("{name}.log"));
            members.push(Member { command, log, address, process: None });
        }
        let mut trio = Self { system, members };
        trio.start_all()?;
        Ok(trio)
    }

    /// Starts the members that do not run, and waits until all serve.
    pub(super) fn start_all(&mut self) -> anyhow::Result<()> {
        for member in self.members.iter_mut().filter(|member| member.process.is_none()) {
            let mut command = Command::new(&member.command[0]);
            command.args(&member.command[1..]);
            member.process = Some(Guarded::start(&mut command, &member.log)?);
        }
        let path = if self.system == System::Etcd { "/health" } else { "/readyz" };
        for member in &mut self.members {
            let address = member.address;
            let process = member.process.as_mut().context("a member that does not run")?;
            process.await_that(START_PATIENCE, || http::is_ok(address, path))?;
        }
        Ok(())
    }

    /// Where clients reach the members.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.address).collect()
    }

    /// A write for each lane: for each shard, or to the one group that etcd is.
    pub(super) fn writes(&self) -> anyhow::Result<Vec<Write1>> {
        match self.system {
            System::Etcd => Ok((0..ETCD_LANES).map(write_to_etcd).collect()),
            _ => (0..SHARDS).map(write_to_shard).collect(),
        }
    }

    /// The member that leads the most, and the lanes whose leader it is. Waits until every shard has a leader.
    pub(super) fn leader(&self) -> anyhow::Result<(usize, Vec<usize>)> {
        let mut found = None;
        wait_until(START_PATIENCE, || {
            found = match self.system {
                System::Etcd => self.leader_of_etcd()?.map(|leader| (leader, vec![0])),
                _ => self.leader_of_most()?,
            };
            Ok(found.is_some())
        })?;
        found.context("no leader")
    }

    fn leader_of_most(&self) -> anyhow::Result<Option<(usize, Vec<usize>)>> {
        let (_, body) = http::get(self.members[0].address, "/v1/cluster/shards")?;
        let document: Value = serde_json::from_slice(&body)?;
        let mut led = vec![Vec::new(); MEMBERS];
        for shard in document["shards"].as_array().context("no shards")? {
            let leader = shard["leader"].as_str().and_then(|id| id.strip_prefix('n')?.parse().ok());
            let (Some(leader), Some(number)) = (leader, shard["shard"].as_u64()) else {
                return Ok(None);
            };
            let led: &mut Vec<usize> = led.get_mut::<usize>(leader).context("an unknown node")?;
            led.push(usize::try_from(number)?);
        }
        Ok(led.into_iter().enumerate().max_by_key(|(_, led)| led.len()))
    }

    fn leader_of_etcd(&self) -> anyhow::Result<Option<usize>> {
        for (number, member) in self.members.iter().enumerate() {
            let (status, body) = http::post(member.address, "/v3/maintenance/status", "{}")?;
            let document: Value = serde_json::from_slice(&body).unwrap_or_default();
            if status == 200 && document["leader"] == document["header"]["member_id"] {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// `kill -9` of a member.
    pub(super) fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        self.members[number].process.take().context("a member that does not run")?.kill()
    }
}

fn ringfort(executable: &Path, number: usize, data: &Path, ports: &[[u16; 2]]) -> Vec<String> {
    let seeds: Vec<_> = ports.iter().map(|[_, peer]| format!("127.0.0.1:{peer}")).collect();
    let [client, peer] = ports[number];
    let settings = [
        format!("node.id=n{number}"),
        format!("node.data_dir={}", data.display()),
        format!("listen.client=127.0.0.1:{client}"),
        format!("listen.peer=127.0.0.1:{peer}"),
        format!("cluster.seeds={}", seeds.join(",")),
        format!("cluster.bootstrap_expect={MEMBERS}"),
    ];
    let words = [executable.display().to_string(), "server".to_owned()];
    let settings = settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]);
    words.into_iter().chain(settings).collect()
}

/// Debian's etcd with default settings.
fn etcd(number: usize, data: &Path, ports: &[[u16; 2]]) -> Vec<String> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let all = ports.iter().enumerate();
    let all: Vec<_> = all.map(|(member, [_, peer])| format!("m{member}={}", url(*peer))).collect();
    let [client, peer] = ports[number].map(url);
    let words = [
        ("--name", format!("m{number}")),
        ("--data-dir", data.display().to_string()),
        ("--listen-client-urls", client.clone()),
        ("--advertise-client-urls", client),
        ("--listen-peer-urls", peer.clone()),
        ("--initial-advertise-peer-urls", peer),
        ("--initial-cluster", all.join(",")),
    ];
    let words = words.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    std::iter::once("etcd".to_owned()).chain(words).collect()
}

/// A write of a key that lies on this shard.
fn write_to_shard(shard: u32) -> anyhow::Result<Write1> {
    let lies_there = |text: &String| {
        let key = Key::new(text.clone().into_bytes());
        key.is_ok_and(|key| shard_of_token(key.token(NamespaceId::default()), SHARDS).0 == shard)
    };
    let mut keys = (0_u32..100_000).map(|number| format!("key-{number}"));
    let key = keys.find(lies_there).context("no key for a shard")?;
    let line = format!("PUT /v1/kv/{key}");
    Ok(Write1 { line, headers: "", body: "v".repeat(VALUE_BYTES) })
}

/// A write through etcd's gateway from JSON. Key and value are Base64 as they stand.
fn write_to_etcd(lane: u32) -> Write1 {
    let value = "v".repeat(VALUE_BYTES.div_ceil(3) * 4);
    let body = format!("{{\"key\":\"lane{lane:04}\",\"value\":\"{value}\"}}");
    let headers = "Content-Type: application/json\r\n";
    Write1 { line: "POST /v3/kv/put".to_owned(), headers, body }
}
