//! Runs `ringfort bench` and reads its JSON.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::process::with_death_signal;
use super::servers::System;

/// Operations before anything is counted.
pub(super) const WARMUP: Duration = Duration::from_secs(1);

/// What a load goes to: one server, or all members of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) system: System,
    /// Connections take them in turn.
    pub(super) endpoints: Vec<String>,
    /// Processes whose costs are summed up.
    pub(super) pids: Vec<u32>,
}

/// How long a load lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Seconds after the warm-up.
    Seconds(u64),
    /// Operations, without warm-up.
    Operations(u64),
    /// Every key has been written once.
    Loaded,
    /// It is told to stop, some time after the warm-up.
    Stopped,
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
    /// Open loop: operations due per second.
    pub(super) rate: Option<f64>,
}

/// What of the result is used here.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadResult {
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) cpu_us: Option<f64>,
    pub(super) syncs: Option<f64>,
    pub(super) syncs_per_second: Option<f64>,
    pub(super) switches: Option<f64>,
    pub(super) written_bytes: Option<f64>,
    pub(super) peer_frames: Option<f64>,
    pub(super) peer_bytes: Option<f64>,
    pub(super) generator_cpu_us: Option<f64>,
    /// Operations that were not answered as expected.
    pub(super) errors: u64,
}

/// A load that runs beside what else is done.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    what: String,
}

impl Load {
    /// One put of every key over 64 connections.
    pub(super) fn of_all(keys: u64) -> Self {
        Self {
            workload: "load",
            connections: 64,
            channels: 1,
            keys,
            until: Until::Loaded,
            rate: None,
        }
    }

    /// The command line against a target.
    pub(super) fn command(&self, executable: &Path, target: &Target) -> Command {
        let mut command = Command::new(executable);
        command.args(["bench", "-o", "json", "--value-bytes", "256"]);
        command.args(["--target", target.system.name()]);
        command.args(["--workload", self.workload]);
        for endpoint in &target.endpoints {
            command.args(["--endpoint", endpoint]);
        }
        for pid in &target.pids {
            command.arg("--server-pid").arg(pid.to_string());
        }
        for (flag, number) in [("--connections", self.connections), ("--keys", self.keys)] {
            command.arg(flag).arg(number.to_string());
        }
        if let Some(rate) = self.rate {
            command.arg("--rate").arg(format!("{rate:.0}"));
        }
        let warmup = format!("{}s", WARMUP.as_secs());
        match self.until {
            Until::Seconds(seconds) => {
                command.arg("--duration").arg(format!("{seconds}s"));
                command.arg("--warmup").arg(warmup);
            }
            Until::Operations(operations) => {
                command.arg("--requests").arg(operations.to_string());
                command.args(["--warmup", "0ms"]);
            }
            Until::Stopped => {
                command.args(["--duration", "86400s"]).arg("--warmup").arg(warmup);
            }
            Until::Loaded => {}
        }
        if target.system == System::Etcd {
            command.arg("--etcd-channels").arg(self.channels.to_string());
        }
        command
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// An operation was not answered as expected.
    pub(super) fn run(&self, executable: &Path, target: &Target) -> anyhow::Result<LoadResult> {
        self.run_as(&mut self.command(executable, target), target)
    }

    /// Starts it.
    pub(super) fn start(&self, executable: &Path, target: &Target) -> anyhow::Result<Running> {
        // Its answer is smaller than what a pipe holds: it ends without being read.
        let child = with_death_signal(&self.command(executable, target))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run the load generator")?;
        Ok(Running { child, what: format!("{} at {}", self.workload, target.system.name()) })
    }

    /// Runs a command that runs the load generator in turn.
    pub(super) fn run_as(
        &self,
        command: &mut Command,
        target: &Target,
    ) -> anyhow::Result<LoadResult> {
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .context("cannot run the load generator")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("{} at {}: {errors}{text}", self.workload, target.system.name());
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
            syncs_per_second: number(&server, "syncs_per_second"),
            peer_frames: number(&server, "peer_frames_per_operation"),
            peer_bytes: number(&server, "peer_bytes_per_operation"),
            switches: number(&server, "switches_per_operation"),
            written_bytes: number(&server, "written_bytes_per_operation"),
            generator_cpu_us: number(report, "generator_cpu_us_per_operation"),
            errors: part("errors")
                .as_object()
                .map_or(0, |errors| errors.values().filter_map(Value::as_u64).sum()),
        })
    }
}

impl Running {
    /// Ends the load now, and reads what it measured; operations that failed are counted in it.
    pub(super) fn stop(mut self) -> anyhow::Result<LoadResult> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process without id")?, Signal::INT)?;
        let mut text = String::new();
        let mut stdout = self.child.stdout.take().context("the load has no output")?;
        stdout.read_to_string(&mut text)?;
        let status = self.child.wait()?;
        let report = serde_json::from_str(&text)
            .with_context(|| format!("{} ended with {status} and no JSON", self.what))?;
        LoadResult::read(&report)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `stop` there is nothing left to kill or collect.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number, unless it is none.
pub(super) fn known(number: f64) -> Option<f64> {
    Some(number).filter(|number| number.is_finite())
}

/// The median of those rounds that know the figure; not a number if none does.
pub(super) fn median<T>(rounds: &[T], figure: impl Fn(&T) -> Option<f64>) -> f64 {
    let mut values: Vec<f64> = rounds.iter().filter_map(figure).collect();
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => f64::NAN,
        (len, middle) if len % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        (_, middle) => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_what_is_known() {
        let result = |per_second| LoadResult { per_second, ..LoadResult::default() };
        let rounds = [result(9.0), result(1.0), result(4.0)];
        assert!((median(&rounds, |r| Some(r.per_second)) - 4.0).abs() < 1e-9);
        assert!((median(&rounds[..2], |r| Some(r.per_second)) - 5.0).abs() < 1e-9);
        assert!(median(&rounds, |r| r.syncs).is_nan());
    }
}
