//! What is left of a place that is damaged.

use bytes::Bytes;

use super::{
    BATCH_HEADER_BYTES, RECORD_HEADER_BYTES, Record, RecordRead, Sealer, may_begin_record,
    read_record,
};

/// Every record in `bytes`, which begin at `offset` with a batch header or what was one, whose own checksum holds. Checksums
/// cover the place, so that a try at every byte finds the records written there and nothing else.
pub(crate) fn intact_records(bytes: &Bytes, sealer: Sealer, offset: u64) -> Vec<Record> {
    let mut records = Vec::new();
    let mut at = BATCH_HEADER_BYTES;
    while at + RECORD_HEADER_BYTES <= bytes.len() {
        if !may_begin_record(&bytes[at..]) {
            at += 1;
            continue;
        }
        match read_record(bytes, at, sealer, offset + at as u64) {
            RecordRead::Valid(record) => {
                at += record.length;
                records.push(record);
            }
            RecordRead::Newer(_) | RecordRead::Invalid => at += 1,
        }
    }
    records
}
