//! Kinds of work that a sample can be part of, and the rules that tell them apart.
//!
//! Kernel frames come first, so that a sync is a sync whoever asked for it, with the switch of threads in it. What the
//! kernel does on its own account under an interrupt counts for the code that it interrupted. Sockets have no rule in the
//! kernel: whether they are clients' or other nodes' is for the code to say that reads or writes them.

/// What a sample is part of. Tables join several to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    /// Connections of clients: parsing, answering, their sockets.
    Http,
    /// From a key to its shard and place.
    Routing,
    /// Requests for shards that other nodes lead, and their answers.
    Forwarding,
    /// Raft's messages on their way into frames and out of them.
    Consensus,
    /// Frames between nodes where the stack does not say what they carry: their sockets, their framing.
    Frames,
    /// What only the replica that leads does: commands, proposals, acknowledgements.
    Lead,
    /// What only replicas that follow do: appends taken.
    Follow,
    /// Turns and Raft where the stack does not say which.
    Raft,
    LogRecord,
    WriteAndSync,
    Apply,
    WakeUps,
    /// What no rule decides.
    Rest,
}

impl Work {
    /// The work of a stack, innermost frame first.
    pub(super) fn of(stack: &[&str]) -> Self {
        stack.iter().find_map(|symbol| decide(symbol)).unwrap_or(Self::Rest)
    }
}

/// What the first rule that fits a frame says of it.
fn decide(symbol: &str) -> Option<Work> {
    RULES.iter().find(|(part, _)| symbol.contains(part)).and_then(|(_, work)| *work)
}

/// Whoever called the frame decides.
const CALLER: Option<Work> = None;

