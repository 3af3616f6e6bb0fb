//! `strace` watches the server: no answer leaves before the sync that covers it.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use ringfort_testkit::strace::{ARGUMENTS, check_acknowledgement, parse};
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

#[test]
fn no_answer_leaves_before_the_sync_that_covers_it() -> Result<()> {
    if !can_trace() {
        skip("the order of syncs and answers", "strace is not there or may not trace");
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let trace = home.path().join("trace");
    let mut wrapper: Vec<OsString> = vec!["strace".into()];
    wrapper.extend(ARGUMENTS.map(OsString::from));
    wrapper.extend(["-o".into(), trace.clone().into()]);
    let mut server = with_small_segments(ServerOptions::new()).under(&wrapper).start()?;
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
