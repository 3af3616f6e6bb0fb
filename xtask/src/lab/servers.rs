//! The servers under test, each with its data below the lab's directory and its ports on loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use super::http;
use super::load::Target;
use super::process::{Guarded, LabDirectory};

/// Longest time from start to serving.
pub(super) const START_PATIENCE: Duration = Duration::from_secs(60);
/// Longest time from SIGTERM to the end.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum System {
    Ringfort,
    Etcd,
    Redis,
}

impl System {
    pub(super) const ALL: [Self; 3] = [Self::Ringfort, Self::Etcd, Self::Redis];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ringfort => "ringfort",
            Self::Etcd => "etcd",
            Self::Redis => "redis",
        }
    }
}

/// A server that serves.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) system: System,
    pub(super) process: Guarded,
    pub(super) address: SocketAddr,
}

impl Server {
    /// Starts a server on an empty directory and waits until it serves.
    pub(super) fn start(
        system: System,
        executable: &Path,
        lab: &LabDirectory,
    ) -> anyhow::Result<Self> {
        let data = lab.fresh(system.name())?;
        Self::start_on(system, executable, lab, &data)
    }

    /// Starts a server on a directory and waits until it serves.
    pub(super) fn start_on(
        system: System,
        executable: &Path,
        lab: &LabDirectory,
        data: &Path,
    ) -> anyhow::Result<Self> {
        let mut server = Self::spawn(system, executable, lab, data)?;
        let address = server.address;
        server.process.await_that(START_PATIENCE, || match system {
            System::Ringfort => http::is_ok(address, "/readyz"),
            System::Etcd => http::is_ok(address, "/health"),
            System::Redis => answers_ping(address),
        })?;
        Ok(server)
    }

    /// Starts a server and does not wait.
    pub(super) fn spawn(
        system: System,
        executable: &Path,
        lab: &LabDirectory,
        data: &Path,
    ) -> anyhow::Result<Self> {
        let [client, peer] = free_ports()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, client));
        let mut command = match system {
            System::Ringfort => ringfort(executable, data, client, peer),
            System::Etcd => etcd(data, client, peer),
            System::Redis => redis(data, client),
        };
        let log = lab.file(&format!("{}.log", system.name()));
        let process = Guarded::start(&mut command, &log)?;
        Ok(Self { system, process, address })
    }

    /// What a load goes to.
    pub(super) fn target(&self) -> Target {
        let scheme = if self.system == System::Redis { "redis" } else { "http" };
        Target {
            system: self.system,
            endpoints: vec![format!("{scheme}://{}", self.address)],
            pids: vec![self.process.pid()],
        }
    }
}

fn ringfort(executable: &Path, data: &Path, client: u16, peer: u16) -> Command {
    let mut command = Command::new(executable);
    command.arg("server");
    for (key, value) in [
        ("node.data_dir", data.display().to_string()),
        ("listen.client", format!("127.0.0.1:{client}")),
        ("listen.peer", format!("127.0.0.1:{peer}")),
    ] {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    command
}

/// Debian's etcd with default settings, one member.
fn etcd(data: &Path, client: u16, peer: u16) -> Command {
    let mut command = Command::new("etcd");
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    command.arg("--data-dir").arg(data);
    for (flag, value) in [
        ("--listen-client-urls", client.clone()),
        ("--advertise-client-urls", client),
        ("--listen-peer-urls", peer.clone()),
        ("--initial-advertise-peer-urls", peer.clone()),
        ("--initial-cluster", format!("default={peer}")),
    ] {
        command.arg(flag).arg(value);
    }
    command
}

/// Debian's Redis, every write synced before its answer.
fn redis(data: &Path, client: u16) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port"]).arg(client.to_string());
    command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    command.args(["--save", "", "--dir"]).arg(data);
    command
}

fn answers_ping(address: SocketAddr) -> bool {
    let ping = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG\r\n")
    };
    ping().unwrap_or(false)
}

/// Ports that nobody listens on now.
pub(super) fn free_ports<const COUNT: usize>() -> anyhow::Result<[u16; COUNT]> {
    // All are held until the last is found: none is given twice.
    let mut listeners = Vec::with_capacity(COUNT);
    let mut ports = [0; COUNT];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// Builds the release executable, unless what stands there is to be measured, and says where it is.
pub(super) fn release_executable(root: &Path, build: bool) -> anyhow::Result<PathBuf> {
    if build {
        run_cargo(root, &["build", "--release", "--package", "ringfort"])?;
    }
    let executable = target_directory(root).join("release/ringfort");
    if !executable.is_file() {
        bail!("{} does not exist: leave out --no-build", executable.display());
    }
    Ok(executable)
}

/// Runs cargo in the workspace.
pub(super) fn run_cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    eprintln!("cargo {}", arguments.join(" "));
    let status = Command::new("cargo")
        .args(arguments)
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}

/// Where cargo builds to.
pub(super) fn target_directory(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root.join(directory),
        None => root.join("target"),
    }
}

/// Whether a program is installed.
pub(super) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
