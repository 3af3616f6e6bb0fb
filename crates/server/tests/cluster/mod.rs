//! Clusters of real processes: killed and paused under load, without a quorum, with certificates, and put together wrongly.

mod campaign;
mod damage;
mod full;
mod misuse;
mod moves;
mod quorum;
mod tls;
