//! A node's part in its cluster: the control core, the first worker with its replica of the catalog, and the words of other
//! nodes about the catalog, put together.
//!
//! ```text
//!   frames of others ──▶ ┌─────────┐ ◀── records applied, role ── Worker 0
//!   reports of workers ─▶│ Control │ ──── proposals ────────────▶    │
//!                        └────┬────┘ ◀── answers ──────────────────┘
//!                map, steps, catalog.bin, frames
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use ringfort_proto::peer::{self, Frame};
use ringfort_types::request::{Condition, Operation};
use ringfort_types::{BootId, Code, Epoch, GroupId, Monotonic, NodeNumber, Version};

use crate::control::{
    Addresses, ClusterMap, Control, ControlEffect, GroupReport, Instruction, ProposalId, Proposed,
    Record, Said, Update, Word,
};
use crate::pending::Response;
use crate::worker::Worker;
use crate::worker::catalog::record_key;

/// What the host is to do for a member.
#[derive(Clone, Debug)]
pub enum MemberEffect {
    /// The map is another: every worker, and the transport, get it.
    Map(Arc<ClusterMap>),
    /// These are the new bytes of `catalog.bin`, to be written some time soon.
    SaveCatalog(Bytes),
    /// The worker that owns the group is to take this step.
    Instruct(Instruction),
    /// Find out which start of a node answers at this address; then [`Member::handle_recorded`].
    AskRecorded {
        /// Which node; it may be this one.
        node: NodeNumber,
        /// The address.
        address: String,
    },
    /// What a person should read.
    Finding(String),
}

/// The node-wide core of a member of a cluster, beside the first worker.
#[derive(Debug)]
pub struct Member {
    me: NodeNumber,
    control: Control,
    boot: BootId,
    /// Of this executable.
    version: &'static str,
    /// Records of the local replica of the catalog up to here were handed over.
    seen: Version,
    leads: bool,
    frames: VecDeque<(NodeNumber, Frame)>,
    effects: VecDeque<MemberEffect>,
}

impl Member {
    /// The member that this node is, in this start of it, of an executable of this version.
    #[must_use]
    pub fn new(me: NodeNumber, control: Control, boot: BootId, version: &'static str) -> Self {
        let (frames, effects) = (VecDeque::new(), VecDeque::new());
        let (seen, leads) = (Version::ABSENT, false);
        Self { me, control, boot, version, seen, leads, frames, effects }
    }

    /// What another node said last of itself, since this start.
    #[must_use]
    pub fn said(&self, node: NodeNumber) -> Option<&Said> {
        self.control.said(node)
    }

    /// The map in force.
    #[must_use]
    pub fn map(&self) -> &Arc<ClusterMap> {
        self.control.map()
    }

    /// Takes out of a frame what is about the catalog. Gives how many parts of it could not be read.
    pub fn handle_frame(&mut self, now: Monotonic, from: NodeNumber, frame: &mut Frame) -> u64 {
        let mut malformed = 0;
        if let Some(gossip) = frame.gossip.take() {
            match <[u8; 16]>::try_from(&*gossip.boot_id) {
                Ok(boot) => {
                    let word = Word {
                        epoch: Epoch(gossip.epoch),
                        boot: BootId(u128::from_be_bytes(boot)),
                        addresses: Addresses::parse(gossip.peer_address, gossip.client_address),
                        // It is shown to people, as it is.
                        version: gossip
                            .version
                            .chars()
                            .filter(char::is_ascii_graphic)
                            .take(64)
                            .collect(),
                    };
                    self.control.handle_gossip(now, from, word);
                }
                Err(_) => malformed += 1,
            }
        }
        if let Some(delta) = frame.delta.take() {
            match delta.try_into() {
                Ok(delta) => self.control.handle_delta(now, from, delta),
                Err(_) => malformed += 1,
            }
        }
        for report in frame.reports.drain(..) {
            match report.try_into() {
                Ok(report) => self.control.handle_report(now, from, report),
                Err(_) => malformed += 1,
            }
        }
        for instruction in frame.instructions.drain(..) {
            match instruction.try_into() {
                Ok(instruction) => self.effects.push_back(MemberEffect::Instruct(instruction)),
                Err(_) => malformed += 1,
            }
        }
        malformed
    }

    /// Takes what workers say of their groups.
    pub fn handle_reports(
        &mut self,
        now: Monotonic,
        reports: impl IntoIterator<Item = (GroupId, Option<GroupReport>)>,
    ) {
        for (group, report) in reports {
            self.control.handle_local(now, group, report);
        }
    }

    /// Takes which start of a node answered at this address, if one did.
    pub fn handle_recorded(
        &mut self,
        now: Monotonic,
        node: NodeNumber,
        address: &str,
        answers: Option<BootId>,
    ) {
        self.control.handle_recorded(now, node, address, answers);
    }

    /// Takes which epoch another node routed a request by, as a worker that is not the first heard it
    /// ([`Worker::poll_epoch_heard`]).
    pub fn handle_epoch(&mut self, now: Monotonic, from: NodeNumber, epoch: Epoch) {
        self.control.handle_epoch(now, from, epoch);
    }

