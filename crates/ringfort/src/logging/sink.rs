//! Where lines end: standard error, a file, or the journal.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::Level;

use super::choice::Output;
use super::queue::Line;

/// Lines are joined into writes of about this many bytes.
const WRITE_BYTES: usize = 64 << 10;
/// Where systemd's journal takes datagrams in its native protocol.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// An open output.
pub(super) enum Sink {
    Stderr,
    File {
        path: PathBuf,
        file: File,
    },
    Journal(Journal),
    #[cfg(test)]
    Gated(std::sync::Arc<tests::Gate>),
}

impl Sink {
    /// Opens an output.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub(super) fn open(output: &Output) -> io::Result<Self> {
        Ok(match output {
            Output::Stderr => Self::Stderr,
            Output::Journald => Self::Journal(Journal::connect(Path::new(JOURNAL))?),
            Output::File(path) => {
                Self::File { file: named(path, open_file(path))?, path: path.clone() }
            }
        })
    }

    /// Opens a file anew under its name, after it was moved away.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { path, file } = self {
            *file = named(path, open_file(path))?;
        }
        Ok(())
    }

    /// Writes lines; says how many failed.
    pub(super) fn write(&mut self, lines: &VecDeque<Line>) -> u64 {
        if let Self::Journal(journal) = self {
            let failed = |line| u64::from(journal.send(line).is_err());
            return lines.iter().map(failed).sum();
        }
        let mut failed = 0;
        let mut waiting = 0;
        let mut buffer = Vec::new();
        for line in lines {
            buffer.extend_from_slice(&line.text);
            waiting += 1;
            if buffer.len() >= WRITE_BYTES {
                failed += if self.write_bytes(&buffer).is_err() { waiting } else { 0 };
                buffer.clear();
                waiting = 0;
            }
        }
        if waiting > 0 && self.write_bytes(&buffer).is_err() {
            failed += waiting;
        }
        failed
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().write_all(bytes),
            Self::File { file, .. } => file.write_all(bytes),
            Self::Journal(_) => Ok(()),
            #[cfg(test)]
            Self::Gated(gate) => gate.pass(bytes),
        }
    }
}

fn named<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// A connection to the journal that never waits: what it does not take at once is lost.
pub(super) struct Journal {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Journal {
    fn connect(path: &Path) -> io::Result<Self> {
        let socket = named(path, connect_datagram(path))?;
        Ok(Self { path: path.to_owned(), socket })
    }

    /// Sends one line; a journal that was restarted is connected to once more.
    fn send(&mut self, line: &Line) -> io::Result<()> {
        let datagram = journal_entry(line);
        let Err(error) = self.socket.send(&datagram) else {
            return Ok(());
        };
        let gone = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotConnected];
        if !gone.contains(&error.kind()) {
            return Err(error);
        }
        self.socket = connect_datagram(&self.path)?;
        self.socket.send(&datagram).map(drop)
    }
}

fn connect_datagram(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

/// An entry in the journal's native protocol: `NAME=value` lines; the message, which may hold newlines, with its length
/// as 8 bytes, little endian.
fn journal_entry(line: &Line) -> Vec<u8> {
    let priority = match line.level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    };
    let text = line.text.strip_suffix(b"\n").unwrap_or(&line.text);
    let mut entry =
        format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER=ringfort\nMESSAGE\n").into_bytes();
    entry.extend_from_slice(&(text.len() as u64).to_le_bytes());
    entry.extend_from_slice(text);
    entry.push(b'\n');
    entry
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Condvar, Mutex};

    use super::*;

    /// A sink that is stuck until it is opened, and fails where it is told to.
    #[derive(Default)]
    pub(in crate::logging) struct Gate {
        state: Mutex<GateState>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct GateState {
        open: bool,
        fail: bool,
        written: Vec<u8>,
    }

    pub(in crate::logging) fn gated() -> (Sink, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        (Sink::Gated(Arc::clone(&gate)), gate)
    }

    impl Gate {
        pub(in crate::logging) fn open(gate: &Self) {
            gate.state.lock().unwrap().open = true;
            gate.changed.notify_all();
        }

        pub(in crate::logging) fn fail(gate: &Self, fail: bool) {
            gate.state.lock().unwrap().fail = fail;
        }

        pub(in crate::logging) fn written(gate: &Self) -> Vec<u8> {
            gate.state.lock().unwrap().written.clone()
        }

        pub(super) fn pass(&self, bytes: &[u8]) -> io::Result<()> {
            let state = self.state.lock().unwrap();
            let mut state = self.changed.wait_while(state, |state| !state.open).unwrap();
            if state.fail {
                return Err(io::Error::other("told to"));
            }
            state.written.extend_from_slice(bytes);
            Ok(())
        }
    }

    #[test]
    fn a_file_is_appended_to_and_opened_anew_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.log");
        std::fs::write(&path, "before\n").unwrap();
        let lines = |text: &str| {
            VecDeque::from([Line { level: Level::INFO, text: text.as_bytes().to_vec() }])
        };
        let mut sink = Sink::open(&Output::File(path.clone())).unwrap();
        assert_eq!(sink.write(&lines("one\n")), 0);
        let moved = dir.path().join("node.log.1");
        std::fs::rename(&path, &moved).unwrap();
        sink.reopen().unwrap();
        assert_eq!(sink.write(&lines("two\n")), 0);
        assert_eq!(std::fs::read_to_string(moved).unwrap(), "before\none\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "two\n");
    }

    #[test]
    fn a_full_disk_costs_lines() {
        let mut sink = Sink::open(&Output::File("/dev/full".into())).unwrap();
        let line = || Line { level: Level::WARN, text: b"x\n".to_vec() };
        assert_eq!(sink.write(&VecDeque::from([line(), line()])), 2);
    }

    #[test]
    fn a_journal_entry_may_hold_newlines() {
        let line = Line { level: Level::ERROR, text: b"a\nb\n".to_vec() };
        let expected = b"PRIORITY=3\nSYSLOG_IDENTIFIER=ringfort\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n";
        assert_eq!(journal_entry(&line), expected);
    }

    #[test]
    fn a_journal_is_never_waited_for_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut sink = Sink::Journal(Journal::connect(&path).unwrap());
        let lines = |count: usize| {
            let line = |_| Line { level: Level::INFO, text: b"x\n".to_vec() };
            (0..count).map(line).collect::<VecDeque<_>>()
        };
        assert_eq!(sink.write(&lines(1)), 0);
        let mut buffer = [0; 256];
        let length = journal.recv(&mut buffer).unwrap();
        assert!(buffer[..length].ends_with(b"\nMESSAGE\n\x01\0\0\0\0\0\0\0x\n"));
        assert!(sink.write(&lines(10_000)) > 0, "nobody reads them");
        drop(journal);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(sink.write(&lines(1)), 1);
        let _journal = UnixDatagram::bind(&path).unwrap();
        assert_eq!(sink.write(&lines(1)), 0);
    }
}
