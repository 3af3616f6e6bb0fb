//! Starts, stops, pauses: what signals do to a server under load, and who may hold a data directory.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfort_check::check;
use ringfort_testkit::load::{LoadOptions, Recorder};
use ringfort_testkit::{ServerOptions, ShimOptions, Signal, binary, seed_from_environment};

use crate::with_small_segments;

const LOAD_DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn sigterm_under_load_loses_nothing_and_exits_0() -> Result<()> {
    sigterm_under_load("1")
}

/// Connections of one worker wait for shards of the others, also while all of them stop.
#[test]
fn sigterm_under_load_of_several_workers_loses_nothing_and_exits_0() -> Result<()> {
    sigterm_under_load("3")
}

fn sigterm_under_load(workers: &str) -> Result<()> {
    let load_options = LoadOptions { seed: seed_from_environment()?, ..LoadOptions::default() };
    let mut recorder = Recorder::default();
    // Under the shim, so that an exit with something left to sync would be a loss.
    let options = with_small_segments(ServerOptions::new()).shim(ShimOptions::default());
    let options = options.set("server.workers", workers);
    let mut server = options.start()?;
    for _ in 0..3 {
        let load = recorder.start_load(server.port(), &load_options);
        load.await_acknowledged(300, LOAD_DEADLINE)?;
        let status = server.terminate()?;
        recorder.stop_load(load)?;
        ensure!(status.success(), "{status}\n{}", server.log_text());
        server.restart()?;
        recorder.read_all(server.port(), &load_options)?;
    }
    let report = check(&recorder.history());
    ensure!(report.is_clean(), "{report}");
    println!("{report}");
    Ok(())
}

#[test]
fn a_paused_server_answers_when_it_is_resumed() -> Result<()> {
    let mut server = ServerOptions::new().start()?;
    let mut client = server.client();
    ensure!(client.put("paused", b"before")?.status == 200);
    server.pause()?;
    let waiting = std::thread::spawn(move || client.put("paused", b"during"));
    server.resume()?;
    let response = waiting.join().ok().context("the client panicked")??;
    ensure!(response.status == 200, "{} {}", response.status, response.text());
    ensure!(server.client().get("/v1/kv/paused")?.body == b"during");
    Ok(())
}

#[test]
fn sighup_keeps_it_serving() -> Result<()> {
    let mut server = ServerOptions::new().start()?;
    ensure!(server.client().put("hup", b"1")?.status == 200);
    server.signal(Signal::HUP)?;
    // The answer comes after the signal, whichever of the two the process sees first.
    ensure!(server.client().put("hup", b"2")?.status == 200);
    ensure!(server.terminate()?.success());
    Ok(())
}

#[test]
fn a_data_directory_is_held_by_one_process() -> Result<()> {
    let mut first = ServerOptions::new().start()?;
    let second = ServerOptions::new().data_dir(first.data_dir());
    let error = second.start().err().context("two servers on one data directory")?;
    let message = format!("{error:#}");
    ensure!(message.contains("held by another"), "{message}");
    ensure!(first.client().put("first", b"still serves")?.status == 200);
    first.kill()
}

/// The revision that is checked out; `None` where this is no checkout.
fn checked_out() -> Result<Option<String>> {
    let root = binary::workspace_dir()?;
    if !root.join(".git").exists() {
        return Ok(None);
    }
    let git = Command::new("git").arg("-C").arg(root).args(["rev-parse", "HEAD"]).output()?;
    ensure!(git.status.success(), "{}", String::from_utf8_lossy(&git.stderr));
    Ok(Some(String::from_utf8(git.stdout)?.trim().to_owned()))
}

/// The target that this machine's compiler builds for unless it is told otherwise.
fn host_target() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("-vV").output().context("rustc")?;
    let text = String::from_utf8(version.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("no host in rustc -vV")?.to_owned())
}

#[test]
fn version_says_what_the_executable_was_built_from() -> Result<()> {
    let server = ServerOptions::new().start()?;
    let version = server.client().get("/version")?.json();
    ensure!(version["name"] == "ringfort", "{version}");
    ensure!(version["version"] == env!("CARGO_PKG_VERSION"), "{version}");
    if std::env::var_os("RINGFORT_TEST_BINARY").is_some() {
        // Whoever built it may have done so from another revision and for another target.
        return Ok(());
    }
    ensure!(version["target"] == host_target()?, "{version}");
    match checked_out()? {
        Some(revision) => ensure!(version["revision"] == revision, "{version}, not {revision}"),
        None => ensure!(version["revision"] != "", "{version}"),
    }
    Ok(())
}
