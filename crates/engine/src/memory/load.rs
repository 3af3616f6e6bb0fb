//! From a file or a stream to a content: everything is verified before any of it is believed.

use std::sync::Arc;

use bytes::Bytes;
use ringfort_env::{Disk, DiskErrorKind, FileName};
use ringfort_types::GroupId;

use super::content::{Content, ContentBuilder};
use super::files;
use super::hash::KeyHasher;
use crate::store::{EngineError, Generation, StreamError};
use crate::stream::{
    Decoder, FILE_HEAD_BYTES, FORMAT_VERSION, Fault, Sink, StreamHead, check_file_head,
};

/// Files are read in parts of this size.
const READ_BYTES: usize = 256 << 10;

/// Records that a head may promise before room for them is made ahead: what is promised beyond grows as it comes.
const RESERVE_RECORDS_MAX: u64 = 4 << 20;

/// Builds a content out of the records of a stream.
struct Loader {
    group: GroupId,
    builder: ContentBuilder,
}

impl Loader {
    fn new(group: GroupId, hasher: Arc<KeyHasher>) -> Self {
        let builder = ContentBuilder::new(group, hasher);
        Self { group, builder }
    }
}

impl Sink for Loader {
    fn head(&mut self, head: &StreamHead) -> Result<(), String> {
        if head.group != self.group {
            return Err(format!("it holds group {}, not {}", head.group, self.group));
        }
        let records = head.size.keys.min(RESERVE_RECORDS_MAX);
        self.builder.reserve(usize::try_from(records).unwrap_or(0));
        Ok(())
    }

    fn record(&mut self, key_len: usize, joined: &[u8]) {
        self.builder.push(key_len, joined);
    }
}

/// The content of a whole stream.
pub(super) fn from_stream(
    group: GroupId,
    hasher: Arc<KeyHasher>,
    stream: &mut dyn Iterator<Item = Bytes>,
) -> Result<Content, StreamError> {
    let mut loader = Loader::new(group, hasher);
    let mut decoder = Decoder::new();
    let decode = || {
        for part in stream {
            decoder.push(&part, &mut loader)?;
        }
        decoder.finish()
    };
    match decode() {
        Ok(head) => Ok(loader.builder.finish(head.applied)),
        Err(Fault::Damaged { offset, reason }) => Err(StreamError { offset, reason }),
        Err(Fault::Newer { found }) => Err(StreamError {
            offset: 0,
            reason: format!(
                "it has format version {found}, this executable reads up to {FORMAT_VERSION}"
            ),
        }),
    }
}

/// The content of a generation's file.
pub(super) fn from_file(
    disk: &mut dyn Disk,
    group: GroupId,
    generation: Generation,
    hasher: Arc<KeyHasher>,
) -> Result<Content, EngineError> {
    let file = files::whole(group, generation);
    let mut loader = Loader::new(group, hasher);
    let head = read(disk, &file, 0, FILE_HEAD_BYTES)?;
    check_file_head(&head, group, generation).map_err(|fault| error_of(&file, 0, fault))?;
    let head = read_stream(disk, &file, &mut loader)?;
    Ok(loader.builder.finish(head.applied))
}

/// At most `len` bytes at `offset`. A file that cannot be read is as lost as a damaged one: it closes its store, and the
/// others are opened.
fn read(
    disk: &mut dyn Disk,
    file: &FileName,
    offset: u64,
    len: usize,
) -> Result<Bytes, EngineError> {
    disk.read(file, offset, len).map_err(|error| {
        let reason = match error.kind {
            DiskErrorKind::NotFound => {
                "the log names this generation, and its file is missing".to_owned()
            }
            _ => format!("it cannot be read: {}", error.message),
        };
        EngineError::Damaged { file: file.clone(), offset, reason }
    })
}

fn read_stream(
    disk: &mut dyn Disk,
    file: &FileName,
    loader: &mut Loader,
) -> Result<StreamHead, EngineError> {
    let start = FILE_HEAD_BYTES as u64;
    let mut decoder = Decoder::new();
    let mut offset = start;
    loop {
        let bytes = read(disk, file, offset, READ_BYTES)?;
        if bytes.is_empty() {
            return decoder.finish().map_err(|fault| error_of(file, start, fault));
        }
        let pushed = decoder.push(&bytes, loader);
        pushed.map_err(|fault| error_of(file, start, fault))?;
        offset += bytes.len() as u64;
    }
}

/// A fault found in the part of a file that begins at `start`.
fn error_of(file: &FileName, start: u64, fault: Fault) -> EngineError {
    let file = file.clone();
    match fault {
        Fault::Damaged { offset, reason } => {
            EngineError::Damaged { file, offset: start + offset, reason }
        }
        Fault::Newer { found } => EngineError::NewerFormat { file, found, known: FORMAT_VERSION },
    }
}
