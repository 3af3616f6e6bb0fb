//! What is replicated, and its bytes. One entry carries all commands that a shard's leader gathered in one turn.
//!
//! ```text
//! payload    format(1) = 1   level(1)   stamp(8)   command…
//! command    01 operations   flags(1)  identity  count(v)  operation…
//!            02 open session
//!            03 expire       count(v)  { data key(v,…)  version(8) }…
//! flags      bit 0: atomic
//! identity   00 none
//!            01 key          principal(v,…)  idempotency key(v,…)  position(2)
//!            02 session      session(8)  sequence(8)  lowest open(8)
//! operation  kind(1)  condition  data key(v,…)  [put: ttl in ms(v), 0: none;  value(v,…)]
//! kind       01 get   02 put   03 delete
//! condition  00 always   01 exists   02 absent   03 version in   04 version not in, each: count(v) version(8)…
//! ```
//!
//! (n): n bytes, little endian; (v): a number in LEB128, at most 10 bytes; (v,…): that many bytes follow. The data key is
//! the key under which the engine stores the value (see `docs/formats/command.md`), so that applying copies nothing.
//!
//! `level` is the cluster's active feature level as the leader knew it; a replica that does not know it stops rather than
//! diverges.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ringfort_types::request::{Condition, Identity, Operation};
use ringfort_types::{FeatureLevel, NamespaceId, SessionId, ShardTime, Version};

use crate::layout::{DATA_PREFIX_BYTES, put_data_key};

/// Version of the payload format.
pub const FORMAT: u8 = 1;
/// Position of a command that is no part of a batch.
pub const POSITION_SINGLE: u16 = u16::MAX;

/// Payloads are built one behind the other in buffers of this size, which are used again once their payloads are gone.
const BUFFER_BYTES: usize = 2048;
/// Where less is left, another buffer is begun.
const SMALL_PAYLOAD_BYTES: usize = 384;

/// Bytes before the first command.
const HEADER_BYTES: usize = 10;

/// An identity as it is replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CommandIdentity {
    /// A retry happens again.
    #[default]
    None,
    /// A client's idempotency key in its scope.
    Key {
        /// Who.
        principal: Bytes,
        /// The key that the client chose.
        key: Bytes,
        /// Position in the batch, or [`POSITION_SINGLE`].
        position: u16,
    },
    /// A place in a session.
    Session {
        /// The session.
        session: SessionId,
        /// Number of the write.
        sequence: u64,
        /// All answers below have arrived.
        lowest_open: u64,
    },
}

impl CommandIdentity {
    /// The identity of a request.
    #[must_use]
    pub fn of(identity: &Identity, principal: &str, position: u16) -> Self {
        match identity {
            Identity::None => Self::None,
            Identity::IdempotencyKey(key) => Self::Key {
                principal: Bytes::copy_from_slice(principal.as_bytes()),
                key: key.clone(),
                position,
            },
            Identity::Session { session, sequence, lowest_open } => {
                Self::Session { session: *session, sequence: *sequence, lowest_open: *lowest_open }
            }
        }
    }
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads.
    Get,
    /// Sets the value.
    Put {
        /// Lifetime in milliseconds.
        ttl_ms: Option<u64>,
        /// The value.
        value: Bytes,
    },
    /// Removes.
    Delete,
}

/// One operation as it is replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOperation {
    /// Where the engine keeps the value.
    pub data_key: Bytes,
    /// What must stand.
    pub condition: Condition,
    /// What to do.
    pub action: Action,
}

/// Operations with one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operations {
    /// All or none.
    pub atomic: bool,
    /// What makes a retry happen once.
    pub identity: CommandIdentity,
    /// Hash of the operations, to tell a retry from another request.
    pub fingerprint: u128,
    /// The operations, at least one; exactly one unless atomic.
    pub operations: Vec<CommandOperation>,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A client's reads and writes.
    Operations(Operations),
    /// Opens a session, whose id is the entry's index.
    OpenSession,
    /// Removes keys that are due, each only while it has this version. Stamps the log even with none.
    Expire(Vec<(Bytes, Version)>),
}

/// Builds payloads, one after the other.
#[derive(Debug, Default)]
pub struct PayloadBuilder {
    /// Empty before the first command.
    buffer: BytesMut,
    commands: usize,
}

