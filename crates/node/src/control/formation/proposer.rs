//! Who proposes a cluster, whom its record names, and when it is decided.

use std::collections::BTreeMap;

use ringfort_types::{ClusterId, NodeId};

use super::super::record::{FormationRecord, NodeInfo, NodeName};
use super::contacts::{FRESH, Met};
use super::{Ask, Formation, FormationState, Grant};

/// Whom a record would name now.
struct Candidates {
    founders: BTreeMap<NodeName, NodeInfo>,
    /// An id that more than one node bears; there is no record then.
    twice: Option<(NodeId, String, String)>,
}

impl Formation {
    /// Takes whatever step is possible.
    pub(super) fn advance(&mut self) {
        if self.persisting.is_some() || self.state.formed.is_some() {
            return;
        }
        if self.met_cluster.is_some() {
            // Those who granted it ask, and hear that it is given up.
            if self.own().is_some() {
                self.persist(FormationState::default(), None);
            }
            return;
        }
        if self.is_to_propose() {
            self.contacts.add_known(self.now);
        }
        match &self.state.grant {
            None if self.is_to_propose() && self.may_begin() => self.begin(),
            Some(grant) if self.is_mine(grant) => self.propose(),
            _ => {}
        }
    }

    /// What is to be asked at an address; nothing where nobody is of interest any more.
    pub(super) fn ask_for(&self, address: &str) -> Option<Ask> {
        let contact = self.contacts.all().find(|(of, _)| *of == address)?.1;
        if let Some(record) = &self.state.formed {
            let founder = record.founders.iter().find(|founder| founder.peer == *address);
            if !contact.is_seed && founder.is_none() {
                return None;
            }
            let named = contact.name.as_ref().or(founder.map(|founder| &founder.name));
            return match named {
                // Who stands there has answered, and has nothing to learn.
                Some(name) if self.told.contains(name) || record.number_of(name).is_none() => None,
                Some(_) => Some(Ask::Formed(record.clone())),
                None => Some(Ask::Hello),
            };
        }
        if contact.name.as_ref() == Some(self.me()) {
            return None;
        }
        let proposal = self.own().filter(|_| self.persisting.is_none());
        let record = proposal.and_then(|own| self.record(own.cluster_id));
        let wants_grant = |record: &FormationRecord| {
            let founder = record.founders.iter().find(|founder| founder.peer == *address);
            founder.is_some_and(|founder| {
                founder.name != *self.me() && !self.granted.contains(&founder.name)
            })
        };
        Some(record.filter(wants_grant).map_or(Ask::Hello, Ask::Propose))
    }

    /// What a node that may propose still lacks.
    pub(super) fn waits_for_others(&self) -> String {
        let silent: Vec<_> = self
            .contacts
            .seeds()
            .filter(|(_, seed)| seed.name.is_none())
            .map(|(address, _)| address.as_str())
            .collect();
        if !silent.is_empty() {
            return format!("waits for an answer of every seed; none yet of {}", silent.join(", "));
        }
        if !self.is_to_propose() {
            let lowest = self.lowest_seed();
            return match lowest.filter(|name| *name != self.me()) {
                Some(lowest) => format!(
                    "waits for seed {}, whose id is the lowest, to form a cluster; if its cluster.bootstrap_expect is 0, `ringfort cluster init` is needed",
                    lowest.id
                ),
                None => "waits for `ringfort cluster init`: cluster.bootstrap_expect is 0".into(),
            };
        }
        let candidates = self.candidates();
        if let Some((id, one, other)) = candidates.twice {
            return format!("node id {id} is used at {one} and at {other}");
        }
        let expected = self.expected();
        if candidates.founders.len() < expected {
            let met = candidates.founders.len();
            return format!("has met {met} of {expected} nodes (cluster.bootstrap_expect)");
        }
        let mut lacking: Vec<_> =
            candidates.founders.keys().filter(|name| **name != *self.me()).collect();
        lacking.retain(|name| !self.granted.contains(name));
        let lacking: Vec<_> = lacking.iter().map(|name| name.id.as_str()).collect();
        format!("waits for the grant of {}", lacking.join(", "))
    }

    fn expected(&self) -> usize {
        usize::try_from(self.config.bootstrap_expect.max(1)).unwrap_or(usize::MAX)
    }

    /// The seed with the lowest id, of those that have answered.
    fn lowest_seed(&self) -> Option<&NodeName> {
        self.contacts.seeds().filter_map(|(_, seed)| seed.name.as_ref()).min()
    }

