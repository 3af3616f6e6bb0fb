//! Who leads is told to nodes that have no replica of a shard: those that have one know it by themselves.

use std::time::Duration;

use ringfort_proto::peer::{self, Channel};
use ringfort_types::{GroupId, Monotonic, NodeNumber, ReplicaId, Term};

use super::{Worker, open_group};

/// Between two words on who leads, where nothing changes: whoever missed one, or started anew, gets the next.
const TELL_EVERY: Duration = Duration::from_secs(1);

impl<W> Worker<W> {
    /// Has the next tick tell who leads: something has changed.
    pub(super) fn tell_leads_soon(&mut self) {
        self.leads_due = Monotonic::default();
    }

    pub(super) fn tick_leads(&mut self, now: Monotonic) {
        if now < self.leads_due {
            return;
        }
        self.leads_due = now + TELL_EVERY;
        for group in &self.mine {
            let Ok(open) = open_group(&self.slots, *group) else { continue };
            if group.shard().is_none() || !open.replica.leads() {
                continue;
            }
            let led = peer::Led {
                group: group.0,
                from: open.replica.id().0,
                term: open.replica.leader().term.0,
            };
            let members = open.replica.configuration().members();
            let holds = |node: NodeNumber| members.iter().any(|member| member.node() == node);
            for node in self.nodes.iter().filter(|node| !holds(**node)) {
                self.outbox.frame(*node, Channel::Consensus).leads.push(led);
            }
        }
    }

    /// Takes word that another node leads a group.
    pub(super) fn handle_led(&mut self, now: Monotonic, from: NodeNumber, led: &peer::Led) {
        let leader = ReplicaId(led.from);
        match GroupId(led.group).shard() {
            Some(shard) if leader.node() == from => {
                self.forwarder.handle_leader(now, shard, leader, Term(led.term));
                self.forwards_due = true;
            }
            _ => self.stats.frames_foreign += 1,
        }
    }
}