impl PayloadBuilder {
    /// An empty payload.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Commands so far.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.commands
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there is no command yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands == 0
    }

    /// Adds operations with one identity.
    pub fn operations(
        &mut self,
        namespace: NamespaceId,
        identity: &CommandIdentity,
        atomic: bool,
        operations: &[Operation],
    ) {
        let out = self.begin_command();
        out.put_u8(1);
        out.put_u8(u8::from(atomic));
        put_identity(out, identity);
        put_varint(out, operations.len() as u64);
        for operation in operations {
            put_operation(out, namespace, operation);
        }
    }

    /// Adds the opening of a session.
    pub fn open_session(&mut self) {
        self.begin_command().put_u8(2);
    }

    /// Adds the expiry of keys.
    pub fn expire(&mut self, due: &[(Bytes, Version)]) {
        let out = self.begin_command();
        out.put_u8(3);
        put_varint(out, due.len() as u64);
        for (data_key, version) in due {
            put_bytes(out, data_key);
            out.put_u64_le(version.0);
        }
    }

    fn begin_command(&mut self) -> &mut BytesMut {
        if self.commands == 0 {
            if !self.buffer.try_reclaim(SMALL_PAYLOAD_BYTES) {
                self.buffer = BytesMut::with_capacity(BUFFER_BYTES);
            }
            self.buffer.put_bytes(0, HEADER_BYTES);
        }
        self.commands += 1;
        &mut self.buffer
    }

    /// The payload, stamped with time and level; at least one command is in it. The next one begins.
    #[must_use]
    pub fn finish(&mut self, stamp: ShardTime, level: FeatureLevel) -> Bytes {
        self.commands = 0;
        self.buffer[0] = FORMAT;
        self.buffer[1] = level.0;
        self.buffer[2..HEADER_BYTES].copy_from_slice(&stamp.0.to_le_bytes());
        self.buffer.split().freeze()
    }
}

fn put_identity(out: &mut BytesMut, identity: &CommandIdentity) {
    match identity {
        CommandIdentity::None => out.put_u8(0),
        CommandIdentity::Key { principal, key, position } => {
            out.put_u8(1);
            put_bytes(out, principal);
            put_bytes(out, key);
            out.put_u16_le(*position);
        }
        CommandIdentity::Session { session, sequence, lowest_open } => {
            out.put_u8(2);
            out.put_u64_le(session.0);
            out.put_u64_le(*sequence);
            out.put_u64_le(*lowest_open);
        }
    }
}

fn put_operation(out: &mut BytesMut, namespace: NamespaceId, operation: &Operation) {
    let (kind, condition) = match operation {
        Operation::Get { .. } => (1, &Condition::Always),
        Operation::Put { condition, .. } => (2, condition),
        Operation::Delete { condition, .. } => (3, condition),
    };
    out.put_u8(kind);
    put_condition(out, condition);
    let key = operation.key().as_bytes();
    put_varint(out, (DATA_PREFIX_BYTES + key.len()) as u64);
    put_data_key(out, namespace, key);
    if let Operation::Put { value, ttl, .. } = operation {
        let ttl_ms = ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
        put_varint(out, ttl_ms);
        put_bytes(out, value);
    }
}

fn put_condition(out: &mut BytesMut, condition: &Condition) {
    let (kind, versions) = match condition {
        Condition::Always => (0, None),
        Condition::Exists => (1, None),
        Condition::Absent => (2, None),
        Condition::VersionIn(versions) => (3, Some(versions)),
        Condition::VersionNotIn(versions) => (4, Some(versions)),
    };
    out.put_u8(kind);
    if let Some(versions) = versions {
        put_varint(out, versions.len() as u64);
        for version in versions {
            out.put_u64_le(version.0);
        }
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8((value & 0x7f) as u8);
}

/// A payload that this executable cannot read: the replica must stop, for another one may have applied it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The format or feature level is newer.
    #[error(
        "the entry has format {format} and feature level {level}; this executable reads format {FORMAT} and levels up to {known}"
    )]
    Newer {
        /// Its format.
        format: u8,
        /// Its feature level.
        level: FeatureLevel,
        /// The newest level that is known here.
        known: FeatureLevel,
    },
    /// The bytes are no payload.
    #[error("the entry is malformed at byte {0}")]
    Malformed(usize),
}

/// Reads the stamp of a payload and the commands behind it.
#[derive(Debug)]
pub struct PayloadReader {
    /// The shard time at which the leader proposed it.
    pub stamp: ShardTime,
    rest: Bytes,
    total: usize,
}

impl PayloadReader {
    /// Begins to read a payload, of levels up to the one that is known.
    ///
    /// # Errors
    /// The header is malformed or newer.
    pub fn new(mut payload: Bytes, known: FeatureLevel) -> Result<Self, DecodeError> {
        let total = payload.len();
        if total < HEADER_BYTES {
            return Err(DecodeError::Malformed(total));
        }
        let (format, level) = (payload.get_u8(), FeatureLevel(payload.get_u8()));
        if format != FORMAT || level > known {
            return Err(DecodeError::Newer { format, level, known });
        }
        let stamp = ShardTime(payload.get_u64_le());
        Ok(Self { stamp, rest: payload, total })
    }

