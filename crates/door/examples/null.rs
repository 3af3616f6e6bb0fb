//! What the door itself costs: a door over a map in memory, on one thread, beside a bare hyper service that answers the
//! same requests with the same headers and does nothing else.
//!
//! ```sh
//! cargo run --release -p ringfort-door --example null -- door 127.0.0.1:7480
//! cargo run --release -p ringfort-door --example null -- hyper 127.0.0.1:7481
//! wrk -t1 -c64 -d10 http://127.0.0.1:7480/v1/kv/a
//! ```
//!
//! Without durability, shards or a cluster, it is no server.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ringfort_door::{Backend, HttpDoor, HttpOptions, MetricsFormat, Observation};
use ringfort_types::request::{
    Answered, Batch, BatchAnswer, ClusterView, Context, Done, Found, Get, Got, Limits, List,
    Operation, Page, ReadyCheck, Write,
};
use ringfort_types::{ClusterId, Code, Key, Monotonic, Refusal, ShardId, Version};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A map, and nothing else.
struct Null {
    epoch: Instant,
    revision: Cell<u64>,
    values: RefCell<HashMap<Key, (Version, Bytes)>>,
    answered: Cell<u64>,
}

impl Null {
    fn next_version(&self) -> Version {
        self.revision.set(self.revision.get() + 1);
        Version(self.revision.get())
    }

    fn unsupported<T>() -> Result<T, Refusal> {
        Err(Refusal::not_applied(Code::Internal, "not in this example"))
    }
}

impl Backend for Null {
    type Admission = ();

    fn now(&self) -> Monotonic {
        let nanos = self.epoch.elapsed().as_nanos();
        Monotonic(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    async fn get(&self, _: &Context, get: Get) -> Result<Got, Refusal> {
        let values = self.values.borrow();
        let found = values.get(&get.key).map(|(version, value)| Found {
            version: *version,
            value: value.clone(),
            ttl_ms: None,
        });
        Ok(Got { found, staleness_ms: None })
    }

    async fn write(&self, _: &Context, write: Write) -> Result<Answered, Refusal> {
        let done = match write.operation {
            Operation::Put { key, value, .. } => {
                let version = self.next_version();
                let value = Bytes::copy_from_slice(&value);
                self.values.borrow_mut().insert(key, (version, value));
                Done::Put(version)
            }
            Operation::Delete { key, .. } => {
                let removed = self.values.borrow_mut().remove(&key);
                Done::Deleted(removed.map(|_| self.next_version()))
            }
            Operation::Get { .. } => return Self::unsupported(),
        };
        let replayed = false;
        Ok(Answered { done, replayed })
    }

    async fn batch(&self, _: &Context, _: Batch) -> Result<BatchAnswer, Refusal> {
        Self::unsupported()
    }

    async fn list(&self, _: &Context, _: List) -> Result<Page, Refusal> {
        Self::unsupported()
    }

    async fn cluster(&self, _: &Context) -> Result<ClusterView, Refusal> {
        Self::unsupported()
    }

    async fn drain_node(&self, _: &Context, _: &str) -> Result<(), Refusal> {
        Self::unsupported()
    }

    async fn remove_node(&self, _: &Context, _: &str) -> Result<(), Refusal> {
        Self::unsupported()
    }

    async fn init_cluster(&self, _: &Context) -> Result<ClusterId, Refusal> {
        Self::unsupported()
    }

    async fn readiness(&self) -> Vec<ReadyCheck> {
        Vec::new()
    }

    async fn metrics(&self, _: MetricsFormat) -> String {
        format!("answered_total {}\n", self.answered.get())
    }

    fn admit(&self, _: usize) -> Result<(), Refusal> {
        Ok(())
    }

    fn observe(&self, _: Observation) {
        self.answered.set(self.answered.get() + 1);
    }

    fn shard_of(&self, _: &Key) -> ShardId {
        ShardId(0)
    }
}

/// The least a hyper service can do and still answer alike.
async fn bare(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_put = request.method() == Method::PUT;
    let length = match request.into_body().collect().await {
        Ok(body) => body.to_bytes().len(),
        Err(_) => 0,
    };
    let body = match (is_put, length) {
        (true, 1..) => Bytes::from_static(b"{\"version\":123456}"),
        _ => Bytes::from_static(&[b'x'; 256]),
    };
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ETAG, HeaderValue::from_static("\"123456\""));
    headers.insert("ringfort-request-id", HeaderValue::from_static("0123456789abcdef"));
    Ok(response)
}

async fn serve_bare(stream: TcpStream) -> Result<(), hyper::Error> {
    let builder = hyper::server::conn::http1::Builder::new();
    builder.serve_connection(TokioIo::new(stream), service_fn(bare)).await
}

async fn run(mode: &str, address: SocketAddr) -> std::io::Result<()> {
    let backend = Null {
        epoch: Instant::now(),
        revision: Cell::new(0),
        values: RefCell::default(),
        answered: Cell::new(0),
    };
    let door = Rc::new(HttpDoor::new(Rc::new(backend), HttpOptions::default()));
    // Tokio's listener sets SO_REUSEADDR.
    let listener = TcpListener::bind(address).await?;
    eprintln!("{mode} on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        if mode == "hyper" {
            tokio::task::spawn_local(async move {
                if let Err(error) = serve_bare(stream).await {
                    eprintln!("{error}");
                }
            });
        } else {
            let door = door.clone();
            tokio::task::spawn_local(async move {
                if let Err(error) = door.serve_connection(stream, pending()).await {
                    eprintln!("{error}");
                }
            });
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_else(|| "door".to_owned());
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7480".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(&mode, address.parse()?))?;
    Ok(())
}
