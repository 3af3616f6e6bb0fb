//! The table of settings: the one place that knows every key, how its value is read, and how it is shown.

use std::path::PathBuf;
use std::time::Duration;

use ringfort_types::{NodeId, format_duration, limits};
use serde_json::json;

use super::settings::{Engine, READS, Settings};
use super::value::{Value, Wrong, format_size, is_host_and_port};
use crate::logging::{Filter, Format, Output};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Most nodes that form a cluster together, and most seeds; more join later.
const FOUNDERS_MAX: i128 = 64;

/// One setting.
pub(crate) struct Setting {
    /// `section.name`.
    pub(crate) key: &'static str,
    /// Reads a value into the settings.
    pub(crate) set: fn(&mut Settings, &Value) -> Result<(), Wrong>,
    /// The value that stands; null where there is none.
    pub(crate) show: fn(&Settings) -> serde_json::Value,
}

/// The setting of a key.
pub(crate) fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The sections, in order, each once.
pub(crate) fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = SETTINGS.iter().map(|setting| section_of(setting.key)).collect();
    sections.dedup();
    sections
}

pub(crate) fn section_of(key: &str) -> &str {
    key.split_once('.').map_or(key, |(section, _)| section)
}

/// Assigns and ends well: `set!(field.path, expression)`.
macro_rules! set {
    ($field:ident . $name:ident, |$value:ident| $read:expr) => {
        |settings, $value| {
            settings.$field.$name = $read;
            Ok(())
        }
    };
}

/// Every setting, by section.
pub(crate) static SETTINGS: &[Setting] = &[
    Setting {
        key: "node.id",
        set: set!(node.id, |value| Some(node_id(value)?)),
        show: |s| json!(s.node.id.as_ref().map(NodeId::as_str)),
    },
    Setting {
        key: "node.data_dir",
        set: set!(node.data_dir, |value| value.text()?.into()),
        show: |s| json!(s.node.data_dir.to_string_lossy()),
    },
    Setting {
        key: "node.zone",
        set: set!(node.zone, |value| zone(value)?),
        show: |s| json!(s.node.zone),
    },
    Setting {
        key: "node.capacity",
        set: set!(node.capacity, |value| value.float(0.01..=1000.0)?),
        show: |s| json!(s.node.capacity),
    },
    Setting {
        key: "listen.client",
        set: set!(listen.client, |value| value.address()?),
        show: |s| json!(s.listen.client.to_string()),
    },
    Setting {
        key: "listen.peer",
        set: set!(listen.peer, |value| value.address()?),
        show: |s| json!(s.listen.peer.to_string()),
    },
    Setting {
        key: "listen.health",
        set: set!(listen.health, |value| match value.string() {
            Ok("off") => None,
            _ => Some(value.address()?),
        }),
        show: |s| json!(s.listen.health.map_or("off".into(), |address| address.to_string())),
    },
    Setting {
        key: "listen.advertise_client",
        set: set!(listen.advertise_client, |value| Some(value.dialled()?)),
        show: |s| json!(s.listen.advertise_client),
    },
    Setting {
        key: "listen.advertise_peer",
        set: set!(listen.advertise_peer, |value| Some(value.dialled()?)),
        show: |s| json!(s.listen.advertise_peer),
    },
    Setting {
        key: "cluster.seeds",
        set: set!(cluster.seeds, |value| seeds(value)?),
        show: |s| json!(s.cluster.seeds),
    },
    Setting {
        key: "cluster.bootstrap_expect",
        set: set!(cluster.bootstrap_expect, |value| Some(value.whole(0..=FOUNDERS_MAX)?)),
        show: |s| json!(s.cluster.expected()),
    },
    Setting {
        key: "cluster.replication_factor",
        set: set!(cluster.replication_factor, |value| value.whole(1..=9)?),
        show: |s| json!(s.cluster.replication_factor),
    },
    Setting {
        key: "cluster.shards",
        set: set!(cluster.shards, |value| value.whole(1..=i128::from(limits::SHARDS_MAX))?),
        show: |s| json!(s.cluster.shards),
    },
    Setting {
        key: "storage.engine",
        set: set!(storage.engine, |value| choice(value, &Engine::ALL)?),
        show: |s| json!(name_of(s.storage.engine, &Engine::ALL)),
    },
    Setting {
        key: "storage.segment_bytes",
        set: set!(storage.segment_bytes, |value| value.size(256 * KIB..=GIB)?),
        show: |s| json!(format_size(s.storage.segment_bytes)),
    },
    Setting {
        key: "storage.log_bytes",
        set: set!(storage.log_bytes, |value| value.size(4 * MIB..=1024 * GIB)?),
        show: |s| json!(format_size(s.storage.log_bytes)),
    },
    Setting {
        key: "storage.sync_delay_max_us",
        set: set!(storage.sync_delay_max_us, |value| value.whole(0..=100_000)?),
        show: |s| json!(s.storage.sync_delay_max_us),
    },
    Setting {
        key: "server.workers",
        set: set!(server.workers, |value| value.whole(0..=256)?),
        show: |s| json!(s.server.workers),
    },
    Setting {
        key: "server.stop_timeout",
        set: set!(server.stop_timeout, |value| {
            value.duration(Duration::from_millis(100)..=Duration::from_secs(600))?
        }),
        show: |s| json!(format_duration(s.server.stop_timeout)),
    },
    Setting {
        key: "limits.max_value_bytes",
        set: set!(limits.max_value_bytes, |value| value.size(1..=256 * MIB)?),
        show: |s| json!(format_size(s.limits.max_value_bytes as u64)),
    },
    Setting {
        key: "limits.max_request_bytes",
        set: set!(limits.max_request_bytes, |value| value.size(KIB..=512 * MIB)?),
        show: |s| json!(format_size(s.limits.max_request_bytes as u64)),
    },
    Setting {
        key: "limits.idempotency_bytes",
        set: set!(limits.idempotency_bytes, |value| value.size(KIB..=16 * GIB)?),
        show: |s| json!(format_size(s.limits.idempotency_bytes as u64)),
    },
    Setting {
        key: "limits.inflight_bytes",
        set: set!(limits.inflight_bytes, |value| value.size(MIB..=1024 * GIB)?),
        show: |s| json!(format_size(s.limits.inflight_bytes as u64)),
    },
    Setting {
        key: "limits.inflight_requests",
        set: set!(limits.inflight_requests, |value| value.whole(1..=10_000_000)?),
        show: |s| json!(s.limits.inflight_requests),
    },
    Setting {
        key: "limits.connections",
        set: set!(limits.connections, |value| value.whole(1..=1_000_000)?),
        show: |s| json!(s.limits.connections),
    },
    Setting {
        key: "limits.snapshot_bytes_per_second",
        set: set!(limits.snapshot_bytes_per_second, |value| value.size(0..=1024 * GIB)?),
        show: |s| json!(format_size(s.limits.snapshot_bytes_per_second as u64)),
    },
    Setting {
        key: "raft.heartbeat",
        set: set!(raft.heartbeat, |value| {
            value.duration(Duration::from_millis(10)..=Duration::from_secs(10))?
        }),
        show: |s| json!(format_duration(s.raft.heartbeat)),
    },
    Setting {
        key: "raft.election_timeout",
        set: set!(raft.election_timeout, |value| {
            value.duration(Duration::from_millis(50)..=Duration::from_secs(60))?
        }),
        show: |s| json!(format_duration(s.raft.election_timeout)),
    },
    Setting {
        key: "raft.reads",
        set: set!(raft.reads, |value| choice(value, &READS)?),
        show: |s| json!(name_of(s.raft.reads, &READS)),
    },
    Setting {
        key: "security.insecure",
        set: set!(security.insecure, |value| value.boolean()?),
        show: |s| json!(s.security.insecure),
    },
    Setting {
        key: "security.peer_ca",
        set: set!(security.peer_ca, |value| Some(value.text()?.into())),
        show: |s| path(s.security.peer_ca.as_ref()),
    },
    Setting {
        key: "security.peer_cert",
        set: set!(security.peer_cert, |value| Some(value.text()?.into())),
        show: |s| path(s.security.peer_cert.as_ref()),
    },
    Setting {
        key: "security.peer_key",
        set: set!(security.peer_key, |value| Some(value.text()?.into())),
        show: |s| path(s.security.peer_key.as_ref()),
    },
    Setting {
        key: "logging.level",
        set: set!(logging.level, |value| Filter::parse(&value.text()?)?),
        show: |s| json!(s.logging.level.as_str()),
    },
    Setting {
        key: "logging.format",
        set: set!(logging.format, |value| choice(value, &Format::ALL)?),
        show: |s| json!(name_of(s.logging.format, &Format::ALL)),
    },
    Setting {
        key: "logging.output",
        set: set!(logging.output, |value| Output::parse(&value.text()?)?),
        show: |s| json!(s.logging.output.to_string()),
    },
];

