//! Disks that refuse what their free space does not tell: no more files, or none beyond a size. As with a full disk, puts
//! are refused and nothing else, and all is well again once the bound is gone.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfort_testkit::http::HttpClient;
use ringfort_testkit::{Server, ServerOptions, Tmpfs, wait_until};

use super::full::expect_full;
use crate::{skip, with_small_segments};

const DISK_BYTES: u64 = 64 << 20;
const FILES: u64 = 100;
/// More than a start makes, and less than a segment.
const FILE_BYTES: u64 = 256 << 10;
const VALUE_BYTES: usize = 50_000;
/// More than the segments hold that are there already.
const PUTS_MAX: usize = 400;
const DEADLINE: Duration = Duration::from_secs(30);

fn key(number: usize) -> String {
    format!("quota/{number}")
}

fn value(number: usize) -> Vec<u8> {
    let mut bytes = format!("value {number} ").into_bytes();
    bytes.resize(VALUE_BYTES, b'.');
    bytes
}

/// Puts until one is refused; how many succeeded. None may end in any other way.
fn fill(client: &mut HttpClient) -> Result<usize> {
    for number in 0..PUTS_MAX {
        let response = client.put(&key(number), &value(number))?;
        if response.status != 200 {
            expect_full(&response)?;
            return Ok(number);
        }
    }
    anyhow::bail!("{PUTS_MAX} puts of {VALUE_BYTES} bytes were taken")
}

fn expect_values(client: &mut HttpClient, numbers: std::ops::Range<usize>) -> Result<()> {
    for number in numbers {
        let response = client.get(&format!("/v1/kv/{}", key(number)))?;
        let served = response.status == 200 && response.body == value(number);
        ensure!(served, "key {number}: {}", response.status);
    }
    Ok(())
}

/// Fills a server that gets no further segment, has the bound taken away, and looks at what is there after a crash.
fn run(server: &mut Server, lift: impl FnOnce(&Server) -> Result<()>) -> Result<()> {
    let mut client = server.client();
    let stored = fill(&mut client)?;
    println!("{stored} puts of {VALUE_BYTES} bytes, then 507");
    expect_values(&mut client, 0..stored)?;
    for number in 0..5 {
        let deleted = client.call("DELETE", &format!("/v1/kv/{}", key(number)))?;
        ensure!(deleted.status == 200, "{} {}", deleted.status, deleted.text());
    }
    let disk = rustix::fs::statvfs(server.data_dir())?;
    let free = disk.f_bavail * disk.f_frsize;
    ensure!(free > 8 << 20, "{free} bytes free: that alone would refuse puts");

    lift(server)?;
    wait_until("puts to be accepted again", DEADLINE, || {
        let response = client.put(&key(stored), &value(stored))?;
        if response.status == 200 {
            return Ok(Some(()));
        }
        expect_full(&response)?;
        Ok(None)
    })?;
    server.kill()?;
    server.restart_with(|options| options.under(&[]))?;
    let mut client = server.client();
    expect_values(&mut client, 5.min(stored)..stored + 1)?;
    if stored > 0 {
        ensure!(client.get(&format!("/v1/kv/{}", key(0)))?.status == 404);
    }
    ensure!(server.terminate()?.success());
    Ok(())
}

/// Makes files until the disk takes no more.
fn take_all_files(disk: &Tmpfs) -> Result<Vec<PathBuf>> {
    let mut taken = Vec::new();
    for number in 0..2 * FILES {
        let path = disk.path().join(format!("ballast-{number}"));
        if fs::File::create(&path).is_err() {
            return Ok(taken);
        }
        taken.push(path);
    }
    anyhow::bail!("more than {FILES} files fit")
}

#[test]
fn a_disk_that_takes_no_more_files_refuses_puts_and_heals() -> Result<()> {
    if !Tmpfs::permitted() {
        skip("a disk without files", "only root can mount a small tmpfs");
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let disk = match Tmpfs::mount_for_files(home.path(), DISK_BYTES, FILES) {
        Ok(disk) => disk,
        Err(error) => {
            skip("a disk without files", &format!("{error:#}"));
            return Ok(());
        }
    };
    let data_dir = disk.path().join("data");
    fs::create_dir(&data_dir)?;
    let options = with_small_segments(ServerOptions::new()).data_dir(&data_dir);
    let mut server = options.start()?;
    let taken = take_all_files(&disk)?;
    let lift = |_: &Server| taken.iter().try_for_each(|path| Ok(fs::remove_file(path)?));
    let result = run(&mut server, lift);
    result.with_context(|| format!("the server's log:\n{}", server.log_text()))
}

/// The signal that comes with such a write must not end the process either.
#[test]
fn files_that_may_not_grow_are_a_full_disk_and_heal() -> Result<()> {
    if Command::new("prlimit").arg("--version").output().is_err() {
        skip("files that may not grow", "prlimit is not there");
        return Ok(());
    }
    // A bound that the process may lift again.
    let wrapper: [OsString; 2] = ["prlimit".into(), format!("--fsize={FILE_BYTES}:").into()];
    let mut server = with_small_segments(ServerOptions::new()).under(&wrapper).start()?;
    let lift = |server: &Server| {
        let id = server.id()?.to_string();
        let status = Command::new("prlimit").args(["--pid", &id, "--fsize=unlimited:"]).status()?;
        ensure!(status.success(), "prlimit: {status}");
        Ok(())
    };
    let result = run(&mut server, lift);
    result.with_context(|| format!("the server's log:\n{}", server.log_text()))
}
