//! Processes and directories that do not outlive the measurement.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(2);

/// A process that is killed when this is dropped, and by the kernel should this program die first.
#[derive(Debug)]
pub(super) struct Guarded {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Guarded {
    /// Starts a program; what it prints goes to the file.
    pub(super) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let out = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let child = with_death_signal(command)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name, log: log.to_owned() })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in bytes.
    pub(super) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .with_context(|| format!("{path} has no VmRSS"))?;
        Ok(kib * 1024)
    }

    /// User and system time that it has used so far.
    pub(super) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let path = format!("/proc/{}/stat", self.pid());
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let ticks = cpu_ticks(&stat).with_context(|| format!("{path} has another format"))?;
        Ok(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
    }

    /// `kill -9`, and waits until it is gone.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for exit code 0.
    pub(super) fn terminate(&mut self, patience: Duration) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        self.wait(patience)
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process without id")?, signal)?;
        Ok(())
    }

    /// Waits for exit code 0.
    pub(super) fn wait(&mut self, patience: Duration) -> anyhow::Result<()> {
        let mut ended = None;
        wait_until(patience, || {
            ended = self.child.try_wait()?;
            Ok(ended.is_some())
        })
        .with_context(|| format!("{} does not end", self.name))?;
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{} ended with {status}: {}", self.name, self.last_words()),
            None => bail!("{} does not end", self.name),
        }
    }

    /// Waits until a condition holds; fails early if the process ends.
    pub(super) fn await_that(
        &mut self,
        patience: Duration,
        mut holds: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let result = wait_until(patience, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}", self.name);
            }
            Ok(holds())
        });
        result.with_context(|| format!("{} does not serve: {}", self.name, self.last_words()))
    }

    /// Fails if the process has ended.
    pub(super) fn expect_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}: {}", self.name, self.last_words()),
        }
    }

    /// The end of what it printed.
    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill, and waiting only collects it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ticks of CPU time. The name of the process, in parentheses, may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    // The first field here is number 3 of proc(5); utime is 14, stime 15.
    let mut fields = after_name.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The same command under `setpriv`, which has the kernel kill it when its parent is gone.
pub(super) fn with_death_signal(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "KILL", "--"]);
    wrapped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    wrapped
}

/// Looks at a condition until it holds.
///
/// # Errors
/// Looking failed, or patience is at its end.
pub(super) fn wait_until(
    patience: Duration,
    holds: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    wait_looking_every(POLL, patience, holds)
}

/// As [`wait_until`], for a condition that costs something to look at.
///
/// # Errors
/// Looking failed, or patience is at its end.
pub(super) fn wait_looking_every(
    pause: Duration,
    patience: Duration,
    mut holds: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let end = Instant::now() + patience;
    while !holds()? {
        if Instant::now() >= end {
            bail!("not within {patience:?}");
        }
        thread::sleep(pause);
    }
    Ok(())
}

/// A directory below the target directory (so on the disk that is measured) that goes when this is dropped. What a killed
/// run left behind goes with the next one.
#[derive(Debug)]
pub(super) struct LabDirectory {
    path: PathBuf,
}

impl LabDirectory {
    pub(super) fn new(target: &Path) -> anyhow::Result<Self> {
        let lab = target.join("lab");
        remove_left_behind(&lab);
        let path = lab.join(std::process::id().to_string());
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    /// A fresh, empty directory in it.
    pub(super) fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for LabDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn remove_left_behind(lab: &Path) {
    let Ok(entries) = fs::read_dir(lab) else {
        return;
    };
    for entry in entries.flatten() {
        let owner = entry.file_name();
        let lives = Path::new("/proc").join(&owner).exists();
        if !lives && fs::remove_dir_all(entry.path()).is_ok() {
            eprintln!("removed what run {} left behind", owner.to_string_lossy());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_anything() {
        let stat = "12 (a) b) (c) S 1 12 12 0 -1 4194560 10 0 0 0 250 75 0 0 20 0 4 0 100";
        assert_eq!(cpu_ticks(stat), Some(325));
        assert_eq!(cpu_ticks("12 (a"), None);
    }

    #[test]
    fn a_guarded_process_ends_with_its_guard() {
        let target = crate::workspace_root().join("target");
        let lab = LabDirectory::new(&target).unwrap();
        let directory = lab.fresh("x").unwrap();
        let mut guarded =
            Guarded::start(Command::new("sleep").arg("60"), &lab.file("log")).unwrap();
        let process = PathBuf::from(format!("/proc/{}", guarded.pid()));
        assert!(guarded.await_that(POLL, || false).is_err());
        drop(guarded);
        assert!(!process.exists());
        let mut ended =
            Guarded::start(Command::new("sh").args(["-c", "echo why; exit 3"]), &lab.file("log"))
                .unwrap();
        let error = ended.wait(Duration::from_secs(10)).unwrap_err();
        assert!(format!("{error:#}").contains("why"), "{error:#}");
        drop(lab);
        assert!(!directory.exists());
    }
}
