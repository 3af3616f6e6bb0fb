//! The cycles of a crash test.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use ringfort_check::{Report, check, write_history};
use ringfort_testkit::load::{LoadOptions, Recorder};
use ringfort_testkit::{Random, Server, ServerOptions, ShimOptions, ShimStats, binary};

use crate::with_small_segments;

const LOAD_DEADLINE: Duration = Duration::from_secs(60);
/// Writes acknowledged before a kill, at most.
const WRITES_MAX: u64 = 600;
const JITTER_US_MAX: u64 = 3_000;

pub(crate) struct Plan {
    pub(crate) binary: PathBuf,
    pub(crate) cycles: u64,
    pub(crate) seed: u64,
    /// The server is the mutant that skips syncs: the shim is to see none, and nothing leaks early, since a part that
    /// survives would let the log find out by itself what is missing.
    pub(crate) skips_syncs: bool,
}

pub(crate) struct Crashes {
    plan: Plan,
    server: Server,
    recorder: Recorder,
    load: LoadOptions,
    shim: ShimStats,
    kills: u64,
    /// Names that a kill ever left: new ones mean that segments rolled and stores were flushed.
    files: BTreeSet<OsString>,
}

impl Crashes {
    pub(crate) fn new(plan: Plan) -> Result<Self> {
        let options = ServerOptions::new().binary(plan.binary.clone());
        let load = LoadOptions { seed: plan.seed, ..LoadOptions::default() };
        Ok(Self {
            plan,
            server: options.prepare()?,
            recorder: Recorder::default(),
            load,
            shim: ShimStats::default(),
            kills: 0,
            files: BTreeSet::new(),
        })
    }

    /// A first start and clean stop without the shim, so that there is a cluster whatever is lost later.
    pub(crate) fn found_cluster(&mut self) -> Result<()> {
        self.server.restart()?;
        self.recorder.read_all(self.server.port(), &self.load)?;
        let status = self.server.terminate()?;
        ensure!(status.success(), "SIGTERM: {status}");
        Ok(())
    }

    /// Start, read, load, kill.
    pub(crate) fn cycle(&mut self, cycle: u64) -> Result<()> {
        let mut random = Random::new(self.plan.seed).fork(cycle);
        let shim = ShimOptions {
            leak_percent: match self.plan.skips_syncs {
                true => 0,
                false => [0, 10, 50][usize::try_from(random.below(3))?],
            },
            sync_delay_us: [0, 0, 400, 2_000][usize::try_from(random.below(4))?],
            seed: random.next(),
            ..ShimOptions::default()
        };
        let small = !self.plan.skips_syncs && random.percent(70);
        let binary = self.plan.binary.clone();
        self.server.restart_with(|_| {
            let options = ServerOptions::new().binary(binary).shim(shim);
            if small { with_small_segments(options) } else { options }
        })?;
        self.read_all_while_running()?;
        // Large values fill segments, so that they roll, are recycled, and stores are flushed.
        let load = if random.percent(50) {
            LoadOptions { value_bytes: 12_000, large_value_bytes: 120_000, ..self.load.clone() }
        } else {
            self.load.clone()
        };
        let load = self.recorder.start_load(self.server.port(), &load);
        let target = 1 + random.below(WRITES_MAX);
        let awaited = load.await_acknowledged(target, LOAD_DEADLINE);
        // The moment of the kill is the one thing here that is meant to be a matter of time.
        std::thread::sleep(Duration::from_micros(random.below(JITTER_US_MAX)));
        let killed = self.server.kill();
        self.recorder.stop_load(load)?;
        killed?;
        awaited?;
        for entry in self.server.data_dir().read_dir()? {
            self.files.insert(entry?.file_name());
        }
        let stats = self.server.shim_stats()?;
        stats.require_work(!self.plan.skips_syncs)?;
        self.shim.add(&stats);
        self.kills += 1;
        Ok(())
    }

    fn read_all_while_running(&mut self) -> Result<()> {
        self.recorder.read_all(self.server.port(), &self.load)
    }

    /// Starts the server, reads every key, and kills it.
    pub(crate) fn read_all(&mut self) -> Result<()> {
        self.server.restart()?;
        self.read_all_while_running()?;
        self.server.kill()
    }

    /// Reads every key, stops the server as an administrator does, starts it, and reads again; all without the shim.
    pub(crate) fn read_after_clean_stop(&mut self) -> Result<()> {
        let binary = self.plan.binary.clone();
        self.server.restart_with(|_| ServerOptions::new().binary(binary))?;
        self.read_all_while_running()?;
        let status = self.server.terminate()?;
        ensure!(status.success(), "SIGTERM: {status}");
        self.server.restart()?;
        self.read_all_while_running()
    }

    pub(crate) fn check(&self) -> Report {
        check(&self.recorder.history())
    }

    pub(crate) fn files_seen(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn shim_stats(&self) -> &ShimStats {
        &self.shim
    }

    /// Keeps the history of a run that breaks a rule.
    pub(crate) fn require_clean(&self) -> Result<Report> {
        let report = self.check();
        if report.is_clean() {
            return Ok(report);
        }
        let path = binary::target_dir()?.join(format!("crash-{}.jsonl", self.plan.seed));
        let file = BufWriter::new(File::create(&path)?);
        write_history(file, &self.recorder.history())?;
        bail!("{}\nhistory: {}\n{report}", self.summary(&report), path.display())
    }

    pub(crate) fn summary(&self, report: &Report) -> String {
        let Report { acknowledged, unknown, unknown_seen, reads, .. } = report;
        format!(
            "seed {}: {} kills; {acknowledged} acknowledged writes, {unknown} of unknown outcome \
             ({unknown_seen} of them seen), {reads} reads; {} files of the server's; shim: {} writes, \
             {} bytes, {} syncs, {} directory syncs; {} bytes and {} names taken by kills, {} bytes leaked early",
            self.plan.seed,
            self.kills,
            self.files.len(),
            self.shim.writes,
            self.shim.written_bytes,
            self.shim.syncs,
            self.shim.directory_syncs,
            self.shim.held_bytes,
            self.server.names_lost(),
            self.shim.leaked_bytes
        )
    }
}
