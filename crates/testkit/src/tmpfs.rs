//! A small file system that can really be full.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A mounted tmpfs. Unmounted when dropped.
#[derive(Debug)]
pub struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    /// Whether this process may mount.
    #[must_use]
    pub fn permitted() -> bool {
        rustix::process::geteuid().is_root()
    }

    /// Mounts a tmpfs of so many bytes on a directory that exists.
    ///
    /// # Errors
    /// The mount is refused; where not even root may mount, [`Tmpfs::permitted`] cannot tell.
    pub fn mount(path: &Path, bytes: u64) -> Result<Self> {
        Self::mount_as(path, &format!("size={bytes}"))
    }

    /// The same with room for so many files, directories included: what free space says nothing of.
    ///
    /// # Errors
    /// As for [`Tmpfs::mount`].
    pub fn mount_for_files(path: &Path, bytes: u64, files: u64) -> Result<Self> {
        Self::mount_as(path, &format!("size={bytes},nr_inodes={files}"))
    }

    fn mount_as(path: &Path, options: &str) -> Result<Self> {
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(options)
            .arg("ringfort-test")
            .arg(path)
            .output()
            .context("mount")?;
        ensure!(output.status.success(), "mount: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process may be about to end still.
        let status = Command::new("umount").arg("-l").arg(&self.path).status();
        if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("umount {}: {status:?}", self.path.display());
        }
    }
}
