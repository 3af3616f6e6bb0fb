//! Where the nodes of the cluster are, and whom a connection is believed to be of.

use std::sync::Arc;

use bytes::Bytes;
use ringfort_proto::PROTOCOL;
use ringfort_proto::peer::{Hello, Refused};
use ringfort_types::{ClusterId, Incarnation, NodeNumber};

use super::map::ClusterMap;
use super::record::NodeInfo;

/// The address book of a member of a cluster, for its transport.
#[derive(Clone, Debug)]
pub struct Directory {
    me: NodeNumber,
    map: Arc<ClusterMap>,
}

impl Directory {
    /// The directory of this node.
    #[must_use]
    pub fn new(me: NodeNumber, map: Arc<ClusterMap>) -> Self {
        Self { me, map }
    }

    /// Takes a newer map.
    pub fn handle_map(&mut self, map: Arc<ClusterMap>) {
        self.map = map;
    }

    /// Another node: its address, id and incarnation.
    #[must_use]
    pub fn peer(&self, number: NodeNumber) -> Option<&NodeInfo> {
        self.map.member(number).map(|member| &member.info)
    }

    /// All other nodes.
    pub fn peers(&self) -> impl Iterator<Item = (NodeNumber, &NodeInfo)> {
        let others = self.map.members().filter(|member| member.number != self.me);
        others.map(|member| (member.number, &member.info))
    }

    /// Checks who says hello; gives its number.
    ///
    /// # Errors
    /// The sender is none of this cluster, not the one it says, wants another node, or speaks a newer protocol. Both ends
    /// should say so in their logs.
    pub fn admit(&self, hello: &Hello) -> Result<NodeNumber, Refused> {
        if hello.protocol > PROTOCOL {
            let (theirs, id) = (hello.protocol, &hello.node_id);
            return Err(refused(
                "newer_protocol",
                format!("node {id:?} speaks protocol {theirs}, this node up to {PROTOCOL}"),
            ));
        }
        let mine = self.map.cluster_id();
        if hello.cluster_id != Bytes::copy_from_slice(&mine.0.to_be_bytes()) {
            let theirs = <[u8; 16]>::try_from(&*hello.cluster_id).map_or_else(
                |_| "none".into(),
                |id| ClusterId(u128::from_be_bytes(id)).to_string(),
            );
            let reason = format!(
                "this node belongs to cluster {mine}, node {:?} to {theirs}",
                hello.node_id
            );
            return Err(refused("wrong_cluster", reason));
        }
        if u32::from(self.me.0) != hello.to {
            let reason =
                format!("this is node number {}, not {}: an address is wrong", self.me, hello.to);
            return Err(refused("wrong_node", reason));
        }
        let number = u16::try_from(hello.number).ok().map(NodeNumber);
        let member = number.and_then(|number| self.map.member(number));
        let Some(member) = member.filter(|member| member.info.name.id.as_str() == hello.node_id)
        else {
            let (id, number) = (&hello.node_id, hello.number);
            let reason = format!("cluster {mine} knows no node {id:?} of number {number}");
            return Err(refused("unknown_node", reason));
        };
        let known = member.info.name.incarnation;
        let theirs = <[u8; 16]>::try_from(&*hello.incarnation).ok();
        if theirs.map(|id| Incarnation(u128::from_be_bytes(id))) != Some(known) {
            return Err(refused(
                "other_incarnation",
                format!(
                    "node {id} comes with another data directory than the one that cluster {mine} knows under this id: its disk was wiped or replaced, or a second node has node.id = {id:?}",
                    id = member.info.name.id.as_str()
                ),
            ));
        }
        Ok(member.number)
    }
}

fn refused(code: &str, reason: String) -> Refused {
    Refused { code: code.into(), reason }
}
