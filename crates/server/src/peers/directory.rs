//! Who the nodes of the cluster are, where they are, and whether a hello is one of theirs.

use std::collections::BTreeMap;

use ringfort_proto::peer::Refused;
use ringfort_types::{BootId, ClusterId, Incarnation, NodeId, NodeNumber};

use super::hello::{Channel, Hello, RefusalCode};

/// What this node says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// None before the cluster is formed.
    pub(crate) cluster: Option<ClusterId>,
    /// This node.
    pub(crate) node_id: NodeId,
    /// Its data directory.
    pub(crate) incarnation: Incarnation,
    /// This start.
    pub(crate) boot_id: BootId,
    /// Its number in the cluster; means nothing before it is formed.
    pub(crate) number: NodeNumber,
    /// Version of the executable.
    pub(crate) version: String,
}

/// Another node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Where it listens: `host:port`. A name is resolved at each dial.
    pub(crate) address: String,
    /// Where the catalog's record says that it listens. The address is another where the node itself was heard to say so, and
    /// no record does yet: it is dialled there, but what answers there is no more the node than what it came from.
    pub(crate) recorded: String,
    /// Who answers there.
    pub(crate) node_id: NodeId,
    /// Its data directory.
    pub(crate) incarnation: Incarnation,
}

impl Peer {
    /// Whether it is dialled in the same place, as the same node.
    pub(super) fn is_dialled_as(&self, other: &Self) -> bool {
        (&self.address, &self.node_id, self.incarnation)
            == (&other.address, &other.node_id, other.incarnation)
    }
}

/// This node and the others.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    /// This node.
    pub(crate) own: Own,
    /// The others, by number. Empty before the cluster is formed.
    pub(crate) peers: BTreeMap<NodeNumber, Peer>,
}

impl Directory {
    /// Whether a node that connects is let in: one of the cluster's others, with the data directory it is known with, that
    /// means this node. On [`Channel::Formation`] everyone is: what is asked there is judged by whoever answers.
    ///
    /// # Errors
    /// Why not, for that node's log.
    pub(crate) fn admit(&self, hello: &Hello) -> Result<(), Refused> {
        if hello.channel == Channel::Formation {
            return Ok(());
        }
        self.identify(hello)?;
        if hello.to != self.own.number {
            let (own, number) = (&self.own.node_id, self.own.number);
            return Err(RefusalCode::WrongNode.because(format_args!(
                "node {} was meant, but {own} (node {number}) answers at this address",
                hello.to
            )));
        }
        Ok(())
    }

    /// Whether the node that answered a dial is the one that was dialled.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn recognize(&self, answer: &Hello, dialled: NodeNumber) -> Result<(), Refused> {
        if answer.cluster == self.own.cluster && answer.number != dialled {
            return Err(RefusalCode::WrongNode.because(format_args!(
                "{} (node {}) answers where node {dialled} was expected",
                answer.node_id, answer.number
            )));
        }
        self.identify(answer)
    }

    /// Whether a start of this node, or of one of the others, answered.
    pub(super) fn is_start_of(&self, node: NodeNumber, answer: &Hello) -> bool {
        let own = &self.own;
        if node != own.number {
            return self.recognize(answer, node).is_ok();
        }
        (answer.cluster, answer.number, answer.incarnation)
            == (own.cluster, own.number, own.incarnation)
            && answer.node_id == own.node_id
    }

    fn identify(&self, hello: &Hello) -> Result<(), Refused> {
        let own = &self.own;
        let Some(cluster) = own.cluster else {
            let why = format_args!("{} has no cluster yet", own.node_id);
            return Err(RefusalCode::WrongCluster.because(why));
        };
        if hello.cluster != Some(cluster) {
            let theirs = hello.cluster.map_or_else(|| "none".to_owned(), |id| id.to_string());
            return Err(RefusalCode::WrongCluster.because(format_args!(
                "{} belongs to cluster {cluster}, {} to {theirs}",
                own.node_id, hello.node_id
            )));
        }
        let Some(known) = self.peers.get(&hello.number) else {
            let (number, id) = (hello.number, &hello.node_id);
            return Err(RefusalCode::UnknownNode.because(if *id == own.node_id {
                format!("{id} is the node id of the node that answers: two nodes have the same id")
            } else {
                format!("{} knows no other node {number}, as which {id} comes", own.node_id)
            }));
        };
        if hello.node_id != known.node_id {
            return Err(RefusalCode::UnknownNode.because(format_args!(
                "node {} is {}, not {}",
                hello.number, known.node_id, hello.node_id
            )));
        }
        if hello.incarnation != known.incarnation {
            return Err(RefusalCode::OtherIncarnation.because(format_args!(
                "{} is known with the data directory {}, and comes with {}: its disk was wiped, or two nodes have the \
                 same id",
                hello.node_id, known.incarnation, hello.incarnation
            )));
        }
        Ok(())
    }
}
