//! What settings must agree on, and what is valid but not available yet.
//!
//! A rule speaks only where every setting it looks at was read well: a wrong address is reported once, as wrong, and not
//! again as an address without TLS.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;

use ringfort_types::limits;

use super::effective::Effective;
use super::origin::Problems;
use super::settings::{Engine, Settings};
use super::value::format_size;

/// A rule: the setting it blames, the others it looks at, and what is wrong, if anything is.
struct Rule {
    key: &'static str,
    with: &'static [&'static str],
    what: fn(&Settings) -> Option<String>,
}

/// Adds what the rules find.
pub(crate) fn check(effective: &Effective, problems: &mut Problems) {
    let mut found = Vec::new();
    for rule in RULES {
        let unread =
            problems.concern(rule.key) || rule.with.iter().any(|key| problems.concern(key));
        if !unread && let Some(what) = (rule.what)(&effective.settings) {
            found.push((rule, what));
        }
    }
    for (rule, what) in found {
        // The one who is blamed may stand at its default: then who said the other did it.
        let said = std::iter::once(&rule.key).chain(rule.with);
        let origin = said.map(|key| effective.origin(key)).max();
        let own = effective.origin(rule.key);
        let origin =
            if own == super::origin::Origin::Default { origin.unwrap_or(own) } else { own };
        problems.add(origin, rule.key, what);
    }
}

static RULES: &[Rule] = &[
    Rule {
        key: "listen.client",
        with: &["security.insecure"],
        what: |s| exposed(s, s.listen.client),
    },
    Rule {
        key: "listen.peer",
        with: &["security.insecure", "security.peer_ca", "security.peer_cert", "security.peer_key"],
        what: |s| exposed_to_nodes(s, s.listen.peer),
    },
    Rule {
        key: "listen.health",
        with: &["security.insecure"],
        what: |s| exposed(s, s.listen.health?),
    },
    Rule {
        key: "listen.client",
        with: &["listen.advertise_client"],
        what: |s| unnamed(s.listen.client, s.listen.advertise_client.as_deref(), "client"),
    },
    Rule {
        key: "listen.peer",
        with: &["listen.advertise_peer"],
        what: |s| unnamed(s.listen.peer, s.listen.advertise_peer.as_deref(), "peer"),
    },
    Rule {
        key: "listen.peer",
        with: &["listen.client"],
        what: |s| taken(s.listen.peer, s.listen.client, "listen.client"),
    },
    Rule {
        key: "listen.health",
        with: &["listen.client"],
        what: |s| taken(s.listen.health?, s.listen.client, "listen.client"),
    },
    Rule {
        key: "listen.health",
        with: &["listen.peer"],
        what: |s| taken(s.listen.health?, s.listen.peer, "listen.peer"),
    },
    Rule {
        key: "cluster.bootstrap_expect",
        with: &["cluster.seeds"],
        what: |s| unfit_expectation(s.cluster.expected(), s.cluster.seeds.len()),
    },
    Rule {
        key: "storage.engine",
        with: &[],
        what: |s| {
            later(s.storage.engine != Engine::Memory, "this engine", "\"memory\" is what there is")
        },
    },
    Rule {
        key: "security.peer_ca",
        with: &["security.peer_cert", "security.peer_key"],
        what: |s| unfit_file(s, s.security.peer_ca.as_deref()),
    },
    Rule {
        key: "security.peer_cert",
        with: &["security.peer_ca", "security.peer_key"],
        what: |s| unfit_file(s, s.security.peer_cert.as_deref()),
    },
    Rule {
        key: "security.peer_key",
        with: &["security.peer_ca", "security.peer_cert"],
        what: |s| unfit_file(s, s.security.peer_key.as_deref()),
    },
    Rule {
        key: "raft.election_timeout",
        with: &["raft.heartbeat"],
        what: |s| {
            let short = s.raft.election_timeout < s.raft.heartbeat * 5;
            short.then(|| {
                "must be at least five times raft.heartbeat, or leaders fall for nothing".into()
            })
        },
    },
    Rule {
        key: "limits.max_value_bytes",
        with: &["limits.max_request_bytes"],
        what: |s| {
            let over = s.limits.max_value_bytes > s.limits.max_request_bytes;
            over.then(|| "must not be above limits.max_request_bytes".into())
        },
    },
    Rule {
        key: "limits.max_request_bytes",
        with: &["limits.inflight_bytes"],
        what: |s| {
            let over = s.limits.max_request_bytes > s.limits.inflight_bytes;
            over.then(|| {
                "must not be above limits.inflight_bytes, or no such request would ever be admitted"
                    .into()
            })
        },
    },
    Rule {
        key: "limits.max_request_bytes",
        with: &["storage.segment_bytes"],
        what: |s| {
            let chosen = s.limits.max_request_bytes != limits::REQUEST_BYTES_MAX_DEFAULT;
            (chosen && spans_segments(s)).then(|| {
                let quarter = format_size(s.storage.segment_bytes / 4);
                format!("must not be above a quarter of storage.segment_bytes ({quarter}): no record of the log spans segments")
            })
        },
    },
    Rule {
        key: "storage.segment_bytes",
        with: &["limits.max_request_bytes"],
        what: |s| {
            let chosen = s.limits.max_request_bytes != limits::REQUEST_BYTES_MAX_DEFAULT;
            (!chosen && spans_segments(s)).then(|| {
                let request = s.limits.max_request_bytes as u64;
                let (least, request) = (format_size(request * 4), format_size(request));
                format!(
                    "must be at least {least}, four times limits.max_request_bytes ({request}), or that one lower: \
                     no record of the log spans segments"
                )
            })
        },
    },
    Rule {
        key: "storage.segment_bytes",
        with: &[],
        what: |s| {
            let odd = !s.storage.segment_bytes.is_multiple_of(4096);
            odd.then(|| "must be a multiple of 4096 bytes, the size of a page".into())
        },
    },
    Rule {
        key: "storage.log_bytes",
        with: &["storage.segment_bytes"],
        what: |s| {
            let short = s.storage.log_bytes < 2 * s.storage.segment_bytes;
            short.then(|| "must be at least twice storage.segment_bytes".into())
        },
    },
];

