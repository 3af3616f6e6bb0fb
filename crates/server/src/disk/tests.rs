//! What the disk keeps open, and what it needs no descriptor for.

use std::fs;

use super::handles::SYNCED_MAX;
use super::*;

/// A data directory, and the disk over it.
struct Home {
    directory: tempfile::TempDir,
    disk: FileDisk,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::new(directory.path()).unwrap();
        Self { directory, disk }
    }

    fn run(&mut self, operation: &DiskOperation) {
        let answer = self.disk.execute(operation).unwrap();
        assert_eq!(answer, DiskAnswer::Done);
    }

    fn write(&mut self, file: &FileName, offset: u64, bytes: &'static [u8]) {
        let bytes = Bytes::from_static(bytes);
        self.run(&DiskOperation::WriteAt { file: file.clone(), offset, bytes });
    }

    fn make(&mut self, file: &FileName) {
        self.run(&DiskOperation::Create(file.clone()));
        self.write(file, 0, b"content");
    }

    fn sync(&mut self, file: &FileName) {
        self.run(&DiskOperation::SyncData(file.clone()));
    }

    fn rename(&mut self, from: &FileName, to: &FileName) {
        self.run(&DiskOperation::Rename { from: from.clone(), to: to.clone() });
    }

    fn flush(&mut self, number: u32) -> FileName {
        let unfinished = FileName::new(&format!("snap-{number}.tmp"));
        let whole = FileName::new(&format!("snap-{number}.snap"));
        self.make(&unfinished);
        self.sync(&unfinished);
        self.rename(&unfinished, &whole);
        whole
    }

    /// Files of the directory that this process has open.
    fn open_files(&self) -> usize {
        let directory = fs::canonicalize(self.directory.path()).unwrap();
        let descriptors = fs::read_dir("/proc/self/fd").unwrap();
        // A descriptor of another test may be gone by now.
        let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        targets.filter(|target| *target != directory && target.starts_with(&directory)).count()
    }
}

fn segment(number: usize) -> FileName {
    FileName::new(&format!("log-{number:016x}.seg"))
}

#[test]
fn snapshots_stay_open_neither_after_their_flush_nor_after_reads() {
    let mut home = Home::new();
    let mut disk = home.disk.clone();
    for number in 0..100 {
        let file = home.flush(number);
        assert_eq!(disk.read(&file, 3, 100).unwrap(), "tent");
        assert_eq!(home.open_files(), 0);
    }
    let mut second = FileDisk::new(home.directory.path()).unwrap();
    for (file, len) in home.disk.list().unwrap() {
        assert_eq!((second.read(&file, 0, 100).unwrap().len() as u64, len), (7, 7));
    }
    assert_eq!(home.open_files(), 0);
    let unfinished = FileName::new("snap-given-up.tmp");
    home.make(&unfinished);
    assert_eq!(home.open_files(), 1);
    home.run(&DiskOperation::Delete(unfinished));
    assert_eq!(home.open_files(), 0);
}

#[test]
fn of_many_segments_the_newest_stay_open_and_all_that_are_unsynced() {
    let mut home = Home::new();
    let segments: Vec<_> = (1..=3 * SYNCED_MAX).map(segment).collect();
    for file in &segments {
        home.make(file);
    }
    assert_eq!(home.open_files(), segments.len(), "nothing is synced");
    for file in &segments {
        home.sync(file);
    }
    assert_eq!(home.open_files(), SYNCED_MAX);
    // The oldest, closed meanwhile, is written as before, and stays until it is synced.
    home.write(&segments[0], 7, b", more");
    for file in &segments[1..] {
        home.write(file, 7, b", other");
        home.sync(file);
    }
    assert_eq!(home.open_files(), SYNCED_MAX + 1);
    assert_eq!(home.disk.read(&segments[0], 0, 100).unwrap(), "content, more");
    home.sync(&segments[0]);
    assert_eq!(home.open_files(), SYNCED_MAX);
}

#[test]
fn a_recycled_segment_is_open_before_it_is_written() {
    let mut home = Home::new();
    // Left by an earlier start, and so not open.
    fs::write(home.directory.path().join(segment(1).as_str()), "earlier life").unwrap();
    home.rename(&segment(1), &segment(2));
    assert_eq!(home.open_files(), 1);
    home.write(&segment(2), 0, b"present");
    home.rename(&segment(2), &segment(3));
    assert_eq!(home.open_files(), 1);
    home.write(&segment(3), 7, b"_");
    assert_eq!(home.disk.read(&segment(3), 0, 100).unwrap(), "present_life");
    let lost = home.disk.execute(&DiskOperation::SyncData(segment(2)));
    assert_eq!(lost.unwrap_err().kind, DiskErrorKind::NotFound);
}

#[test]
fn a_name_given_to_another_file_leads_to_that_one() {
    let mut home = Home::new();
    let (old, new) = (segment(1), segment(2));
    home.make(&old);
    home.make(&new);
    home.write(&new, 0, b"renewed");
    home.rename(&new, &old);
    assert_eq!(home.disk.read(&old, 0, 100).unwrap(), "renewed");
    home.run(&DiskOperation::Delete(old.clone()));
    home.make(&old);
    assert_eq!(home.disk.read(&old, 0, 100).unwrap(), "content");
}

#[test]
fn the_directory_and_open_files_are_synced_through_the_descriptors_that_are_there() {
    let mut home = Home::new();
    let elsewhere = tempfile::tempdir().unwrap();
    home.make(&segment(1));
    // Nothing can be opened by its path any more.
    fs::rename(home.directory.path(), elsewhere.path().join("moved")).unwrap();
    home.write(&segment(1), 7, b"!");
    home.sync(&segment(1));
    home.run(&DiskOperation::SyncDirectory);
    let created = home.disk.execute(&DiskOperation::Create(segment(2)));
    assert_eq!(created.unwrap_err().kind, DiskErrorKind::NotFound);
}