fn path(path: Option<&PathBuf>) -> serde_json::Value {
    json!(path.map(|path| path.to_string_lossy()))
}

/// One of several names.
fn choice<T: Copy>(value: &Value, known: &[(&str, T)]) -> Result<T, Wrong> {
    let names: Vec<_> = known.iter().map(|(name, _)| format!("{name:?}")).collect();
    let expected = format!("must be one of {}", names.join(", "));
    value.parsed(&expected, |text| {
        known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
    })
}

fn name_of<T: Copy + PartialEq>(value: T, known: &[(&'static str, T)]) -> &'static str {
    known.iter().find(|(_, known)| *known == value).map_or("", |(name, _)| name)
}

fn node_id(value: &Value) -> Result<NodeId, Wrong> {
    NodeId::parse(value.string()?).map_err(|error| error.to_string())
}

fn zone(value: &Value) -> Result<String, Wrong> {
    let expected =
        "must be 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit";
    value.parsed(expected, |text| NodeId::parse(text).ok().map(|zone| zone.as_str().to_owned()))
}

fn seeds(value: &Value) -> Result<Vec<String>, Wrong> {
    let seeds = value.strings()?;
    if i128::try_from(seeds.len()).is_ok_and(|count| count > FOUNDERS_MAX) {
        return Err(format!("must be at most {FOUNDERS_MAX} seeds; got {}", seeds.len()));
    }
    for (position, seed) in seeds.iter().enumerate() {
        if seed.starts_with("dns+a://") || seed.starts_with("dns+srv://") {
            return Err(format!(
                "finding seeds by DNS comes with a later version: write host:port; got {seed:?}"
            ));
        }
        if !is_host_and_port(seed) {
            return Err(format!("a seed is host:port; got {seed:?}"));
        }
        if seeds.iter().take(position).any(|before| before == seed) {
            return Err(format!("names {seed:?} twice"));
        }
    }
    Ok(seeds)
}
