//! Doors: what speaks HTTP to clients, over one [`Backend`] trait. A door knows its protocol and nothing of storage; what
//! stands behind the trait knows no protocol.

mod backend;
mod http;

pub use backend::{Backend, MetricsFormat, Observation, OperationKind};
pub use http::{
    BuildInfo, ConnectionError, Hosts, HttpDoor, HttpOptions, OPENAPI, ROUTES, RouteInfo, Surface,
};