    fn is_to_propose(&self) -> bool {
        if self.told_to_propose || self.own().is_some() {
            return true;
        }
        let alone = self.config.seeds.is_empty();
        self.config.bootstrap_expect > 0 && (alone || self.lowest_seed() == Some(self.me()))
    }

    /// Whether every seed has answered and everybody was asked, enough nodes are there, and no seed is bound otherwise.
    fn may_begin(&self) -> bool {
        let candidates = self.candidates();
        self.contacts.seeds().all(|(_, seed)| seed.name.is_some())
            && self.contacts.all().all(|(_, contact)| contact.tried)
            && candidates.twice.is_none()
            && candidates.founders.len() >= self.expected()
            && self.seeds_but_me().all(|name| {
                self.contacts.met_as(name).is_none_or(|met| met.introduction.grant.is_none())
            })
    }

    fn begin(&mut self) {
        let cluster_id = ClusterId(self.random.bits());
        let (proposer, peer) = (self.me().clone(), self.config.me.peer.clone());
        let grant = Some(Grant { cluster_id, proposer, peer });
        self.persist(FormationState { grant, formed: None }, None);
    }

    fn propose(&mut self) {
        let Some(own) = self.own() else { return };
        let candidates = self.candidates();
        if let Some((id, one, other)) = candidates.twice {
            self.say(format!(
                "node id {id} is used at {one} and at {other}, with different data directories: no cluster is formed until one of them gets another node.id or is stopped"
            ));
            return;
        }
        let enough = candidates.founders.len() >= self.expected();
        let record = self.record_of(own.cluster_id, candidates);
        let Some(record) = record.filter(|_| enough) else { return };
        let others = || record.founders.iter().filter(|founder| founder.name != *self.me());
        let seeds_are_in = self.contacts.seeds().all(|(_, seed)| {
            seed.name.as_ref().is_some_and(|name| record.number_of(name).is_some())
        });
        let all_granted = others().all(|founder| self.granted.contains(&founder.name));
        if seeds_are_in && all_granted {
            let grant = self.state.grant.clone();
            self.persist(FormationState { grant, formed: Some(record) }, None);
            return;
        }
        let addresses: Vec<_> = others().map(|founder| founder.peer.clone()).collect();
        for address in addresses {
            self.contacts.add(&address, self.now);
        }
    }

    fn seeds_but_me(&self) -> impl Iterator<Item = &NodeName> {
        let seeds = self.contacts.seeds().filter_map(|(_, seed)| seed.name.as_ref());
        seeds.filter(|name| **name != *self.me())
    }

    fn record(&self, cluster_id: ClusterId) -> Option<FormationRecord> {
        self.record_of(cluster_id, self.candidates())
    }

    fn record_of(&self, cluster_id: ClusterId, candidates: Candidates) -> Option<FormationRecord> {
        if candidates.twice.is_some() {
            return None;
        }
        let founders = candidates.founders.into_values().collect();
        FormationRecord::new(cluster_id, self.config.settings, founders).ok()
    }

    /// This node, every seed, and whoever was heard of and is free.
    fn candidates(&self) -> Candidates {
        let now = self.now;
        let is_seed = |met: &Met| {
            let name = &met.introduction.node.name;
            self.seeds_but_me().any(|seed| seed == name)
        };
        let granted = |met: &Met| self.granted.contains(&met.introduction.node.name);
        let there = |met: &&Met| met.is_fresh(now) || granted(met) || is_seed(met);
        let mut candidates = Candidates { founders: BTreeMap::new(), twice: None };
        let me = &self.config.me;
        candidates.founders.insert(me.name.clone(), me.clone());
        for met in self.contacts.met().filter(there) {
            let node = &met.introduction.node;
            if met.introduction.cluster_id.is_some() && !is_seed(met) {
                continue;
            }
            let other = self.contacts.met().find(|other| {
                let other_node = &other.introduction.node;
                other_node.name.id == node.name.id && other_node.name != node.name && there(other)
            });
            match other {
                // The one that is gone was there before its disk was wiped.
                Some(other) if other.is_fresh(now) && !met.is_fresh(now) => continue,
                Some(other) if other.is_fresh(now) => {
                    let (one, other) = (node.peer.clone(), other.introduction.node.peer.clone());
                    candidates.twice = Some((node.name.id.clone(), one, other));
                }
                _ => {}
            }
            let silent = self.contacts.silent_for(&node.peer, now) >= FRESH;
            if is_seed(met) || granted(met) || !(met.refuses(now) || silent) {
                candidates.founders.insert(node.name.clone(), node.clone());
            }
        }
        candidates
    }
}
