//! Runs `ringfort bench` and reads its JSON.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::servers::{Server, System};

/// Operations before anything is counted.
pub(super) const WARMUP: Duration = Duration::from_secs(1);

/// How long a load lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Seconds after the warm-up.
    Seconds(u64),
    /// Operations, without warm-up.
    Operations(u64),
    /// Every key has been written once.
    Loaded,
}

/// One run of the load generator.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) workload: &'static str,
    pub(super) connections: u64,
    /// gRPC connections, where the target is etcd.
    pub(super) channels: u64,
    pub(super) keys: u64,
    pub(super) until: Until,
}

/// What of the result is used here.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadResult {
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) cpu_us: Option<f64>,
    pub(super) syncs: Option<f64>,
    pub(super) switches: Option<f64>,
    pub(super) written_bytes: Option<f64>,
    pub(super) generator_cpu_us: Option<f64>,
}

impl Load {
    /// One put of every key over 64 connections.
    pub(super) fn of_all(keys: u64) -> Self {
        Self { workload: "load", connections: 64, channels: 1, keys, until: Until::Loaded }
    }

    /// The command line against a server.
    pub(super) fn command(&self, executable: &Path, server: &Server) -> Command {
        let mut command = Command::new(executable);
        command.args(["bench", "-o", "json", "--value-bytes", "256"]);
        command.args(["--target", server.system.name()]);
        command.args(["--workload", self.workload]);
        command.args(["--endpoint", &server.endpoint()]);
        for (flag, number) in [
            ("--connections", self.connections),
            ("--keys", self.keys),
            ("--server-pid", u64::from(server.process.pid())),
        ] {
            command.arg(flag).arg(number.to_string());
        }
        match self.until {
            Until::Seconds(seconds) => {
                command.arg("--duration").arg(format!("{seconds}s"));
                let warmup = format!("{}s", WARMUP.as_secs());
                command.arg("--warmup").arg(warmup);
            }
            Until::Operations(operations) => {
                command.arg("--requests").arg(operations.to_string());
                command.args(["--warmup", "0ms"]);
            }
            Until::Loaded => {}
        }
        if server.system == System::Etcd {
            command.arg("--etcd-channels").arg(self.channels.to_string());
        }
        command
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// An operation was not answered as expected.
    pub(super) fn run(&self, executable: &Path, server: &Server) -> anyhow::Result<LoadResult> {
        self.run_as(&mut self.command(executable, server), server)
    }

    /// Runs a command that runs the load generator in turn.
    pub(super) fn run_as(
        &self,
        command: &mut Command,
        server: &Server,
    ) -> anyhow::Result<LoadResult> {
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .context("cannot run the load generator")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("{} at {}: {errors}{text}", self.workload, server.system.name());
        }
        let report: Value = serde_json::from_str(&text).context("the load generator's JSON")?;
        LoadResult::read(&report)
    }
}

impl LoadResult {
    fn read(report: &Value) -> anyhow::Result<Self> {
        let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_f64);
        let part = |key: &str| report.get(key).cloned().unwrap_or_default();
        let (latency, server) = (part("latency"), part("server"));
        let needed = |value: &Value, key: &str| {
            number(value, key).with_context(|| format!("the load generator says no {key}"))
        };
        Ok(Self {
            per_second: needed(report, "operations_per_second")?,
            p50_us: needed(&latency, "p50_us")?,
            p99_us: needed(&latency, "p99_us")?,
            cpu_us: number(&server, "cpu_us_per_operation"),
            syncs: number(&server, "syncs_per_operation"),
            switches: number(&server, "switches_per_operation"),
            written_bytes: number(&server, "written_bytes_per_operation"),
            generator_cpu_us: number(report, "generator_cpu_us_per_operation"),
        })
    }
}
