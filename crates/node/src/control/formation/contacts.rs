//! Whom a node asks, how often, and whom it has met.

use std::collections::BTreeMap;
use std::time::Duration;

use ringfort_types::{Incarnation, Monotonic};

use super::super::record::NodeName;
use super::message::{Introduction, KNOWN_MAX};

/// Who was heard of within this time is there.
pub(super) const FRESH: Duration = Duration::from_secs(5);
/// How long a node that refused is left out of a record, unless it is a seed.
const REFUSED_FOR: Duration = Duration::from_secs(2);
/// Between two questions to somebody who answers.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// After the first failure; doubled with each further one, up to `ASK_AGAIN_MAX`.
const ASK_AGAIN_FAILED: Duration = Duration::from_millis(100);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(1);
/// After somebody said that he is busy.
const ASK_AGAIN_BUSY: Duration = Duration::from_millis(50);
/// Nodes that are remembered.
const MET_MAX: usize = 1024;
/// Addresses besides the seeds.
const CONTACTS_MAX: usize = 1024;

/// Number of a question; later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// How a question went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    Answered,
    Busy,
    Unreachable,
}

/// An address that is asked.
#[derive(Clone, Debug)]
pub(super) struct Contact {
    /// Every founding set has to contain who stands there.
    pub(super) is_seed: bool,
    /// Who answered there last.
    pub(super) name: Option<NodeName>,
    /// A question has been answered, or not.
    pub(super) tried: bool,
    /// The question under way.
    pub(super) open: Option<AskId>,
    pub(super) next_at: Monotonic,
    failures: u32,
    /// Since when nobody answers.
    pub(super) silent_since: Monotonic,
}

/// Everybody who was heard of.
#[derive(Clone, Debug, Default)]
pub(super) struct Contacts {
    by_address: BTreeMap<String, Contact>,
    met: BTreeMap<Incarnation, Met>,
    last_ask: AskId,
}

/// A node that was heard of.
#[derive(Clone, Debug)]
pub(super) struct Met {
    pub(super) introduction: Introduction,
    pub(super) heard_at: Monotonic,
    refused_until: Monotonic,
}

impl Met {
    pub(super) fn is_fresh(&self, now: Monotonic) -> bool {
        now.since(self.heard_at) < FRESH
    }

    pub(super) fn refuses(&self, now: Monotonic) -> bool {
        now < self.refused_until
    }
}

impl Contacts {
    pub(super) fn add_seed(&mut self, address: &str) {
        self.add(address, Monotonic::default());
        if let Some(contact) = self.by_address.get_mut(address) {
            contact.is_seed = true;
        }
    }

    /// An address to ask besides the seeds.
    pub(super) fn add(&mut self, address: &str, now: Monotonic) {
        if self.by_address.contains_key(address) || self.by_address.len() >= CONTACTS_MAX {
            return;
        }
        let contact = Contact {
            is_seed: false,
            name: None,
            tried: false,
            open: None,
            next_at: now,
            failures: 0,
            silent_since: now,
        };
        self.by_address.insert(address.to_owned(), contact);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Contact)> {
        self.by_address.iter()
    }

    pub(super) fn seeds(&self) -> impl Iterator<Item = (&String, &Contact)> {
        self.by_address.iter().filter(|(_, contact)| contact.is_seed)
    }

    pub(super) fn begin(&mut self, now: Monotonic) {
        for contact in self.by_address.values_mut() {
            contact.silent_since = now;
        }
    }

    /// Addresses that may be asked now.
    pub(super) fn due(&self, now: Monotonic) -> Vec<String> {
        let due = |contact: &Contact| contact.open.is_none() && contact.next_at <= now;
        let due = self.by_address.iter().filter(|(_, contact)| due(contact));
        due.map(|(address, _)| address.clone()).collect()
    }

    pub(super) fn next_at(&self) -> Option<Monotonic> {
        let waiting = self.by_address.values().filter(|contact| contact.open.is_none());
        waiting.map(|contact| contact.next_at).min()
    }

    pub(super) fn open(&mut self, address: &str) -> AskId {
        self.last_ask.0 += 1;
        if let Some(contact) = self.by_address.get_mut(address) {
            contact.open = Some(self.last_ask);
        }
        self.last_ask
    }

