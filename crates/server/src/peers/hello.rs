//! Who a node says it is, and why it is refused.

use std::fmt;

use ringfort_proto::peer::{self as wire, Refused};
use ringfort_proto::{DecodeError, PROTOCOL, id_of_wire, id_to_wire, number_of_wire};
use ringfort_types::{BootId, ClusterId, Incarnation, NodeId, NodeNumber};

/// What a connection is for. Each has a connection of its own, so that none waits behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Channel {
    /// Raft messages but snapshots, heartbeats, gossip; few bytes of requests and answers go along.
    Consensus,
    /// Forwarded requests and their answers, where they do not go along with Raft.
    Requests,
    /// Chunks of snapshots and their acknowledgements.
    Snapshots,
    /// One question and its answer, between nodes that may have no cluster yet. No frames.
    Formation,
}

impl Channel {
    /// The channels that carry frames.
    pub(crate) const OF_FRAMES: [Self; 3] = [Self::Consensus, Self::Requests, Self::Snapshots];

    /// Its name in logs and metrics.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::Requests => "requests",
            Self::Snapshots => "snapshots",
            Self::Formation => "formation",
        }
    }

    fn to_wire(self) -> wire::Channel {
        match self {
            Self::Consensus => wire::Channel::Consensus,
            Self::Requests => wire::Channel::Requests,
            Self::Snapshots => wire::Channel::Snapshots,
            Self::Formation => wire::Channel::Formation,
        }
    }

    fn from_wire(channel: wire::Channel) -> Option<Self> {
        match channel {
            wire::Channel::Unspecified => None,
            wire::Channel::Consensus => Some(Self::Consensus),
            wire::Channel::Requests => Some(Self::Requests),
            wire::Channel::Snapshots => Some(Self::Snapshots),
            wire::Channel::Formation => Some(Self::Formation),
        }
    }
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalCode {
    /// The two belong to different clusters, or one has none yet.
    WrongCluster,
    /// Another node was meant.
    WrongNode,
    /// No node of the cluster has this number and id.
    UnknownNode,
    /// The node id is known with another data directory.
    OtherIncarnation,
    /// Another start of this very node is at the address of its record, or is connected and speaks.
    DuplicateNode,
    /// The protocol is newer than this node's.
    NewerProtocol,
    /// The certificate does not name the node that the hello names.
    WrongCertificate,
    /// The node takes TLS only.
    TlsRequired,
    /// The hello cannot be understood.
    Malformed,
}

impl RefusalCode {
    /// Its name in messages.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::WrongCluster => "wrong_cluster",
            Self::WrongNode => "wrong_node",
            Self::UnknownNode => "unknown_node",
            Self::OtherIncarnation => "other_incarnation",
            Self::DuplicateNode => "duplicate_node",
            Self::NewerProtocol => "newer_protocol",
            Self::WrongCertificate => "wrong_certificate",
            Self::TlsRequired => "tls_required",
            Self::Malformed => "malformed",
        }
    }

    /// A refusal for this reason, in words for a person.
    #[must_use]
    pub(crate) fn because(self, reason: impl fmt::Display) -> Refused {
        Refused { code: self.as_str().to_owned(), reason: reason.to_string() }
    }
}

/// The first message in each direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The sender's cluster; none before it is formed.
    pub(crate) cluster: Option<ClusterId>,
    /// The sender.
    pub(crate) node_id: NodeId,
    /// The sender's data directory.
    pub(crate) incarnation: Incarnation,
    /// The sender's start.
    pub(crate) boot_id: BootId,
    /// The sender's number; means nothing without a cluster.
    pub(crate) number: NodeNumber,
    /// What the connection is for.
    pub(crate) channel: Channel,
    /// The number of the node that is meant; means nothing on [`Channel::Formation`].
    pub(crate) to: NodeNumber,
    /// Version of the sender's executable.
    pub(crate) version: String,
}

impl Hello {
    pub(super) fn to_wire(&self) -> wire::Hello {
        wire::Hello {
            protocol: PROTOCOL,
            cluster_id: self.cluster.map(|cluster| id_to_wire(cluster.0)).unwrap_or_default(),
            node_id: self.node_id.as_str().to_owned(),
            incarnation: id_to_wire(self.incarnation.0),
            boot_id: id_to_wire(self.boot_id.0),
            number: u32::from(self.number.0),
            channel: self.channel.to_wire().into(),
            to: u32::from(self.to.0),
            version: self.version.clone(),
        }
    }

    /// # Errors
    /// What is wrong with it, for the node that sent it.
    pub(super) fn from_wire(hello: &wire::Hello) -> Result<Self, Refused> {
        let malformed = |what: String| RefusalCode::Malformed.because(what);
        match hello.protocol {
            PROTOCOL => {}
            0 => return Err(malformed("the hello names no protocol".into())),
            newer => {
                return Err(RefusalCode::NewerProtocol.because(format_args!(
                    "this node speaks version {PROTOCOL} of the protocol between nodes, not {newer}"
                )));
            }
        }
        let field = |error: DecodeError| malformed(format!("the hello's {error}"));
        let cluster = &hello.cluster_id;
        let cluster = (!cluster.is_empty()).then(|| id_of_wire("cluster_id", cluster));
        let incarnation = id_of_wire("incarnation", &hello.incarnation).map_err(field)?;
        let boot_id = id_of_wire("boot_id", &hello.boot_id).map_err(field)?;
        Ok(Self {
            cluster: cluster.transpose().map_err(field)?.map(ClusterId),
            node_id: NodeId::parse(&hello.node_id).map_err(|error| malformed(error.to_string()))?,
            incarnation: Incarnation(incarnation),
            boot_id: BootId(boot_id),
            number: number_of_wire("number", hello.number).map_err(field)?,
            channel: Channel::from_wire(hello.channel())
                .ok_or_else(|| malformed(format!("there is no channel {}", hello.channel)))?,
            to: number_of_wire("to", hello.to).map_err(field)?,
            version: clean(&hello.version),
        })
    }
}

/// A text from outside, fit for a log: short, on one line.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(400).collect()
}
