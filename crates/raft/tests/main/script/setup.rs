//! `cluster`: what a script starts from.

use ringfort_raft::{Guard, Guards, Reads, Settings};
use ringfort_sim::group::ClusterOptions;
use ringfort_types::ReplicaId;

use super::Storage;
use super::args::{Args, Failure};

/// `cluster 1 2 3 storage=async reads=index trailing-bytes=0 without=PreVote`.
pub(super) fn parse(args: &mut Args) -> Result<(ClusterOptions, Option<Storage>), Failure> {
    let storage = match args.key("storage").as_deref() {
        None => None,
        Some("sync") => Some(Storage::Sync),
        Some("async") => Some(Storage::Async),
        Some(other) => return Err(format!("storage is sync or async, not {other}").into()),
    };
    let guards = match args.key("without") {
        None => Guards::default(),
        Some(name) => Guards::without(guard(&name)?),
    };
    let seed = args.number("seed")?.unwrap_or(7);
    let settings = settings(args)?;
    let voters: Vec<ReplicaId> = args.ids()?;
    if voters.is_empty() {
        return Err("who votes?".into());
    }
    Ok((ClusterOptions { voters, settings, guards, seed }, storage))
}

/// The guard of a name.
pub(super) fn guard(name: &str) -> Result<Guard, Failure> {
    let named = Guard::ALL.iter().copied().find(|guard| format!("{guard:?}") == name);
    named.ok_or_else(|| format!("no guard is called {name}").into())
}

fn settings(args: &mut Args) -> Result<Settings, Failure> {
    let mut settings = Settings::default();
    let times = [
        ("heartbeat", &mut settings.heartbeat),
        ("election-timeout", &mut settings.election_timeout),
        ("lease", &mut settings.lease),
        ("lease-margin", &mut settings.lease_margin),
        ("lease-max", &mut settings.lease_max),
        ("stall-timeout", &mut settings.stall_timeout),
        ("sleep-after", &mut settings.sleep_after),
    ];
    for (key, place) in times {
        *place = args.time_of(key)?.unwrap_or(*place);
    }
    let sizes = [
        ("append-bytes", &mut settings.append_bytes_max),
        ("append-entries", &mut settings.append_entries_max),
        ("inflight-messages", &mut settings.inflight_messages_max),
        ("inflight-bytes", &mut settings.inflight_bytes_max),
        ("uncommitted-bytes", &mut settings.uncommitted_bytes_max),
        ("apply-bytes", &mut settings.apply_bytes_max),
        ("trailing-bytes", &mut settings.trailing_bytes),
        ("catch-up-bytes", &mut settings.catch_up_bytes),
        ("chunk-bytes", &mut settings.snapshot_chunk_bytes),
    ];
    for (key, place) in sizes {
        *place = args.number(key)?.unwrap_or(*place);
    }
    settings.reads = match args.key("reads").as_deref() {
        None => settings.reads,
        Some("lease") => Reads::Lease,
        Some("index") => Reads::Index,
        Some(other) => return Err(format!("reads are by lease or index, not {other}").into()),
    };
    Ok(settings)
}
