//! Clusters of real processes: killed and paused under load, without a quorum, and put together wrongly.

mod campaign;
mod damage;
mod full;
mod misuse;
mod moves;
mod quorum;
