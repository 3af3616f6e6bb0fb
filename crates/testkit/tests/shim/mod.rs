//! The preload shim on a program that does what it is told: what a kill takes, what it leaves, and what the program sees
//! meanwhile.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use ringfort_testkit::{Shim, ShimOptions, ShimStats, wait_until};
use tempfile::TempDir;

struct Probe {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    shim: Shim,
    dir: PathBuf,
    _home: TempDir,
}

impl Probe {
    fn start(options: &ShimOptions) -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("data");
        fs::create_dir(&dir).unwrap();
        let shim = Shim::new(&dir, home.path()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_shim_probe"));
        command.current_dir(&dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        shim.apply(&mut command, options).unwrap();
        let mut child = command.spawn().unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            shim,
            dir,
            _home: home,
        }
    }

    fn tell(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim_end_matches('\n').to_owned()
    }

    /// Every command, and the answer it must get.
    #[track_caller]
    fn script(&mut self, text: &str) {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (command, expected) = line.split_once(" => ").unwrap_or((line, "ok"));
            assert_eq!(self.tell(command), expected, "{command}");
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What really is in the file, seen without the shim.
    fn left(&self, name: &str) -> String {
        fs::read(self.dir.join(name)).unwrap().escape_ascii().to_string()
    }

    /// The files that are there.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn stats(&self) -> ShimStats {
        self.shim.stats().unwrap()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // Ended already where the test killed it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plain() -> Probe {
    Probe::start(&ShimOptions::default())
}

#[test]
fn a_kill_takes_what_no_sync_has_covered() {
    let mut probe = plain();
    probe.script(
        "write f 0 kept
         sync f
         write f 4 gone
         read f 0 100 => keptgone",
    );
    assert_eq!(probe.left("f"), r"kept\x00\x00\x00\x00");
    assert_eq!(probe.stats().held_bytes, 4096);
    probe.kill();
    assert_eq!(probe.left("f"), r"kept\x00\x00\x00\x00");
    let stats = probe.stats();
    assert_eq!((stats.writes, stats.written_bytes, stats.syncs), (2, 8, 1));
    assert_eq!((stats.flushed_bytes, stats.held_bytes), (4, 4096));
}

#[test]
fn a_sync_covers_the_whole_file_whoever_asks_for_it() {
    let mut probe = plain();
    probe.script(
        "write f 0 one
         clone f g
         write g 3 two
         close f
         append f three
         sync g",
    );
    probe.kill();
    assert_eq!(probe.left("f"), "onetwothree");
}

#[test]
fn what_is_held_outlives_the_last_descriptor_but_not_the_process() {
    let mut probe = plain();
    probe.script(
        "write f 0 held
         close f
         read f 0 9 => held
         close f",
    );
    assert_eq!(probe.left("f"), r"\x00\x00\x00\x00");
    probe.script("sync f");
    assert_eq!(probe.left("f"), "held");
}

#[test]
fn writes_over_many_pages_keep_what_they_do_not_touch() {
    let mut probe = plain();
    let middle = "m".repeat(10_000);
    probe.script(
        &format!(
            "fill f 20000
         sync f
         write f 5000 {middle}
         write f 5000 A
         write f 14999 Z
         read f 4998 4 => \\x00\\x00Am
         read f 14998 4 => mZ\\x00\\x00
         read f 19998 9 => \\x00\\x00
         read f 20000 9 =>"
        )
        .replace("read f 20000 9 =>", ""),
    );
    assert!(!probe.left("f").contains('m'));
    probe.script("sync f");
    probe.kill();
    let left = fs::read(probe.dir.join("f")).unwrap();
    assert_eq!(left.len(), 20_000);
    assert_eq!(&left[5_000..15_000], format!("A{}Z", "m".repeat(9_998)).as_bytes());
    assert!(left[..5_000].iter().chain(&left[15_000..]).all(|byte| *byte == 0));
}

#[test]
fn a_prewritten_segment_is_held_and_synced_whole() {
    let mut probe = plain();
    let len = 64 << 20;
    probe.script(&format!("fill f {len}\n write f 100 x\n read f 99 3 => \\x00x\\x00"));
    assert_eq!(probe.stats().held_bytes, len);
    probe.script(&format!("sync f\n size f => {len}"));
    assert_eq!(probe.stats().held_bytes, 0);
    assert_eq!(probe.stats().flushed_bytes, len);
}

#[test]
fn the_files_own_position_moves() {
    let mut probe = plain();
    probe.script("cursor f hello => 5 hello");
    assert_eq!(probe.left("f"), r"\x00\x00\x00\x00\x00");
    probe.script("sync f");
    assert_eq!(probe.left("f"), "hello");
}

#[test]
fn a_cut_file_loses_its_tail_and_grows_zeros() {
    let mut probe = plain();
    probe.script(
        "write f 0 abcdef
         len f 2
         len f 5
         read f 0 9 => ab\\x00\\x00\\x00
         sync f",
    );
    assert_eq!(probe.left("f"), r"ab\x00\x00\x00");
}

#[test]
fn names_move_with_their_pages_and_a_new_file_inherits_none() {
    let mut probe = plain();
    probe.script(
        "write f 0 old
         close f
         rename f g
         read g 0 9 => old
         write h 0 new
         rename h g
         close g
         close h
         read g 0 9 => new
         remove g
         close g
         write i 0 i
         read i 0 9 => i
         syncdir",
    );
    assert_eq!(probe.stats().directory_syncs, 1);
    assert_eq!(probe.stats().held_bytes, 4096);
}

#[test]
fn a_copy_reads_what_is_held() {
    let mut probe = plain();
    probe.script(
        "write f 0 held
         copy f g
         read g 0 9 => held",
    );
    assert_eq!(probe.left("g"), r"\x00\x00\x00\x00");
}

#[test]
fn a_failed_sync_loses_its_pages_and_a_later_one_does_not_bring_them_back() {
    let mut probe = Probe::start(&ShimOptions { fail_sync: 2, ..ShimOptions::default() });
    probe.script(
        "write f 0 first
         sync f
         write f 0 lost!
         sync f => error: Input/output error (os error 5)
         read f 0 9 => lost!
         sync f
         write g 0 other
         sync g",
    );
    assert_eq!(probe.left("f"), "first");
    assert_eq!(probe.left("g"), "other");
    let stats = probe.stats();
    assert_eq!((stats.failures_injected, stats.syncs_after_failure), (1, 2));
}

#[test]
fn a_write_can_fail() {
    let mut probe = Probe::start(&ShimOptions { fail_write: 2, ..ShimOptions::default() });
    probe.script(
        "write f 0 a
         write f 0 b => error: Input/output error (os error 5)
         read f 0 9 => a",
    );
}

#[test]
fn sectors_may_leak_before_their_sync() {
    let mut probe =
        Probe::start(&ShimOptions { leak_percent: 50, seed: 7, ..ShimOptions::default() });
    let text = "x".repeat(64 * 512);
    probe.script(&format!("fill f {}\n sync f\n write f 0 {text}", text.len()));
    probe.kill();
    let left = fs::read(probe.dir.join("f")).unwrap();
    let torn = left.chunks(512).filter(|sector| sector.iter().all(|byte| *byte == b'x'));
    let torn = torn.count();
    assert!((10..55).contains(&torn), "{torn} of 64 sectors leaked");
    assert!(left.iter().all(|byte| matches!(byte, 0 | b'x')));
}

#[test]
fn files_elsewhere_and_processes_without_settings_are_left_alone() {
    let mut probe = plain();
    let elsewhere = probe.dir.with_file_name("elsewhere");
    probe.script(&format!("write {} 0 at-once", elsewhere.display()));
    assert_eq!(fs::read(elsewhere).unwrap(), b"at-once");
    assert_eq!(probe.stats().writes, 0);
    assert!(probe.stats().require_work(true).is_err());
}

#[test]
fn names_that_no_sync_covers_are_lost() {
    let mut probe = plain();
    probe.script(
        "write a 0 a
         sync a
         write b 0 b
         sync b
         write old 0 old
         sync old
         syncdir
         write new 0 new
         sync new
         rename new old
         remove b
         rename a c
         write d 0 d",
    );
    probe.kill();
    assert_eq!(probe.names(), ["c", "d", "old"]);
    assert_eq!(probe.shim.lose_names(|_| 0).unwrap(), 5);
    assert_eq!(probe.names(), ["a", "b", "old"]);
    assert_eq!(probe.left("old"), "old");
    assert_eq!([probe.left("a"), probe.left("b")], ["a", "b"]);
    assert_eq!(probe.shim.lose_names(|_| 0).unwrap(), 0);
}

#[test]
fn the_first_few_names_may_be_kept() {
    let mut probe = plain();
    probe.script(
        "write a 0 a
         rename a b
         rename b c",
    );
    probe.kill();
    assert_eq!(probe.shim.lose_names(|all| all - 1).unwrap(), 1);
    assert_eq!(probe.names(), ["b"]);
}

#[test]
fn names_that_a_sync_covers_stay() {
    let mut probe = plain();
    probe.script(
        "write a 0 a
         write b 0 b
         rename a b
         remove b
         syncdir",
    );
    probe.kill();
    assert_eq!(probe.shim.lose_names(|_| 0).unwrap(), 0);
    assert!(probe.names().is_empty());
}

#[test]
fn a_sync_is_held_until_it_may_go() {
    let mut probe = Probe::start(&ShimOptions { hold_syncs: true, ..ShimOptions::default() });
    probe.script("write f 0 first");
    assert!(!probe.shim.let_syncs_go().unwrap(), "there is no sync yet");
    for _ in 0..2 {
        writeln!(probe.input, "sync f").unwrap();
        let syncs = probe.stats().syncs;
        let shim = &probe.shim;
        let gone = || Ok(shim.let_syncs_go()?.then_some(()));
        wait_until("the sync to wait", Duration::from_secs(30), gone).unwrap();
        let mut answer = String::new();
        probe.output.read_line(&mut answer).unwrap();
        assert_eq!((answer.as_str(), probe.stats().syncs), ("ok\n", syncs + 1));
    }
    writeln!(probe.input, "sync f").unwrap();
    probe.shim.release_syncs().unwrap();
    let mut answer = String::new();
    probe.output.read_line(&mut answer).unwrap();
    assert_eq!(answer, "ok\n");
    probe.script("sync f");
    assert_eq!(probe.stats().syncs, 4);
}
