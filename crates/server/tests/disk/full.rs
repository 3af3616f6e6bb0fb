//! A full disk refuses puts and nothing else, and heals by itself when there is room.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ringfort_testkit::http::{HttpClient, Response};
use ringfort_testkit::{Server, ServerOptions, Tmpfs, wait_until};

use crate::{skip, with_small_segments};

const DISK_BYTES: u64 = 48 << 20;
const BALLAST_BYTES: usize = 16 << 20;
const VALUE_BYTES: usize = 100_000;
/// More than fits.
const PUTS_MAX: u32 = 2_000;
const HEAL_DEADLINE: Duration = Duration::from_secs(30);

fn key(number: u32) -> String {
    format!("full/{number}")
}

fn value(number: u32) -> Vec<u8> {
    let mut bytes = format!("value {number} ").into_bytes();
    bytes.resize(VALUE_BYTES, b'.');
    bytes
}

pub(super) fn expect_full(response: &Response) -> Result<()> {
    let body = response.json();
    ensure!(
        response.status == 507
            && body["code"] == "storage_full"
            && body["outcome"] == "not_applied",
        "{} {body}",
        response.status
    );
    Ok(())
}

/// Puts from this number on until the disk is full; the first one that was refused. A flush that was under way may have given
/// room meanwhile: then it is used up again.
fn fill(client: &mut HttpClient, from: u32) -> Result<u32> {
    for number in from..PUTS_MAX {
        let response = client.put(&key(number), &value(number))?;
        if response.status != 200 {
            expect_full(&response)?;
            return Ok(number);
        }
    }
    bail!("{PUTS_MAX} puts of {VALUE_BYTES} bytes fit on a disk of {DISK_BYTES} bytes");
}

fn expect_value(client: &mut HttpClient, number: u32) -> Result<()> {
    let response = client.get(&format!("/v1/kv/{}", key(number)))?;
    ensure!(
        response.status == 200 && response.body == value(number),
        "key {number}: {}",
        response.status
    );
    Ok(())
}

fn delete(client: &mut HttpClient, number: u32) -> Result<()> {
    let response = client.call("DELETE", &format!("/v1/kv/{}", key(number)))?;
    ensure!(response.status == 200, "{} {}", response.status, response.text());
    ensure!(response.json()["deleted"] == true, "{}", response.text());
    Ok(())
}

/// Takes every byte that is left: now even our own reserve is gone.
fn take_the_rest(path: &Path) -> Result<()> {
    let mut file = fs::File::create(path)?;
    for len in [1 << 16, 4096, 1] {
        while file.write(&vec![1; len]).is_ok() {}
    }
    Ok(())
}

fn await_room(client: &mut HttpClient, number: u32) -> Result<()> {
    wait_until("puts to be accepted again", HEAL_DEADLINE, || {
        let response = client.put(&key(number), &value(number))?;
        if response.status == 200 {
            return Ok(Some(()));
        }
        expect_full(&response)?;
        Ok(None)
    })
}

fn run(server: &mut Server, disk: &Path) -> Result<()> {
    let mut client = server.client();
    let stored = fill(&mut client, 0)?;
    ensure!(stored > 20, "only {stored} puts before the disk was full");
    println!("{stored} puts of {VALUE_BYTES} bytes, then 507");
    // Growth is refused, all else goes on.
    for number in [0, 1, stored - 1] {
        expect_value(&mut client, number)?;
    }
    delete(&mut client, 0)?;
    let stored = fill(&mut client, stored)?;

    // Somebody else takes what we had reserved.
    take_the_rest(&disk.join("rest"))?;
    let stored = fill(&mut client, stored)?;
    for number in 1..6 {
        delete(&mut client, number).context("on a disk without a byte left")?;
    }
    expect_value(&mut client, 6)?;

    fs::remove_file(disk.join("rest"))?;
    fs::remove_file(disk.join("ballast"))?;
    await_room(&mut client, stored)?;

    server.kill()?;
    server.restart()?;
    let mut client = server.client();
    for number in 6..=stored {
        expect_value(&mut client, number)?;
    }
    let gone = client.get(&format!("/v1/kv/{}", key(0)))?;
    ensure!(gone.status == 404, "{}", gone.status);
    ensure!(server.terminate()?.success());
    Ok(())
}

#[test]
fn a_full_disk_refuses_puts_serves_the_rest_and_heals() -> Result<()> {
    if !Tmpfs::permitted() {
        skip("the full disk", "only root can mount a small tmpfs");
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let disk = match Tmpfs::mount(home.path(), DISK_BYTES) {
        Ok(disk) => disk,
        Err(error) => {
            skip("the full disk", &format!("{error:#}"));
            return Ok(());
        }
    };
    fs::write(disk.path().join("ballast"), vec![1; BALLAST_BYTES])?;
    let data_dir = disk.path().join("data");
    fs::create_dir(&data_dir)?;
    let options = with_small_segments(ServerOptions::new()).data_dir(&data_dir);
    let mut server = options.start()?;
    let result = run(&mut server, disk.path());
    result.with_context(|| format!("the server's log:\n{}", server.log_text()))
}
