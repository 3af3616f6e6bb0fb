//! A page cache that a kill empties: the preloaded library under `shim/`, compiled when a test first wants it.
//!
//! Under it, `kill -9` takes with it everything that no sync has made durable. It writes down how many writes and syncs it
//! saw: a run in which it saw none has tested nothing, and [`ShimStats::require_work`] fails it. Names that no sync of their
//! directory has covered are taken back by [`Shim::lose_names`]. What the library models, and what not, stands in
//! `shim/shim.h`.

mod names;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::binary;

/// The library's sources, part of this crate so that a test needs nothing but a C compiler.
const SOURCES: [(&str, &str); 8] = [
    ("shim.h", include_str!("../../shim/shim.h")),
    ("held.h", include_str!("../../shim/held.h")),
    ("names.h", include_str!("../../shim/names.h")),
    ("names.c", include_str!("../../shim/names.c")),
    ("config.c", include_str!("../../shim/config.c")),
    ("tracked.c", include_str!("../../shim/tracked.c")),
    ("held.c", include_str!("../../shim/held.c")),
    ("interpose.c", include_str!("../../shim/interpose.c")),
];

/// "FRRING01" as the library writes it.
const STATS_MAGIC: u64 = 0x3130_474e_4952_5246;
const STATS_BYTES: usize = 4096;

/// What the library is to do to one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShimOptions {
    /// The n-th sync of a file fails with an I/O error; 0: none. Default 0.
    pub fail_sync: u64,
    /// The n-th write to a file fails with an I/O error; 0: none. Default 0.
    pub fail_write: u64,
    /// Every sync takes this much longer, in microseconds. Default 0.
    pub sync_delay_us: u64,
    /// Every sync waits until [`Shim::let_syncs_go`] or [`Shim::release_syncs`]. Default false.
    pub hold_syncs: bool,
    /// Percentage of sectors that reach the kernel before any sync, as from a page cache under pressure: a kill then leaves
    /// torn tails. Default 0.
    pub leak_percent: u64,
    /// Seed of that choice. Default 0.
    pub seed: u64,
}

/// The compiled library, set up for one directory.
#[derive(Clone, Debug)]
pub struct Shim {
    library: PathBuf,
    /// The directory whose files are held back, as the kernel names it.
    directory: PathBuf,
    stats: PathBuf,
    /// Holds the journal of names.
    names: PathBuf,
    /// The named pipe that syncs wait at, where they do.
    hold: PathBuf,
    /// Its writing end, open for good once no sync is to wait any more.
    released: Option<Arc<File>>,
}

impl Shim {
    /// Compiles the library unless that was done before, and sets it up for `directory`, which exists. What it notes goes to
    /// `home`, a directory elsewhere on the same file system.
    ///
    /// # Errors
    /// There is no C compiler, or a file cannot be made.
    pub fn new(directory: &Path, home: &Path) -> Result<Self> {
        let names = home.join("shim-names");
        fs::create_dir_all(&names)?;
        Ok(Self {
            library: library()?,
            directory: fs::canonicalize(directory)
                .with_context(|| format!("{}", directory.display()))?,
            stats: home.join("shim-stats"),
            names: fs::canonicalize(names)?,
            hold: home.join("shim-hold"),
            released: None,
        })
    }

    /// Puts the library between the command and its files, with counters from 0. Names that an earlier process left
    /// undurable have to be lost, or kept, before.
    ///
    /// # Errors
    /// A file cannot be made.
    pub fn apply(&self, command: &mut Command, options: &ShimOptions) -> Result<()> {
        fs::write(&self.stats, [0; STATS_BYTES])?;
        names::clear(&self.names)?;
        if options.hold_syncs {
            self.make_pipe()?;
            command.env("RINGFORT_SHIM_HOLD_SYNCS", &self.hold);
        }
        command
            .env("LD_PRELOAD", &self.library)
            .env("RINGFORT_SHIM_DIR", &self.directory)
            .env("RINGFORT_SHIM_STATS", &self.stats)
            .env("RINGFORT_SHIM_NAMES", &self.names)
            .env("RINGFORT_SHIM_FAIL_SYNC", options.fail_sync.to_string())
            .env("RINGFORT_SHIM_FAIL_WRITE", options.fail_write.to_string())
            .env("RINGFORT_SHIM_SYNC_DELAY_US", options.sync_delay_us.to_string())
            .env("RINGFORT_SHIM_LEAK", options.leak_percent.to_string())
            .env("RINGFORT_SHIM_SEED", options.seed.to_string());
        Ok(())
    }

