//! How things look in the output of a script: the decision in a line, not the struct.

use std::fmt::Write as _;

use ringfort_raft::{
    Body, Configuration, LostCopy, Message, Persist, Position, Role, Sending, SnapshotEffect,
    Status,
};
use ringfort_types::{Entry, ReplicaId, Term};

/// Payloads of more bytes are shown by their size.
const PAYLOAD_MAX: usize = 16;
/// Of more entries only the first and the last are shown.
const ENTRIES_MAX: usize = 8;

pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

pub(super) fn option(id: Option<ReplicaId>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

pub(super) fn entry(entry: &Entry) -> String {
    let position = Position::of(entry);
    let payload = &entry.payload;
    if payload.is_empty() {
        return position.to_string();
    }
    match (Configuration::of_entry(entry), std::str::from_utf8(payload)) {
        (Ok(Some(configuration)), _) => format!("{position} {configuration}"),
        (_, Ok(text)) if text.len() <= PAYLOAD_MAX => format!("{position} {text:?}"),
        _ => format!("{position} {} bytes", payload.len()),
    }
}

pub(super) fn entries(entries: &[Entry]) -> String {
    match entries {
        [first, .., last] if entries.len() > ENTRIES_MAX => {
            format!("{} .. {}", entry(first), entry(last))
        }
        _ => entries.iter().map(entry).collect::<Vec<_>>().join(", "),
    }
}

/// What is to become durable.
pub(super) fn persist(persist: &Persist) -> String {
    let mut parts = Vec::new();
    if let Some(state) = persist.hard_state {
        let vote = state.vote.map_or_else(String::new, |vote| format!(" vote {vote}"));
        parts.push(format!("term {}{vote}", state.term));
    }
    if !persist.entries.is_empty() {
        parts.push(entries(&persist.entries));
    }
    parts.join(", ")
}

/// A message, in its sender's term unless that is said. `reason` is why a vote is refused.
pub(super) fn message(message: &Message, sender_term: Term, reason: Option<&str>) -> String {
    let Message { from, to, term, body } = message;
    let mut line = format!("{from}→{to} ");
    let yes = |granted: bool| match (granted, reason) {
        (true, _) => "yes".to_owned(),
        (false, Some(reason)) => format!("no: {reason}"),
        (false, None) => "no".to_owned(),
    };
    line += &match body {
        Body::PreVote { last } => format!("pre-vote in term {term}? log {last}"),
        Body::PreVoteAnswer { granted } => format!("pre-vote in term {term}: {}", yes(*granted)),
        Body::Vote { last, transfer } => {
            let by = if *transfer { ", by transfer" } else { "" };
            format!("vote in term {term}? log {last}{by}")
        }
        Body::VoteAnswer { granted } => format!("vote in term {term}: {}", yes(*granted)),
        Body::Append { previous, entries, commit } => {
            format!("append {previous}+{} commit {commit}", entries.len())
        }
        Body::AppendAck { index } => format!("ack {index}"),
        Body::AppendReject { previous, hint, lost } => {
            let lost = match lost {
                LostCopy::No => "",
                LostCopy::Entries => " (lost entries)",
                LostCopy::Blank => " (blank)",
            };
            format!("reject after {previous}, may agree at {hint}{lost}")
        }
        Body::Heartbeat { commit, round, .. } => format!("heartbeat {} commit {commit}", round.0),
        Body::HeartbeatAck { round, commit } => {
            format!("heartbeat-ack {} commit {commit}", round.0)
        }
        Body::Snapshot { snapshot, offset, data, last, .. } => {
            let end = offset + data.len() as u64;
            let last = if *last { " (last)" } else { "" };
            format!("snapshot {} bytes {offset}..{end}{last}", snapshot.position)
        }
        Body::SnapshotAck { offset, .. } => format!("snapshot-ack from {offset}"),
        Body::TimeoutNow => "timeout-now".to_owned(),
        Body::ReadIndex { read, .. } => format!("read-index {}", read.0),
        Body::ReadIndexAnswer { read, index, .. } => {
            format!("read-index {} is {index}", read.0)
        }
        Body::Sleep { last } => format!("sleep at {last}"),
        Body::OldTerm => format!("old-term, it is {term}"),
    };
    let names_term = matches!(
        body,
        Body::PreVote { .. }
            | Body::PreVoteAnswer { .. }
            | Body::Vote { .. }
            | Body::VoteAnswer { .. }
            | Body::OldTerm
    );
    if !names_term && *term != sender_term {
        let _ = write!(line, " (of term {term})");
    }
    line
}

pub(super) fn snapshot(id: ReplicaId, effect: &SnapshotEffect) -> String {
    match effect {
        SnapshotEffect::Read { to, offset, .. } => {
            format!("{id} wants bytes of a snapshot for {to}, from {offset}")
        }
        SnapshotEffect::Release { to } => format!("{id} has done with the snapshot for {to}"),
        SnapshotEffect::Stage { snapshot, offset, data } => {
            let end = offset + data.len() as u64;
            format!("{id} stages snapshot {} bytes {offset}..{end}", snapshot.position)
        }
        SnapshotEffect::Install { snapshot } => {
            format!("{id} installs snapshot {}", snapshot.position)
        }
        SnapshotEffect::Discard => format!("{id} discards what it staged"),
    }
}

pub(super) fn sending(sending: &Sending) -> &'static str {
    match sending {
        Sending::Probe { .. } => "probe",
        Sending::Replicate => "replicate",
        Sending::Snapshot { .. } => "snapshot",
        Sending::Refused => "refused",
    }
}

/// A replica in a line.
pub(super) fn status(id: ReplicaId, status: &Status, last: Position) -> String {
    let mut line = format!(
        "{id} {} term {} commit {} last {last} applied {}",
        role(status.role),
        status.term,
        status.commit,
        status.applied
    );
    if status.durable != status.last {
        let _ = write!(line, " durable {}", status.durable);
    }
    match (status.role, status.leader) {
        (Role::Leader, _) => {}
        (_, Some(leader)) => {
            let _ = write!(line, ", follows {leader}");
        }
        (_, None) => line += ", no leader",
    }
    if let Some(vote) = status.vote {
        let _ = write!(line, ", voted {vote}");
    }
    for (flag, word) in [(status.asleep, ", asleep"), (status.lost, ", lost entries")] {
        if flag {
            line += word;
        }
    }
    let _ = write!(line, ", {}", status.configuration);
    for peer in &status.peers {
        let _ = write!(line, ", {}: {} {}", peer.id, sending(&peer.sending), peer.matched);
        if peer.inflight > 0 {
            let _ = write!(line, "+{} in flight", peer.inflight);
        }
    }
    line
}
