//! Measuring on this machine: servers started for the purpose, loaded over loopback, and always taken away again.

mod cluster;
mod compare;
mod failover;
mod http;
mod load;
mod options;
mod peers;
mod perf;
mod process;
mod restart;
mod servers;

pub(crate) use cluster::compare_cluster;
pub(crate) use compare::compare;
pub(crate) use failover::failover;
pub(crate) use peers::peers;
pub(crate) use perf::perf;
pub(crate) use restart::restart;