    fn make_pipe(&self) -> Result<()> {
        match fs::remove_file(&self.hold) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &self.hold, FileType::Fifo, mode, 0)
            .with_context(|| format!("{}", self.hold.display()))
    }

    /// Lets the syncs go on that wait now; later ones wait again. Returns whether one waited.
    ///
    /// # Errors
    /// The process was not started with [`ShimOptions::hold_syncs`], or syncs were released.
    pub fn let_syncs_go(&self) -> Result<bool> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::open(&self.hold, flags, Mode::empty()) {
            Ok(_) => Ok(true),
            // Nobody reads.
            Err(Errno::NXIO) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("{}", self.hold.display())),
        }
    }

    /// Lets every sync go on, now and later.
    ///
    /// # Errors
    /// The process was not started with [`ShimOptions::hold_syncs`].
    pub fn release_syncs(&mut self) -> Result<()> {
        // Open for both does not wait. It stays open for a sync that has found the name and not yet come to wait.
        let pipe = File::options().read(true).write(true).open(&self.hold);
        let pipe = pipe.with_context(|| format!("{}", self.hold.display()))?;
        self.released = Some(Arc::new(pipe));
        fs::remove_file(&self.hold)?;
        Ok(())
    }

    /// Takes back the creates, renames and deletions of the process, which has ended, that no sync of their directory
    /// covered: all but the first so many, given how many there are. Returns how many it took back.
    ///
    /// # Errors
    /// The journal or the directory cannot be used.
    pub fn lose_names(&self, keep: impl FnOnce(usize) -> usize) -> Result<usize> {
        names::lose(&self.names, keep)
    }

    /// The counters since the last start, also after the process has gone.
    ///
    /// # Errors
    /// The library was not at work in the process.
    pub fn stats(&self) -> Result<ShimStats> {
        let bytes = fs::read(&self.stats)?;
        let number = |index: usize| -> Result<u64> {
            let bytes = bytes.get(index * 8..index * 8 + 8).context("cut short")?;
            Ok(u64::from_le_bytes(bytes.try_into()?))
        };
        ensure!(number(0)? == STATS_MAGIC, "the shim was not loaded into the process");
        Ok(ShimStats {
            files_opened: number(1)?,
            writes: number(2)?,
            written_bytes: number(3)?,
            syncs: number(4)?,
            directory_syncs: number(5)?,
            flushed_bytes: number(6)?,
            held_bytes: number(7)?,
            held_bytes_max: number(8)?,
            leaked_bytes: number(9)?,
            failures_injected: number(10)?,
            syncs_after_failure: number(11)?,
        })
    }
}

/// What the library saw in one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShimStats {
    /// Descriptors opened on regular files of the directory.
    pub files_opened: u64,
    /// Writes to them.
    pub writes: u64,
    /// Bytes of those writes.
    pub written_bytes: u64,
    /// Syncs of files that succeeded.
    pub syncs: u64,
    /// Syncs of directories.
    pub directory_syncs: u64,
    /// Bytes that those syncs of files really wrote, in whole pages.
    pub flushed_bytes: u64,
    /// Bytes held back, in whole pages; once the process is killed, what that took with it.
    pub held_bytes: u64,
    /// The most it ever held back.
    pub held_bytes_max: u64,
    /// Bytes that reached the kernel before any sync.
    pub leaked_bytes: u64,
    /// Writes and syncs that it failed on purpose.
    pub failures_injected: u64,
    /// Syncs asked for after one had failed.
    pub syncs_after_failure: u64,
}

impl ShimStats {
    /// Fails a run in which the library saw no write, or no sync unless none is expected.
    ///
    /// # Errors
    /// It saw none: the run proves nothing.
    pub fn require_work(&self, syncs_expected: bool) -> Result<()> {
        ensure!(self.writes > 0, "the shim saw no write: {self:?}");
        ensure!(self.syncs > 0 || !syncs_expected, "the shim saw no sync: {self:?}");
        Ok(())
    }

    /// Adds the counters of another run; the two that are no sums become the larger one.
    pub fn add(&mut self, other: &Self) {
        self.files_opened += other.files_opened;
        self.writes += other.writes;
        self.written_bytes += other.written_bytes;
        self.syncs += other.syncs;
        self.directory_syncs += other.directory_syncs;
        self.flushed_bytes += other.flushed_bytes;
        self.held_bytes += other.held_bytes;
        self.held_bytes_max = self.held_bytes_max.max(other.held_bytes_max);
        self.leaked_bytes += other.leaked_bytes;
        self.failures_injected += other.failures_injected;
        self.syncs_after_failure += other.syncs_after_failure;
    }
}

/// The compiled library. One compilation a process; its name holds a hash of the sources, so that processes share it.
fn library() -> Result<PathBuf> {
    static LIBRARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let result = LIBRARY.get_or_init(|| compile().map_err(|error| format!("{error:#}")));
    result.clone().map_err(|error| anyhow!("the preload shim: {error}"))
}

fn compile() -> Result<PathBuf> {
    let target = binary::target_dir()?.join("shim");
    fs::create_dir_all(&target)?;
    let library = target.join(format!("shim-{:016x}.so", hash_of_sources()));
    if library.exists() {
        return Ok(library);
    }
    let work = tempfile::tempdir_in(&target)?;
    for (name, text) in SOURCES {
        fs::write(work.path().join(name), text)?;
    }
    let made = work.path().join("shim.so");
    let units = SOURCES.iter().filter(|(name, _)| name.ends_with(".c"));
    let output = Command::new("cc")
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"])
        .args(["-shared", "-fPIC", "-pthread", "-o"])
        .arg(&made)
        .args(units.map(|(name, _)| work.path().join(name)))
        .output()
        .context("cc, the C compiler")?;
    ensure!(output.status.success(), "cc failed:\n{}", String::from_utf8_lossy(&output.stderr));
    // Another process may be at it: both make the same, and a rename is atomic.
    fs::rename(&made, &library)?;
    Ok(library)
}

/// FNV-1a.
fn hash_of_sources() -> u64 {
    let bytes = SOURCES.iter().flat_map(|(_, text)| text.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