/// Part of a symbol, and what a frame with it says. The first rule that fits a frame counts.
const RULES: &[(&str, Option<Work>)] = &[
    // The kernel, by system call or subsystem.
    ("sys_fdatasync", Some(Work::WriteAndSync)),
    ("sys_fsync", Some(Work::WriteAndSync)),
    ("sys_pwrite64", Some(Work::WriteAndSync)),
    ("sys_pwritev", Some(Work::WriteAndSync)),
    ("ext4_", Some(Work::WriteAndSync)),
    ("blk_mq_", Some(Work::WriteAndSync)),
    ("sys_epoll_wait", Some(Work::WakeUps)),
    ("sys_epoll_pwait", Some(Work::WakeUps)),
    ("sys_futex", Some(Work::WakeUps)),
    ("eventfd_", Some(Work::WakeUps)),
    ("sys_clock_gettime", Some(Work::WakeUps)),
    ("sys_nanosleep", Some(Work::WakeUps)),
    ("sys_clock_nanosleep", Some(Work::WakeUps)),
    ("sys_timerfd", Some(Work::WakeUps)),
    // Ringfort, innermost crates first; names of functions before names of crates.
    ("crc32c::", Some(Work::LogRecord)),
    ("ringfort_log::", Some(Work::LogRecord)),
    ("ringfort_engine::", Some(Work::Apply)),
    ("ringfort_types::key::", Some(Work::Routing)),
    ("ringfort_route::", Some(Work::Routing)),
    ("Worker<W>>::place_of", Some(Work::Routing)),
    // Raft. What serves several asks its caller.
    ("ringfort_raft::log::", CALLER),
    ("ringfort_raft::progress::", CALLER),
    ("ringfort_raft::quorum::", CALLER),
    ("Group>::handle_append_ack", Some(Work::Lead)),
    ("Group>::handle_append_reject", Some(Work::Lead)),
    ("Group>::handle_append", Some(Work::Follow)),
    ("Group>::accept_content", Some(Work::Follow)),
    ("Group>::reject_append", Some(Work::Follow)),
    ("Group>::send_appends", Some(Work::Lead)),
    ("Group>::settle_peers", Some(Work::Lead)),
    ("Group>::advance_commit", Some(Work::Lead)),
    ("Group::propose", Some(Work::Lead)),
    ("Group>::handle_heartbeat_ack", Some(Work::Lead)),
    ("Group>::handle_heartbeat", Some(Work::Follow)),
    ("Group>::send_heartbeats", Some(Work::Lead)),
    // What nodes say to each other.
    ("peer::v1::Append", Some(Work::Consensus)),
    ("peer::v1::Consensus", Some(Work::Consensus)),
    ("peer::v1::consensus", Some(Work::Consensus)),
    ("peer::v1::Entry", Some(Work::Consensus)),
    ("peer::v1::Heartbeat", Some(Work::Consensus)),
    ("peer::v1::PairHeartbeat", Some(Work::Consensus)),
    ("ringfort_proto::consensus", Some(Work::Consensus)),
    ("peer::v1::Frame", Some(Work::Frames)),
    ("ringfort_proto::frame", Some(Work::Frames)),
    ("ringfort_proto::divide", Some(Work::Frames)),
    ("ringfort_proto::", Some(Work::Forwarding)),
    ("Outbox::message", Some(Work::Consensus)),
    ("Outbox::request", Some(Work::Forwarding)),
    ("Outbox::answer", Some(Work::Forwarding)),
    ("ringfort_node::outbox", Some(Work::Frames)),
    ("ringfort_node::worker::peers", Some(Work::Frames)),
    ("ringfort_node::worker::peer_requests", Some(Work::Forwarding)),
    ("ringfort_node::forward", Some(Work::Forwarding)),
    ("ringfort_server::peers", Some(Work::Frames)),
    ("ringfort_server::peer_host", Some(Work::Frames)),
    // Replicas and workers.
    ("ringfort_replica::command", CALLER),
    ("ringfort_replica::layout", CALLER),
    ("ringfort_replica::replica::proposals", Some(Work::Lead)),
    ("Replica::enqueue", Some(Work::Lead)),
    ("ringfort_replica::replica", Some(Work::Raft)),
    ("ringfort_replica::", Some(Work::Apply)),
    ("ringfort_node::worker::requests", Some(Work::Lead)),
    ("ringfort_node::worker::answers", Some(Work::Lead)),
    ("Worker<W>>::handle_tick", Some(Work::WakeUps)),
    ("ringfort_raft::", Some(Work::Raft)),
    ("ringfort_node::", Some(Work::Raft)),
    ("ringfort_server::disk", Some(Work::WriteAndSync)),
    ("ringfort_server::log_thread", Some(Work::LogRecord)),
    ("ringfort_server::metrics", Some(Work::WakeUps)),
    ("ringfort_server::inbox", Some(Work::WakeUps)),
    ("Host::run_ticks", Some(Work::WakeUps)),
    ("ringfort_door::", Some(Work::Http)),
    ("httparse::", Some(Work::Http)),
    ("hyper_util::", Some(Work::Http)),
    ("hyper::", Some(Work::Http)),
    ("ringfort_server::listen", Some(Work::Http)),
    ("ringfort_server::backend", Some(Work::Lead)),
    ("ringfort_server::", Some(Work::Raft)),
    // What carries others.
    ("tokio::net::", CALLER),
    ("tokio::io::", CALLER),
    ("prometheus_client::", Some(Work::WakeUps)),
    ("std::sync::mpmc", Some(Work::WakeUps)),
    ("__vdso_clock_gettime", Some(Work::WakeUps)),
    ("tokio::", Some(Work::WakeUps)),
    ("mio::", Some(Work::WakeUps)),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A send of loopback delivers at once: both ends of TCP, and whoever is woken by it.
    const SEND: [&str; 5] =
        ["try_to_wake_up", "tcp_rcv_established", "tcp_sendmsg", "__x64_sys_sendto", "__send"];
    const POLL_WRITE: &str = "tokio::io::poll_evented::PollEvented<E>::poll_write";

    fn work_of(kernel: &[&str], code: &[&str]) -> Work {
        Work::of(&[kernel, code].concat())
    }

    #[test]
    fn a_socket_is_whose_code_uses_it() {
        let door = "<ringfort_door::http::stream::Stream<I> as AsyncWrite>::poll_write";
        let task = "tokio::runtime::task::raw::poll";
        assert_eq!(work_of(&SEND, &[POLL_WRITE, door, "hyper::x", task]), Work::Http);
        let link = "ringfort_server::peers::link::run::{{closure}}";
        assert_eq!(work_of(&SEND, &[POLL_WRITE, link, task]), Work::Frames);
        let accept = "ringfort_server::peers::accept::serve_one::{{closure}}";
        let receive = ["_copy_to_iter", "tcp_recvmsg", "__libc_recv"];
        let read = "tokio::io::poll_evented::PollEvented<E>::poll_read";
        assert_eq!(work_of(&receive, &[read, accept, task]), Work::Frames);
        // Nobody known: not a client's.
        assert_eq!(work_of(&SEND, &["[unknown]"]), Work::Rest);
    }

    #[test]
    fn a_sync_is_a_sync_while_it_waits() {
        let sync =
            ["__schedule", "schedule", "io_schedule", "ext4_sync_file", "__x64_sys_fdatasync"];
        let log = "<ringfort_server::disk::FileDisk as ringfort_env::disk::Disk>::execute";
        assert_eq!(work_of(&sync, &[log]), Work::WriteAndSync);
        let idle = ["__schedule", "schedule", "do_epoll_wait", "__x64_sys_epoll_wait"];
        assert_eq!(work_of(&idle, &["mio::poll"]), Work::WakeUps);
        // Pushed aside in the middle of something.
        let preempted = ["__schedule", "schedule", "irqentry_exit", "asm_sysvec_reschedule_ipi"];
        assert_eq!(work_of(&preempted, &["ringfort_log::writer::Writer::write"]), Work::LogRecord);
    }

    #[test]
    fn raft_is_told_apart_by_role() {
        let group = "ringfort_raft::group";
        let named = |module: &str, function: &str| {
            format!("{group}::{module}::<impl {group}::Group>::{function}")
        };
        for (module, function, work) in [
            ("replication", "handle_append", Work::Follow),
            ("replication", "handle_append_ack", Work::Lead),
            ("replication", "handle_append_reject", Work::Lead),
            ("heartbeat", "handle_heartbeat", Work::Follow),
            ("heartbeat", "handle_heartbeat_ack", Work::Lead),
            ("output", "poll_effects", Work::Raft),
        ] {
            let symbol = named(module, function);
            assert_eq!(Work::of(&["mi_free", &symbol]), work, "{symbol}");
            assert_eq!(Work::of(&["ringfort_raft::log::Log::range", &symbol]), work, "{symbol}");
        }
    }

    #[test]
    fn the_same_code_counts_for_who_calls_it() {
        let read = "ringfort_replica::command::PayloadReader::command";
        let apply = "ringfort_replica::machine::Machine::apply";
        assert_eq!(Work::of(&[read, apply]), Work::Apply);
        let put = "ringfort_replica::command::PayloadBuilder::begin_command";
        assert_eq!(Work::of(&[put, "ringfort_replica::replica::Replica::enqueue"]), Work::Lead);
        let varint = "prost::encoding::varint::decode_varint";
        let append = "<ringfort_proto::generated::packages::peer::v1::AppendAck as \
                      prost::message::Message>::merge_field";
        assert_eq!(Work::of(&[varint, append]), Work::Consensus);
        let request = "<ringfort_proto::generated::packages::peer::v1::Request as \
                       prost::message::Message>::merge_field";
        assert_eq!(Work::of(&[varint, request]), Work::Forwarding);
    }

    #[test]
    fn every_rule_can_decide() {
        for (at, (part, _)) in RULES.iter().enumerate() {
            let shadowed = RULES[..at].iter().find(|(earlier, _)| part.contains(earlier));
            assert_eq!(shadowed, None, "{part}");
        }
    }
}
