//! What the tests share: a host that runs a log over a simulated disk, a model that knows what must be there, and traces.

pub(crate) mod campaign;
pub(crate) mod client;
pub(crate) mod host;
pub(crate) mod layout;
pub(crate) mod model;
pub(crate) mod trace;
