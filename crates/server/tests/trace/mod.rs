//! `strace` watches the server: no answer leaves before the sync that covers it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use ringfort_testkit::strace::{ARGUMENTS, check_acknowledgement, check_directories, parse};
use ringfort_testkit::{Server, ServerOptions};

use crate::{skip, with_small_segments};

const CLIENTS: u32 = 4;
const PUTS: u32 = 50;

fn can_trace() -> bool {
    let status =
        Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Puts that many values from several connections at once, so that they share syncs; the values in return.
fn put_all(server: &Server) -> Result<Vec<String>> {
    let clients = (0..CLIENTS).map(|client| {
        let mut http = server.client();
        std::thread::spawn(move || -> Result<Vec<String>> {
            let mut values = Vec::new();
            for number in 0..PUTS {
                let value = format!("traced-value-{client}-{number}-end");
                let response = http.put(&format!("traced/{client}/{number}"), value.as_bytes())?;
                ensure!(response.status == 200, "{} {}", response.status, response.text());
                values.push(value);
            }
            Ok(values)
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut values = Vec::new();
    for client in clients {
        values.extend(client.join().map_err(|_| anyhow!("a client panicked"))??);
    }
    Ok(values)
}

/// What the server is run under, so that its trace ends up in a file.
fn tracing_to(trace: &Path) -> Vec<OsString> {
    let mut wrapper: Vec<OsString> = vec!["strace".into()];
    wrapper.extend(ARGUMENTS.map(OsString::from));
    wrapper.extend(["-o".into(), trace.into()]);
    wrapper
}

/// A data directory that is not there yet, nor those above it: what a power loss takes of the path, it takes with everything
/// below.
#[test]
fn a_new_path_is_durable_before_the_first_answer() -> Result<()> {
    const VALUE: &str = "first-value-end";
    if !can_trace() {
        skip("the names of a new path", "strace is not there or may not trace");
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let trace = home.path().join("trace");
    let options = ServerOptions::new().data_dir(&home.path().join("a/b/c"));
    let mut server = options.under(&tracing_to(&trace)).prepare()?;
    fs::remove_dir_all(home.path().join("a"))?;
    server.restart()?;
    ensure!(server.client().put("first", VALUE.as_bytes())?.status == 200);
    ensure!(server.terminate()?.success());
    let text = String::from_utf8_lossy(&fs::read(&trace)?).into_owned();
    let path = home.path().to_str().context("a path that is no text")?;
    let made = check_directories(&parse(&text)?, path, VALUE)?;
    ensure!(made == 3, "{made} directories were made");
    Ok(())
}

#[test]
fn no_answer_leaves_before_the_sync_that_covers_it() -> Result<()> {
    if !can_trace() {
        skip("the order of syncs and answers", "strace is not there or may not trace");
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let trace = home.path().join("trace");
    let options = with_small_segments(ServerOptions::new()).under(&tracing_to(&trace));
    let mut server = options.start()?;
    let values = put_all(&server)?;
    ensure!(server.terminate()?.success());

    let text = String::from_utf8_lossy(&fs::read(&trace)?).into_owned();
    let calls = parse(&text)?;
    let mut syncs = std::collections::BTreeSet::new();
    for value in &values {
        let covered =
            check_acknowledgement(&calls, value).with_context(|| format!("value {value}"))?;
        syncs.insert(covered.sync_returned);
    }
    println!(
        "{} acknowledgements, covered by {} syncs, in a trace of {} calls",
        values.len(),
        syncs.len(),
        calls.len()
    );
    Ok(())
}