fn spans_segments(settings: &Settings) -> bool {
    settings.limits.max_request_bytes as u64 > settings.storage.segment_bytes / 4
}

fn exposed(settings: &Settings, address: SocketAddr) -> Option<String> {
    let refused = !address.ip().is_loopback() && !settings.security.insecure;
    refused.then(|| {
        format!(
            "{address} can be reached from outside this machine, and neither TLS nor authentication is configured; \
             security.insecure = true allows it"
        )
    })
}

fn exposed_to_nodes(settings: &Settings, address: SocketAddr) -> Option<String> {
    let open = !settings.security.insecure && !settings.security.has_peer_tls();
    (open && !address.ip().is_loopback()).then(|| {
        format!(
            "{address} can be reached from outside this machine, and nodes are not told apart from strangers: set \
             security.peer_ca, peer_cert and peer_key; security.insecure = true allows it without"
        )
    })
}

/// A number of founders that never come together.
fn unfit_expectation(expected: u32, seeds: usize) -> Option<String> {
    let expected = usize::try_from(expected).unwrap_or(usize::MAX);
    match (expected, seeds) {
        (0, 0) => Some("0 means to join a cluster, but cluster.seeds names none".into()),
        (2.., 0) => Some(format!(
            "{expected} nodes find one another by cluster.seeds, which names none: list the peer addresses of all there, \
             this one's included"
        )),
        (1.., _) if expected < seeds => Some(format!(
            "every one of the {seeds} cluster.seeds is a founder: expect at least {seeds}, or 0 to join only"
        )),
        _ => None,
    }
}

/// A file of the TLS between nodes that is missing where others are given, or cannot be read.
fn unfit_file(settings: &Settings, file: Option<&Path>) -> Option<String> {
    let security = &settings.security;
    let given = [&security.peer_ca, &security.peer_cert, &security.peer_key];
    match file {
        None if given.iter().all(|file| file.is_none()) => None,
        None => Some(
            "is missing: TLS between nodes takes security.peer_ca, peer_cert and peer_key together"
                .into(),
        ),
        Some(path) => {
            unreadable(path).map(|why| format!("{} cannot be read: {why}", path.display()))
        }
    }
}

fn unreadable(path: &Path) -> Option<String> {
    let read = || -> std::io::Result<bool> {
        // Asked first: opening a pipe would wait for its writer.
        Ok(path.metadata()?.is_file() && File::open(path)?.read(&mut [0])? > 0)
    };
    match read() {
        Ok(true) => None,
        Ok(false) => Some("it is empty or no file".into()),
        Err(error) => Some(error.to_string()),
    }
}

fn unnamed(address: SocketAddr, advertised: Option<&str>, which: &str) -> Option<String> {
    let missing = address.ip().is_unspecified() && advertised.is_none();
    missing.then(|| {
        format!("{address} is a wildcard that nobody can dial: set listen.advertise_{which} too")
    })
}

fn taken(address: SocketAddr, other: SocketAddr, name: &str) -> Option<String> {
    // Port 0 is another port each time.
    (address == other && address.port() != 0).then(|| format!("is the same address as {name}"))
}

fn later(asked: bool, what: &str, instead: &str) -> Option<String> {
    asked.then(|| format!("{what} is not available in this version; {instead}"))
}
