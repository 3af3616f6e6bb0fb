//! `cargo xtask restart`: how long a server with many records takes from its start until a get of a loaded key in every
//! shard is answered, after `kill -9` and after SIGTERM, and how much memory it holds.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ringfort_types::limits::SHARDS_DEFAULT;
use ringfort_types::{NamespaceId, shard_of_token, token_of};
use serde_json::{Value, json};

use super::http;
use super::load::Load;
use super::options::{Options, Output};
use super::process::{LabDirectory, wait_until};
use super::servers::{STOP_PATIENCE, Server, System, release_executable, target_directory};

/// Sizes of a record, as the load generator writes it.
const KEY_BYTES: u64 = 16;
const VALUE_BYTES: u64 = 256;
/// The targets: seconds until every shard answers, and resident memory over keys and values.
const SECONDS_MAX: f64 = 3.0;
const MEMORY_RATIO_MAX: f64 = 1.6;
/// Longest time until every shard answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct RestartResult {
    records: u64,
    load_per_second: f64,
    /// Resident memory after the load, and after each restart.
    loaded_bytes: u64,
    killed: Restart,
    terminated: Restart,
}

#[derive(Clone, Copy, Debug)]
struct Restart {
    seconds: f64,
    resident_bytes: u64,
}

/// The command.
pub(crate) fn restart(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut options = Options::new(arguments);
    let records = options.number("--records", 1_000_000, 100_000_000)?;
    let no_build = options.flag("--no-build");
    let output = options.output()?;
    options.finish()?;
    let executable = release_executable(root, !no_build)?;
    let lab = LabDirectory::new(&target_directory(root))?;
    let result = measure(&executable, &lab, records)?;
    match output {
        Output::Table => print!("{}", result.table()),
        Output::Json => println!("{:#}", result.json()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Loads the records and starts the server twice again.
pub(super) fn measure(
    executable: &Path,
    lab: &LabDirectory,
    records: u64,
) -> anyhow::Result<RestartResult> {
    let data = lab.fresh("restart")?;
    let start = || Server::start_on(System::Ringfort, executable, lab, &data);
    let mut server = start()?;
    eprintln!("restart: loading {records} records");
    let load_per_second = Load::of_all(records).run(executable, &server.target())?.per_second;
    let loaded_bytes = server.process.resident_bytes()?;
    let keys = one_key_per_shard(records);
    server.process.kill()?;
    drop(server);
    eprintln!("restart: after kill -9");
    let (mut server, killed) = restarted(executable, lab, &data, &keys)?;
    server.process.terminate(STOP_PATIENCE)?;
    drop(server);
    eprintln!("restart: after SIGTERM");
    let (mut server, terminated) = restarted(executable, lab, &data, &keys)?;
    server.process.terminate(STOP_PATIENCE)?;
    std::fs::remove_dir_all(&data)?;
    Ok(RestartResult { records, load_per_second, loaded_bytes, killed, terminated })
}

fn restarted(
    executable: &Path,
    lab: &LabDirectory,
    data: &Path,
    keys: &[String],
) -> anyhow::Result<(Server, Restart)> {
    let began = Instant::now();
    let mut server = Server::spawn(System::Ringfort, executable, lab, data)?;
    let address = server.address;
    for key in keys {
        let first_answer = |ready: &mut bool| {
            *ready = http::get(address, &format!("/v1/kv/{key}"))
                .is_ok_and(|(status, value)| status == 200 && is_value_of(key, &value));
            *ready
        };
        let mut ready = false;
        server.process.await_that(PATIENCE, || first_answer(&mut ready))?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let resident_bytes = server.process.resident_bytes()?;
    check_shards(address)?;
    Ok((server, Restart { seconds, resident_bytes }))
}

fn is_value_of(key: &str, value: &[u8]) -> bool {
    value.len() as u64 == VALUE_BYTES && value.starts_with(key.as_bytes())
}

/// The cluster must have as many shards as keys were chosen for, else a shard went unasked.
fn check_shards(address: SocketAddr) -> anyhow::Result<()> {
    let mut shards = 0;
    wait_until(PATIENCE, || {
        let (status, body) = http::get(address, "/v1/cluster/shards")?;
        if status != 200 {
            bail!("/v1/cluster/shards answered {status}");
        }
        let body: Value = serde_json::from_slice(&body).context("the shards' JSON")?;
        shards = body.get("shards").and_then(Value::as_array).map_or(0, Vec::len);
        Ok(true)
    })?;
    if shards != SHARDS_DEFAULT as usize {
        bail!("the server has {shards} shards, expected {SHARDS_DEFAULT}");
    }
    Ok(())
}

/// A loaded key of every shard.
fn one_key_per_shard(records: u64) -> Vec<String> {
    let mut found = vec![None; SHARDS_DEFAULT as usize];
    let mut missing = found.len();
    for number in 0..records {
        if missing == 0 {
            break;
        }
        let key = format!("{number:016}");
        let token = token_of(NamespaceId(0), key.as_bytes());
        let slot = &mut found[shard_of_token(token, SHARDS_DEFAULT).0 as usize];
        if slot.is_none() {
            *slot = Some(key);
            missing -= 1;
        }
    }
    found.into_iter().flatten().collect()
}

impl RestartResult {
    fn memory_ratio(&self, resident_bytes: u64) -> f64 {
        resident_bytes as f64 / (self.records * (KEY_BYTES + VALUE_BYTES)) as f64
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let restart = |restart: &Restart| {
            json!({
                "seconds": restart.seconds,
                "resident_bytes": restart.resident_bytes,
                "memory_ratio": self.memory_ratio(restart.resident_bytes),
            })
        };
        json!({
            "records": self.records,
            "load_per_second": self.load_per_second,
            "loaded": {
                "resident_bytes": self.loaded_bytes,
                "memory_ratio": self.memory_ratio(self.loaded_bytes),
            },
            "after_kill": restart(&self.killed),
            "after_sigterm": restart(&self.terminated),
        })
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let verdict = |good: bool| if good { "pass" } else { "MISS" };
        let mut out = format!(
            "restart with {} records of {KEY_BYTES}+{VALUE_BYTES} bytes (loaded at {:.0}/s)\n",
            self.records, self.load_per_second
        );
        let rows = [("after kill -9", &self.killed), ("after SIGTERM", &self.terminated)];
        for (name, restart) in rows {
            out += &format!(
                "  {name:<24} {:>8.2} s   at most {SECONDS_MAX} s   {}\n",
                restart.seconds,
                verdict(restart.seconds <= SECONDS_MAX)
            );
        }
        let memory = [
            ("memory after the load", self.loaded_bytes),
            ("memory after kill -9", self.killed.resident_bytes),
            ("memory after SIGTERM", self.terminated.resident_bytes),
        ];
        for (name, bytes) in memory {
            let ratio = self.memory_ratio(bytes);
            out += &format!(
                "  {name:<24} {ratio:>8.2} x   at most {MEMORY_RATIO_MAX} x   {}   {} MiB\n",
                verdict(ratio <= MEMORY_RATIO_MAX),
                bytes >> 20
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_a_key_of_its_own() {
        let keys = one_key_per_shard(10_000);
        assert_eq!(keys.len(), SHARDS_DEFAULT as usize);
        let shards: std::collections::BTreeSet<u32> = keys
            .iter()
            .map(|key| shard_of_token(token_of(NamespaceId(0), key.as_bytes()), SHARDS_DEFAULT).0)
            .collect();
        assert_eq!(shards.len(), keys.len());
        assert_eq!(one_key_per_shard(1).len(), 1);
    }
}