    /// The next command; `None` at the end.
    ///
    /// # Errors
    /// The bytes are no command.
    pub fn command(&mut self) -> Result<Option<Command>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let command = read_command(&mut self.rest);
        command.map(Some).ok_or(DecodeError::Malformed(self.total - self.rest.len()))
    }
}

fn read_command(rest: &mut Bytes) -> Option<Command> {
    match rest.try_get_u8().ok()? {
        1 => read_operations(rest).map(Command::Operations),
        2 => Some(Command::OpenSession),
        3 => {
            let count = read_count(rest, 9)?;
            let due = (0..count)
                .map(|_| Some((read_data_key(rest)?, Version(rest.try_get_u64_le().ok()?))));
            due.collect::<Option<Vec<_>>>().map(Command::Expire)
        }
        _ => None,
    }
}

fn read_operations(rest: &mut Bytes) -> Option<Operations> {
    let flags = rest.try_get_u8().ok()?;
    let identity = read_identity(rest)?;
    let encoded = rest.clone();
    let count = read_count(rest, 4)?;
    let operations = (0..count).map(|_| read_operation(rest)).collect::<Option<Vec<_>>>()?;
    let atomic = flags == 1;
    if flags > 1 || operations.is_empty() || (operations.len() > 1 && !atomic) {
        return None;
    }
    let fingerprint = match identity {
        CommandIdentity::None => 0,
        // The seed tells an atomic batch of one from a single operation.
        _ => xxhash_rust::xxh3::xxh3_128_with_seed(
            &encoded[..encoded.len() - rest.len()],
            u64::from(flags),
        ),
    };
    Some(Operations { atomic, identity, fingerprint, operations })
}

fn read_identity(rest: &mut Bytes) -> Option<CommandIdentity> {
    match rest.try_get_u8().ok()? {
        0 => Some(CommandIdentity::None),
        1 => {
            let (principal, key) = (read_bytes(rest)?, read_bytes(rest)?);
            let fits =
                principal.len() <= usize::from(u16::MAX) && key.len() <= usize::from(u8::MAX);
            let position = rest.try_get_u16_le().ok()?;
            fits.then_some(CommandIdentity::Key { principal, key, position })
        }
        2 => Some(CommandIdentity::Session {
            session: SessionId(rest.try_get_u64_le().ok()?),
            sequence: rest.try_get_u64_le().ok()?,
            lowest_open: rest.try_get_u64_le().ok()?,
        }),
        _ => None,
    }
}

fn read_operation(rest: &mut Bytes) -> Option<CommandOperation> {
    let kind = rest.try_get_u8().ok()?;
    let condition = read_condition(rest)?;
    let data_key = read_data_key(rest)?;
    let action = match kind {
        1 => Action::Get,
        2 => {
            let ttl_ms = read_varint(rest)?;
            Action::Put { ttl_ms: (ttl_ms > 0).then_some(ttl_ms), value: read_bytes(rest)? }
        }
        3 => Action::Delete,
        _ => return None,
    };
    Some(CommandOperation { data_key, condition, action })
}

fn read_condition(rest: &mut Bytes) -> Option<Condition> {
    Some(match rest.try_get_u8().ok()? {
        0 => Condition::Always,
        1 => Condition::Exists,
        2 => Condition::Absent,
        3 => Condition::VersionIn(read_versions(rest)?),
        4 => Condition::VersionNotIn(read_versions(rest)?),
        _ => return None,
    })
}

fn read_versions(rest: &mut Bytes) -> Option<Box<[Version]>> {
    let count = read_count(rest, 8)?;
    (0..count).map(|_| rest.try_get_u64_le().ok().map(Version)).collect()
}

fn read_data_key(rest: &mut Bytes) -> Option<Bytes> {
    read_bytes(rest).filter(|key| key.len() > DATA_PREFIX_BYTES && key[0] == crate::layout::DATA)
}

/// A count of things that take at least `bytes_min` each: bounded by what is left, so that it may be allocated for.
fn read_count(rest: &mut Bytes, bytes_min: usize) -> Option<usize> {
    let count = usize::try_from(read_varint(rest)?).ok()?;
    (count <= rest.len() / bytes_min).then_some(count)
}

fn read_bytes(rest: &mut Bytes) -> Option<Bytes> {
    let len = usize::try_from(read_varint(rest)?).ok()?;
    (len <= rest.len()).then(|| rest.split_to(len))
}

fn read_varint(rest: &mut Bytes) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = rest.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
