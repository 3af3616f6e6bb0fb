//! Limits of the outside contract. Bytes unless said otherwise.

/// Longest key.
pub const KEY_BYTES_MAX: usize = 4096;
/// Default of `limits.max_value_bytes`.
pub const VALUE_BYTES_MAX_DEFAULT: usize = 8 << 20;
/// Default of `limits.max_request_bytes`: the largest body of a batch.
pub const REQUEST_BYTES_MAX_DEFAULT: usize = 16 << 20;
/// Operations in one batch.
pub const BATCH_OPERATIONS_MAX: usize = 1000;
/// Items on one page of a listing.
pub const LIST_LIMIT_MAX: usize = 10_000;
/// Items on one page of a listing that names no limit.
pub const LIST_LIMIT_DEFAULT: usize = 100;
/// A page of a listing ends at this size, with at least one item.
pub const LIST_PAGE_BYTES_MAX: usize = 4 << 20;
/// Default bound of a request, in milliseconds.
pub const TIMEOUT_MS_DEFAULT: u64 = 5000;
/// Largest bound of a request, in milliseconds.
pub const TIMEOUT_MS_MAX: u64 = 60_000;
/// Longest `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 64;
/// How long a keyed write, or a session after its last use, is remembered, in milliseconds of shard time.
pub const RETRY_MEMORY_MS: u64 = 600_000;
/// Sequence numbers that one session may have open at once.
pub const SESSION_OPEN_MAX: u64 = 1024;
/// Default of `limits.idempotency_bytes`: memory of one shard for remembered answers.
pub const IDEMPOTENCY_BYTES_DEFAULT: usize = 16 << 20;
/// Shards of a cluster unless `cluster.shards` says otherwise.
pub const SHARDS_DEFAULT: u32 = 64;
/// The most shards a cluster may have.
pub const SHARDS_MAX: u32 = 4096;
/// Largest version: 2^53 - 1, so that every JSON reader keeps it exact.
pub const VERSION_MAX: u64 = (1 << 53) - 1;
/// Longest time to live, in milliseconds: 10,000 days.
pub const TTL_MS_MAX: u64 = 10_000 * 86_400_000;
