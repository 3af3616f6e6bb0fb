//! etcd over gRPC: `etcdserverpb.KV` with `Put` and a linearizable `Range` of one key.
//!
//! The messages are written by hand, with the field numbers of etcd's `rpc.proto` and `kv.proto` and only the fields that
//! matter here; an unknown field of an answer is skipped, as protobuf has it.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint as TonicEndpoint};
use tonic_prost::ProstCodec;

use super::{Client, Endpoint, Expected, Failure};
use crate::workload::{Kind, Operation, Values};

/// Flow control windows, set by hand and large enough never to matter.
const WINDOW_BYTES: u32 = 4 << 20;

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

/// `serializable` (field 7) is left at its default, false: the read is linearizable.
#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ResponseHeader {
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

/// Opens connections that clients share.
pub(crate) async fn connect_channels(
    endpoints: &[Endpoint],
    count: usize,
    timeout: Duration,
) -> Result<Vec<Channel>, Failure> {
    let mut channels = Vec::with_capacity(count);
    for endpoint in endpoints.iter().cycle().take(count) {
        let uri = format!("http://{}", endpoint.authority);
        let channel = TonicEndpoint::from_shared(uri)
            .map_err(|error| Failure::new("connection", error.to_string()))?
            .connect_timeout(timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .connect()
            .await
            .map_err(|error| Failure::new("connection", chain(&error)))?;
        channels.push(channel);
    }
    Ok(channels)
}

/// One client on a shared channel.
#[derive(Debug)]
pub(crate) struct EtcdClient {
    grpc: Grpc<Channel>,
    timeout: Duration,
    allow_absent: bool,
    value: Vec<u8>,
}

impl EtcdClient {
    pub(crate) fn new(channel: Channel, timeout: Duration, allow_absent: bool) -> Self {
        Self { grpc: Grpc::new(channel), timeout, allow_absent, value: Vec::new() }
    }

    async fn call<Q, A>(&mut self, path: &'static str, message: Q) -> Result<A, Failure>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = PathAndQuery::from_static(path);
        let call = async {
            let not_ready = |error| Failure::new("connection", chain(&error));
            self.grpc.ready().await.map_err(not_ready)?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = self.grpc.unary(Request::new(message), path, codec).await;
            answer.map(tonic::Response::into_inner).map_err(|status| {
                let code = format!("grpc_{:?}", status.code()).to_lowercase();
                Failure::new(code, status.message())
            })
        };
        match tokio::time::timeout(self.timeout, call).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new("timeout", "no answer in time")),
        }
    }
}

impl Client for EtcdClient {
    async fn prepare(&mut self) -> Result<(), Failure> {
        // The channel connects again by itself.
        Ok(())
    }

    async fn exchange(&mut self, operation: &Operation, values: &Values) -> Result<(), Failure> {
        let key = Bytes::copy_from_slice(&operation.key);
        match operation.kind {
            Kind::Put => {
                self.value.clear();
                values.write(operation, &mut self.value);
                let value = Bytes::copy_from_slice(&self.value);
                let request = PutRequest { key, value };
                let answer: PutResponse = self.call("/etcdserverpb.KV/Put", request).await?;
                match answer.header {
                    Some(header) if header.revision > 0 => Ok(()),
                    _ => Err(Failure::new("bad_answer", "a put answered no revision")),
                }
            }
            Kind::Get => {
                let request = RangeRequest { key };
                let answer: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
                let expected = Expected {
                    kind: Kind::Get,
                    key: &operation.key,
                    values,
                    allow_absent: self.allow_absent,
                };
                let found = answer.kvs.first();
                if found.is_some_and(|found| found.key != operation.key.as_slice()) {
                    return Err(Failure::new("value_mismatch", "another key was answered"));
                }
                expected.judge_value(found.map(|found| found.value.as_ref()))
            }
        }
    }
}

/// An error with its causes: tonic's own text says only `transport error`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that etcd's own schema gives for these messages.
    #[test]
    fn messages_have_the_bytes_of_etcds_schema() {
        let put = PutRequest { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"vv") };
        assert_eq!(put.encode_to_vec(), b"\x0a\x01k\x12\x02vv");
        let range = RangeRequest { key: Bytes::from_static(b"k") };
        assert_eq!(range.encode_to_vec(), b"\x0a\x01k");
        // header {cluster_id 1: 1, member_id 2: 2, revision 3: 9, raft_term 4: 3},
        // kvs [{key, create_revision 2: 5, mod_revision 3: 9, version 4: 2, value}], count 4: 1
        let answer = b"\x0a\x08\x08\x01\x10\x02\x18\x09\x20\x03\x12\x0c\x0a\x01k\x10\x05\x18\x09\x20\x02\x2a\x01v\x20\x01";
        let answer = RangeResponse::decode(answer.as_slice()).unwrap();
        assert_eq!(answer.header.unwrap().revision, 9);
        assert_eq!(answer.kvs.len(), 1);
        assert_eq!(answer.kvs[0].key.as_ref(), b"k");
        assert_eq!(answer.kvs[0].value.as_ref(), b"v");
    }
}
