//! `cargo xtask peers`: what benchmarks and profiles need, from Debian's packages.

use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use super::options::Options;
use super::servers::is_installed;

/// Program, package, what for, and the service that Debian starts with it.
const PEERS: [(&str, &str, &str, Option<&str>); 3] = [
    ("etcd", "etcd-server", "compared with", Some("etcd")),
    ("redis-server", "redis-server", "compared with", Some("redis-server")),
    ("perf", "linux-perf", "samples for the CPU table", None),
];

/// Installs what is missing; stops the services that Debian starts.
pub(crate) fn peers(arguments: &[String]) -> anyhow::Result<ExitCode> {
    Options::new(arguments).finish()?;
    let missing: Vec<&str> = PEERS
        .iter()
        .filter(|(program, ..)| !is_installed(program))
        .map(|(_, package, ..)| *package)
        .collect();
    if !missing.is_empty() {
        if !is_installed("apt-get") {
            bail!("install {} by hand: there is no apt-get here", missing.join(", "));
        }
        if !rustix::process::geteuid().is_root() {
            bail!("run as root, or install by hand: apt-get install {}", missing.join(" "));
        }
        run("apt-get", &["update"])?;
        let mut install = vec!["install", "--yes", "--no-install-recommends"];
        install.extend(&missing);
        run("apt-get", &install)?;
    }
    for (program, package, purpose, service) in PEERS {
        if !is_installed(program) {
            bail!("{package} is installed, and there is still no {program}");
        }
        println!("{program:<14} {:<46} {purpose}", version(program));
        if let Some(service) = service {
            stop_service(service)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Debian starts a service with its package: it would hold the default port and take CPU time from measurements.
fn stop_service(service: &str) -> anyhow::Result<()> {
    if std::path::Path::new("/run/systemd/system").exists() {
        return run("systemctl", &["disable", "--now", service]);
    }
    let script = format!("/etc/init.d/{service}");
    if std::path::Path::new(&script).exists() {
        return run(&script, &["stop"]);
    }
    Ok(())
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    println!("{program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("{program} {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}

fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().next().unwrap_or("").chars().take(46).collect()
}
