//! Ports that nobody listens on.
//!
//! They are taken from below the range that the kernel gives to outgoing connections: from there, a client's own
//! connection could take a server's port while the server is being restarted.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

const FIRST: u32 = 12_000;
const LAST: u32 = 31_999;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// So many different ports on which a listener could be bound a moment ago. Tests that run at once in one process never
/// get the same; those of other processes start elsewhere, and a server that finds its port taken says so.
///
/// # Errors
/// None is left.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let mut ports = Vec::with_capacity(count);
    while ports.len() < count {
        ports.push(free_port_range(1)?);
    }
    Ok(ports)
}

/// The first of so many consecutive ports, each as [`free_ports`] gives them.
///
/// # Errors
/// There are no such ports.
pub fn free_port_range(count: u16) -> Result<u16> {
    let span = LAST - FIRST + 1;
    let start = std::process::id().wrapping_mul(7919) % span;
    for _ in 0..span {
        let step = NEXT.fetch_add(count.into(), Ordering::Relaxed);
        let first = u16::try_from(FIRST + start.wrapping_add(step) % span)?;
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if u32::from(first) + u32::from(count) <= LAST + 1 && (first..first + count).all(is_free) {
            return Ok(first);
        }
    }
    bail!("no {count} free ports in a row from {FIRST} to {LAST}");
}
