//! Ringfort by way of the thin client, which sends each key's request to the node that leads its shard.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ringfort_client::{Client as ThinClient, Error, Options, PutOptions};
use ringfort_types::Key;
use ringfort_types::limits::TIMEOUT_MS_MAX;
use ringfort_types::request::Consistency;

use super::{Client, Endpoint, Expected, Failure};
use crate::workload::{Kind, Operation, Values};

/// One lane of a client that all lanes share: one copy of the map, as in an application.
#[derive(Clone)]
pub(crate) struct RoutedClient {
    client: Rc<ThinClient>,
    allow_absent: bool,
    value: Vec<u8>,
}

impl RoutedClient {
    pub(crate) fn new(
        endpoints: &[Endpoint],
        timeout: Duration,
        allow_absent: bool,
    ) -> Result<Self, Failure> {
        let endpoints: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address.into()).collect();
        let timeout = timeout.min(Duration::from_millis(TIMEOUT_MS_MAX));
        let options = Options { timeout, route: true, ..Options::default() };
        let client = ThinClient::new(&endpoints, options).map_err(|error| failed(&error))?;
        Ok(Self { client: Rc::new(client), allow_absent, value: Vec::new() })
    }
}

impl Client for RoutedClient {
    async fn prepare(&mut self) -> Result<(), Failure> {
        // The client connects by itself.
        Ok(())
    }

    async fn exchange(&mut self, operation: &Operation, values: &Values) -> Result<(), Failure> {
        let key = Key::new(Bytes::copy_from_slice(&operation.key))
            .map_err(|error| Failure::new("invalid_argument", error.to_string()))?;
        match operation.kind {
            Kind::Put => {
                self.value.clear();
                values.write(operation, &mut self.value);
                let value = Bytes::copy_from_slice(&self.value);
                let put = self.client.put(&key, value, &PutOptions::default()).await;
                put.map(|_| ()).map_err(|error| failed(&error))
            }
            Kind::Get => {
                let got = self.client.get(&key, Consistency::Linearizable).await;
                let found = got.map_err(|error| failed(&error))?.found;
                let expected = Expected {
                    kind: Kind::Get,
                    key: &operation.key,
                    values,
                    allow_absent: self.allow_absent,
                };
                expected.judge_value(found.as_ref().map(|found| found.value.as_ref()))
            }
        }
    }
}

fn failed(error: &Error) -> Failure {
    let code = error.code().map_or("connection", ringfort_types::Code::as_str);
    Failure::new(code, error.to_string())
}