    /// Takes the passing of time. To be called every 100 ms or so.
    pub fn handle_tick(&mut self, now: Monotonic) {
        self.control.handle_tick(now);
    }

    /// Exchanges words with the first worker. A turn of it follows.
    pub fn poll<W>(&mut self, now: Monotonic, worker: &mut Worker<W>) {
        self.take_records(now, worker);
        while let Some((id, response)) = worker.poll_catalog() {
            self.control.handle_proposed(now, ProposalId(id), proposed(&response));
        }
        // Behind the records: a delta has what they changed.
        while let Some((from, epoch)) = worker.poll_epoch_heard() {
            self.control.handle_epoch(now, from, epoch);
        }
        while let Some(effect) = self.control.poll_effect() {
            self.execute(now, worker, effect);
        }
    }

    fn take_records<W>(&mut self, now: Monotonic, worker: &mut Worker<W>) {
        let Some(state) = worker.catalog_state() else { return self.lead(now, false) };
        if state.revision > self.seen {
            let records = worker.catalog_records(now, self.seen);
            let records = records.map(|records| {
                records.into_iter().map(Record::try_from).collect::<Result<Vec<_>, _>>()
            });
            let taken = match records {
                Ok(Ok(records)) => self
                    .control
                    .handle_catalog_records(now, records)
                    .map_err(|error| format!("the catalog makes no map: {error}")),
                Ok(Err(error)) => Err(format!("the catalog holds a strange record: {error}")),
                Err(error) => Err(format!("the catalog cannot be read: {error}")),
            };
            match taken {
                Ok(()) => self.seen = state.revision,
                // Passed over, it would be missing in the copy for ever.
                Err(reason) => {
                    worker.stop_catalog(&reason);
                    self.lead(now, false);
                    return;
                }
            }
        }
        self.lead(now, state.leads);
    }

    fn lead(&mut self, now: Monotonic, leads: bool) {
        if leads != self.leads {
            self.leads = leads;
            self.control.handle_catalog_role(now, leads);
        }
    }

    fn find(&mut self, finding: String) {
        self.effects.push_back(MemberEffect::Finding(finding));
    }

    fn execute<W>(&mut self, now: Monotonic, worker: &mut Worker<W>, effect: ControlEffect) {
        let boot_id = Bytes::copy_from_slice(&self.boot.0.to_be_bytes());
        let (to, frame) = match effect {
            ControlEffect::Map(map) => return self.effects.push_back(MemberEffect::Map(map)),
            ControlEffect::SaveCatalog => {
                let bytes = self.control.catalog().encode();
                return self.effects.push_back(MemberEffect::SaveCatalog(bytes));
            }
            ControlEffect::Finding(finding) => return self.find(finding),
            ControlEffect::AskRecorded { node, address } => {
                return self.effects.push_back(MemberEffect::AskRecorded { node, address });
            }
            // Its groups are woken by the heartbeats between the nodes, which carry the boot id as well.
            ControlEffect::Restarted(_) => return,
            ControlEffect::Propose { id, updates } => {
                let operations: Option<Vec<_>> = updates.iter().map(operation).collect();
                return worker.propose_catalog(now, id.0, &operations.unwrap_or_default());
            }
            ControlEffect::Instruct { to, instruction } if to == self.me => {
                return self.effects.push_back(MemberEffect::Instruct(instruction));
            }
            ControlEffect::Gossip { to, epoch } => {
                let own = self.control.addresses();
                let gossip = peer::Gossip {
                    epoch: epoch.0,
                    boot_id,
                    peer_address: own.map(|own| own.peer.clone()).unwrap_or_default(),
                    client_address: own.map(|own| own.client.clone()).unwrap_or_default(),
                    version: self.version.to_owned(),
                };
                (to, Frame { gossip: Some(gossip), ..Frame::default() })
            }
            ControlEffect::Delta { to, delta } => {
                (to, Frame { delta: Some((&delta).into()), ..Frame::default() })
            }
            ControlEffect::Report { to, report } => {
                (to, Frame { reports: vec![(&report).into()], ..Frame::default() })
            }
            ControlEffect::Instruct { to, instruction } => {
                (to, Frame { instructions: vec![(&instruction).into()], ..Frame::default() })
            }
        };
        self.frames.push_back((to, frame));
    }

    /// The next frame to be sent, on the channel for consensus. It may be lost.
    pub fn poll_frame(&mut self) -> Option<(NodeNumber, Frame)> {
        self.frames.pop_front()
    }

    /// The next thing to be done by the host.
    pub fn poll_effect(&mut self) -> Option<MemberEffect> {
        self.effects.pop_front()
    }
}

fn operation(update: &Update) -> Option<Operation> {
    Some(Operation::Put {
        key: record_key(&update.key.to_string())?,
        value: update.value.encode(),
        ttl: None,
        condition: Condition::version(update.version),
    })
}

fn proposed(response: &Response) -> Proposed {
    match response {
        Ok(_) => Proposed::Applied,
        Err(refusal) if refusal.code == Code::PreconditionFailed => Proposed::Conflict,
        Err(_) => Proposed::Unknown,
    }
}