    /// There is nothing to ask there, until there is news.
    pub(super) fn rest(&mut self, address: &str) {
        if let Some(contact) = self.by_address.get_mut(address) {
            contact.next_at = Monotonic(u64::MAX);
        }
    }

    /// The newest question so far: answers to it and to earlier ones may be older than what happens now.
    pub(super) fn last_ask(&self) -> AskId {
        self.last_ask
    }

    /// Ends a question; gives the address, if it was still waited for.
    pub(super) fn close(
        &mut self,
        id: AskId,
        went: Went,
        now: Monotonic,
        spread: impl FnOnce(Duration) -> Duration,
    ) -> Option<String> {
        let mut contacts = self.by_address.iter_mut();
        let (address, contact) = contacts.find(|(_, contact)| contact.open == Some(id))?;
        contact.open = None;
        contact.tried = true;
        contact.failures = if went == Went::Unreachable { contact.failures + 1 } else { 0 };
        if went != Went::Unreachable {
            contact.silent_since = now;
        }
        let rest = match went {
            Went::Answered => ASK_AGAIN,
            Went::Busy => ASK_AGAIN_BUSY,
            Went::Unreachable => {
                let doubled = ASK_AGAIN_FAILED * 2u32.pow(contact.failures.clamp(1, 8) - 1);
                doubled.min(ASK_AGAIN_MAX)
            }
        };
        contact.next_at = now + spread(rest);
        Some(address.clone())
    }

    pub(super) fn name(&mut self, address: &str, name: &NodeName) {
        if let Some(contact) = self.by_address.get_mut(address) {
            contact.name = Some(name.clone());
        }
    }

    /// Everybody is asked at once: there is news.
    pub(super) fn hurry(&mut self, now: Monotonic) {
        for contact in self.by_address.values_mut() {
            contact.next_at = now;
        }
    }

    /// Whoever speaks is worth a question at once, if nobody answered there before.
    pub(super) fn hurry_silent(&mut self, address: &str, now: Monotonic) {
        if let Some(contact) = self.by_address.get_mut(address)
            && contact.failures > 0
        {
            contact.next_at = now;
        }
    }

    /// Notes who was heard. Where there is no room, whoever was not heard for longest is forgotten.
    pub(super) fn meet(&mut self, introduction: &Introduction, now: Monotonic) {
        let key = introduction.node.name.incarnation;
        let refused_until = self.met.get(&key).map(|met| met.refused_until).unwrap_or_default();
        let met = Met { introduction: introduction.clone(), heard_at: now, refused_until };
        self.met.insert(key, met);
        if self.met.len() > MET_MAX
            && let Some(oldest) =
                self.met.iter().min_by_key(|(_, met)| met.heard_at).map(|(key, _)| *key)
        {
            self.met.remove(&oldest);
        }
    }

    pub(super) fn refuse(&mut self, name: &NodeName, now: Monotonic) {
        if let Some(met) = self.met.get_mut(&name.incarnation) {
            met.refused_until = now + REFUSED_FOR;
        }
    }

    pub(super) fn met(&self) -> impl Iterator<Item = &Met> {
        self.met.values()
    }

    /// Where nodes without a cluster were met lately.
    pub(super) fn known(&self, now: Monotonic) -> Vec<String> {
        let free = |met: &&Met| met.is_fresh(now) && met.introduction.cluster_id.is_none();
        let known = self.met().filter(free).map(|met| met.introduction.node.peer.clone());
        known.take(KNOWN_MAX).collect()
    }

    /// Asks whomever others have met, too.
    pub(super) fn add_known(&mut self, now: Monotonic) {
        let fresh = self.met.values().filter(|met| met.is_fresh(now));
        let known: Vec<_> = fresh.flat_map(|met| met.introduction.known.clone()).collect();
        for address in known {
            self.add(&address, now);
        }
    }

    pub(super) fn met_as(&self, name: &NodeName) -> Option<&Met> {
        self.met.get(&name.incarnation).filter(|met| met.introduction.node.name == *name)
    }

    /// For how long nobody has answered at an address that was asked; zero where it was not.
    pub(super) fn silent_for(&self, address: &str, now: Monotonic) -> Duration {
        let contact = self.by_address.get(address);
        contact.map_or(Duration::ZERO, |contact| now.since(contact.silent_since))
    }
}
