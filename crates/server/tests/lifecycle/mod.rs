//! Starts, stops, pauses: what signals do to a server under load, and who may hold a data directory.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfort_check::check;
use ringfort_testkit::load::{LoadOptions, Recorder};
use ringfort_testkit::{ServerOptions, ShimOptions, Signal, seed_from_environment};

use crate::with_small_segments;

const LOAD_DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn sigterm_under_load_loses_nothing_and_exits_0() -> Result<()> {
    let load_options = LoadOptions { seed: seed_from_environment()?, ..LoadOptions::default() };
    let mut recorder = Recorder::default();
    // Under the shim, so that an exit with something left to sync would be a loss.
    let options = with_small_segments(ServerOptions::new()).shim(ShimOptions::default());
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
