//! What a lane talks to: one request, one whole answer, checked.

mod endpoint;
mod etcd;
mod http;
mod resp;
mod routed;
mod wire;

pub(crate) use endpoint::Endpoint;
pub(crate) use etcd::{EtcdClient, connect_channels};
pub(crate) use http::{HttpCodec, fetch};
pub(crate) use resp::RespCodec;
pub(crate) use routed::RoutedClient;
pub(crate) use wire::WireClient;

use crate::record::ErrorCode;
use crate::workload::{KEY_BYTES, Kind, Operation, Values};

/// Sends operations one after the other, each after the answer to the one before.
pub(crate) trait Client {
    /// Makes sure that the next [`Client::exchange`] can be sent at once.
    async fn prepare(&mut self) -> Result<(), Failure>;

    /// Sends one operation and awaits its answer.
    async fn exchange(&mut self, operation: &Operation, values: &Values) -> Result<(), Failure>;
}

/// An operation that was not answered as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Counted under this.
    pub(crate) code: ErrorCode,
    /// For people.
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn new(code: impl Into<ErrorCode>, detail: impl Into<String>) -> Self {
        Self { code: code.into(), detail: detail.into() }
    }
}

/// What is expected of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) kind: Kind,
    pub(crate) key: &'a [u8; KEY_BYTES],
    pub(crate) values: &'a Values,
    pub(crate) allow_absent: bool,
}

impl Expected<'_> {
    /// Judges what a read gave.
    pub(crate) fn judge_value(&self, value: Option<&[u8]>) -> Result<(), Failure> {
        let key = self.key.escape_ascii();
        match value {
            None if self.allow_absent => Ok(()),
            None => Err(Failure::new(
                "key_not_found",
                format!("key {key} is absent; load the keys first"),
            )),
            Some(value) if self.values.recognise(self.key, value) => Ok(()),
            Some(value) => Err(Failure::new(
                "value_mismatch",
                format!(
                    "key {key} has {} bytes that were not written by this workload ({} expected)",
                    value.len(),
                    self.values.value_bytes()
                ),
            )),
        }
    }
}
