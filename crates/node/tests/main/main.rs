//! A whole node on a simulated disk.

mod behaviour;
mod flips;
mod power;
mod support;
