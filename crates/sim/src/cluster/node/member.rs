//! The node's part in the catalog, beside the first worker: as the server has it, words between threads go by their inboxes,
//! so that for a while each worker may hold another map.

use std::time::Duration;

use ringfort_env::{DiskRequest, Lane, OperationId};
use ringfort_node::MemberEffect;
use ringfort_types::Monotonic;

use super::{ClusterNode, Outputs, Owner, WorkerInput};

/// How often the member looks at the time.
const TICK: Duration = Duration::from_millis(100);

impl ClusterNode {
    /// Lets the member look at the time, and at what this node's workers say of their shards.
    pub(super) fn tick_member(&mut self, now: Monotonic) {
        if now.since(self.last_member_tick) < TICK {
            return;
        }
        self.last_member_tick = now;
        self.member.handle_reports(now, self.workers[0].reports());
        self.member.handle_tick(now);
        for inbox in self.inboxes.iter_mut().skip(1) {
            inbox.push(WorkerInput::Report);
        }
    }

    /// What other nodes and the workers said is dealt with, at the end of the first worker's turn.
    pub(super) fn poll_member(&mut self, now: Monotonic, out: &mut Outputs) {
        self.member.poll(now, &mut self.workers[0]);
        while let Some(word) = self.member.poll_frame() {
            out.words.push(word);
        }
        while let Some(effect) = self.member.poll_effect() {
            self.execute(effect, out);
        }
        while let Some(operation) = self.catalog_file.poll_disk() {
            let request = DiskRequest { id: OperationId(0), lane: Lane::Background, operation };
            let request = self.own(Owner::CatalogFile, request);
            out.disk.push(request);
        }
    }

    fn execute(&mut self, effect: MemberEffect, out: &mut Outputs) {
        match effect {
            MemberEffect::Map(map) => {
                self.maps_spread += 1;
                for inbox in &mut self.inboxes {
                    inbox.push(WorkerInput::Map(map.clone()));
                }
            }
            MemberEffect::SaveCatalog(bytes) => self.catalog_file.save(bytes),
            MemberEffect::Instruct(instruction) => {
                let shard = instruction.group.shard().unwrap_or_default();
                let owner = shard.0 as usize % self.workers.len();
                self.inboxes[owner].push(WorkerInput::Instruct(instruction));
            }
            // Nodes do not move here.
            MemberEffect::AskRecorded { .. } => {}
            MemberEffect::Finding(finding) => out.findings.push(finding),
        }
    }
}
