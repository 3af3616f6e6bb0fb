//! A node that stops hands its leadership over first: nobody waits for an election.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ringfort_types::{GroupId, Monotonic, NodeNumber, ReplicaId};

use super::{Worker, open_group, open_group_mut};

impl<W> Worker<W> {
    /// Hands every group that is led here to another voter on a node that can be reached: to the one that has most of the
    /// log, and of several such to a node that got few. To be called in each turn until nothing is left: a transfer may come
    /// to nothing, and a group may have been won since.
    ///
    /// Gives how many groups are still led here that another could lead.
    pub fn hand_over(&mut self, now: Monotonic, reachable: impl Fn(NodeNumber) -> bool) -> usize {
        let mut given: BTreeMap<NodeNumber, usize> = BTreeMap::new();
        let mut left = 0;
        for position in 0..self.mine.len() {
            let group = self.mine[position];
            let Some(heir) = self.heir(group, &reachable, &given) else { continue };
            left += 1;
            let Ok(open) = open_group_mut(&mut self.slots, group) else { continue };
            let before = open.replica.load();
            // Refused where it is being handed over already, which is as good.
            if open.replica.transfer(now, heir).is_ok() {
                *given.entry(heir.node()).or_default() += 1;
            }
            self.load = self.load.moved(before, open.replica.load());
            self.mark_dirty(group);
        }
        left
    }

    /// Who leads a group next; `None` where that is not this node's to say, or nobody can.
    fn heir(
        &self,
        group: GroupId,
        reachable: &impl Fn(NodeNumber) -> bool,
        given: &BTreeMap<NodeNumber, usize>,
    ) -> Option<ReplicaId> {
        let open = open_group(&self.slots, group).ok().filter(|open| open.replica.leads())?;
        let status = open.replica.status().raft;
        let voters = status
            .peers
            .iter()
            .filter(|peer| status.configuration.is_voter(peer.id) && reachable(peer.id.node()));
        let got = |node| given.get(&node).copied().unwrap_or_default();
        voters.max_by_key(|peer| (peer.matched, Reverse(got(peer.id.node())))).map(|peer| peer.id)
    }
}
