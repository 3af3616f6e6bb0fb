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
    let span = LAST - FIRST + 1;
    let first = std::process::id().wrapping_mul(7919) % span;
    let mut ports = Vec::with_capacity(count);
    for _ in 0..span {
        if ports.len() == count {
            return Ok(ports);
        }
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + (first + step) % span)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports.push(port);
        }
    }
    bail!("no free port from {FIRST} to {LAST}");
}
