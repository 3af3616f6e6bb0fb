//! The file `catalog.bin`: a node's copy of the catalog between two starts.
//!
//! A cache: whoever finds it missing, damaged, of another version or of another cluster begins with what follows from the
//! formation record, and gets the rest from others. Its layout is in `docs/formats/catalog.md`.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use ringfort_proto::cluster as pb;
use ringfort_types::{ClusterId, Epoch, FeatureLevel};

use super::catalog::{CatalogCopy, DeltaError, Record, RecordKey};
use super::settings::SettingsError;
use super::wire::{WireError, get_id, get_level, put_id};

/// The file's name.
pub const CATALOG_FILE: &str = "catalog.bin";
const MAGIC: &[u8; 8] = b"RFCATLG\n";
const FORMAT: u16 = 2;
const HEAD_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;

/// Why a file was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// Cut off, flipped, or no such file at all.
    #[error("{CATALOG_FILE} is damaged")]
    Damaged,
    /// Of another version.
    #[error("{CATALOG_FILE} has format {0}, this executable reads {FORMAT}")]
    Version(u16),
    /// Its content is none of ours, though the checksum holds.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Its records make no map.
    #[error(transparent)]
    Records(#[from] DeltaError),
}

/// Looks at the level before anything else: records of a newer one may be none that this executable can read.
fn check_level(body: &pb::CatalogFile) -> Result<(), CacheError> {
    let settings = RecordKey::Settings.to_string();
    let Some(record) = body.records.iter().find(|record| record.key == settings) else {
        return Ok(());
    };
    let settings = pb::Settings::decode(&*record.value).map_err(|_| CacheError::Damaged)?;
    let level = get_level(&settings);
    match level > FeatureLevel::NEWEST {
        true => Err(DeltaError::Settings(SettingsError::FeatureLevel(level)).into()),
        false => Ok(()),
    }
}

impl CatalogCopy {
    /// The bytes of the file.
    ///
    /// # Panics
    /// The copy has more than 4 GiB: thousands of times the largest.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let records: Vec<_> = self.records().map(|record| pb::Record::from(&record)).collect();
        let cluster_id = put_id(self.cluster_id().0);
        let body = pb::CatalogFile { cluster_id, epoch: self.epoch().0, records };
        let length = body.encoded_len();
        let mut out = BytesMut::with_capacity(HEAD_BYTES + length + CHECKSUM_BYTES);
        out.put_slice(MAGIC);
        out.put_u16_le(FORMAT);
        out.put_u16_le(0);
        out.put_u32_le(u32::try_from(length).expect("a catalog is a few megabytes"));
        body.encode(&mut out).expect("the buffer grows");
        let checksum = crc32c::crc32c(&out);
        out.put_u32_le(checksum);
        out.freeze()
    }

    /// The copy with these bytes.
    ///
    /// # Errors
    /// They are damaged, of a newer format, or hold no catalog.
    pub fn decode(bytes: &[u8]) -> Result<Self, CacheError> {
        let body_at = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(CacheError::Damaged)?;
        let (content, checksum) = bytes.split_at(body_at);
        if checksum != crc32c::crc32c(content).to_le_bytes() {
            return Err(CacheError::Damaged);
        }
        let (head, body) = content.split_at_checked(HEAD_BYTES).ok_or(CacheError::Damaged)?;
        if head[..8] != *MAGIC {
            return Err(CacheError::Damaged);
        }
        let format = u16::from_le_bytes([head[8], head[9]]);
        if format != FORMAT {
            return Err(CacheError::Version(format));
        }
        let length = u32::from_le_bytes([head[12], head[13], head[14], head[15]]);
        if usize::try_from(length) != Ok(body.len()) {
            return Err(CacheError::Damaged);
        }
        let body = pb::CatalogFile::decode(body).map_err(|_| CacheError::Damaged)?;
        let cluster_id = ClusterId(get_id(&body.cluster_id, "cluster_id")?);
        check_level(&body)?;
        let records = body.records.into_iter().map(Record::try_from).collect::<Result<_, _>>()?;
        Ok(Self::restored(cluster_id, Epoch(body.epoch), records)?)
    }
}
