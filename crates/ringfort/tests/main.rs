//! The executable from outside: what it prints, where, and how it ends. Against real servers where one is needed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cluster;
mod dev;
mod guide;
mod kv;
mod offline;
mod server;
mod several;
mod support;
