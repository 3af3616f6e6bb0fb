//! Who is in a group, and how that changes.
//!
//! ```text
//!   {1 2 3}  ── changes ──▶  {1 2 4} + {1 2 3}  ── committed: left by itself ──▶  {1 2 4}
//!   final                    joint: both decide                                   final
//! ```
//!
//! # Model
//!
//! Voters decide, learners only receive. Every change goes through a joint configuration, one that changes learners alone
//! as well: there is one mechanism. A configuration is an entry of the log. It counts from the moment it is appended, and
//! no longer once it is truncated (dissertation, section 4.3).
//!
//! # Invariants
//!
//! - A replica is added as a learner, under an id greater than every id the group ever had. So a voter has always been told
//!   who its group is, and a message for a replica that is gone fits no other.
//! - A learner that was added to replace a voter is promoted by exactly that swap, so that a repair never widens the quorum.
//! - There is at least one voter.
//!
//! Left out on purpose: adding a voter directly, and making a voter a learner. A voter that has nothing can hold up the
//! very entry that adds it; and a replica that may keep its vote needs no demotion, only removal.

use std::cmp::Reverse;
use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ringfort_types::{Entry, ReplicaId};

use crate::guard::{Guard, Guards};

/// First byte of the payload of an entry that is a configuration. Payloads of hosts begin with another byte.
pub const CONFIGURATION_MARK: u8 = 0xff;
const FORMAT: u8 = 1;
/// Members that a configuration has at most, those on their way out included.
pub const MEMBERS_MAX: usize = 64;

/// A replica that receives everything and decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Learner {
    /// Which.
    pub id: ReplicaId,
    /// The voter whose place it is to take.
    pub replaces: Option<ReplicaId>,
}

/// Who is in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Configuration {
    voters: Vec<ReplicaId>,
    outgoing: Vec<ReplicaId>,
    learners: Vec<Learner>,
    highest: ReplicaId,
}

/// How far a group's membership has come: greater with every change that is not joint any more, on whichever replica it is
/// looked at. An index would not do: where a replica started or took a snapshot behind a configuration's entry, it knows no
/// other than that of its own beginning.
///
/// Members come under ids above all before, so that `highest` rises; they never come back, and only ever go from learner to
/// voter to gone, so that with the same `highest` less is left to happen to them. So no configuration is ever had twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    highest: ReplicaId,
    /// Changes that its members have before them: two for a learner, one for a voter.
    left: Reverse<usize>,
}

impl Age {
    /// Of a configuration with so many voters and learners, whose group has had no id above `highest`.
    #[must_use]
    pub fn new(highest: ReplicaId, voters: usize, learners: usize) -> Self {
        Self { highest, left: Reverse(2 * learners + voters) }
    }
}

/// One step from a configuration to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds a learner.
    AddLearner(Learner),
    /// Makes a learner a voter; instead of the voter it replaces, if there is one.
    Promote(ReplicaId),
    /// Removes a voter or a learner.
    Remove(ReplicaId),
}

/// Why a change was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another change is under way; later, this one may be possible.
    #[error("another change of the configuration is under way")]
    UnderWay,
    /// The leader has committed nothing in its term; soon, the change may be possible.
    #[error("the leader has not committed an entry of its term yet")]
    TermNotCommitted,
    /// The learner has not caught up; later, it may be promoted.
    #[error("replica {0} has not caught up yet")]
    NotCaughtUp(ReplicaId),
    /// Nothing is to be changed.
    #[error("there is nothing to change")]
    Nothing,
    /// The id was used before.
    #[error("replica {0} was in this group before, or a later one was: ids only rise")]
    IdUsed(ReplicaId),
    /// Named twice.
    #[error("replica {0} is named twice")]
    NamedTwice(ReplicaId),
    /// Not there.
    #[error("replica {0} is not in the group as it would have to be")]
    NotThere(ReplicaId),
    /// A promotion that is a swap stands alone.
    #[error("the promotion of replica {0} swaps it for a voter, and stands alone")]
    SwapStandsAlone(ReplicaId),
    /// Nobody would be left to decide.
    #[error("no voter would be left")]
    NoVoter,
    /// Too many members.
    #[error("a group has at most {MEMBERS_MAX} members")]
    TooMany,
    /// The proposal was refused.
    #[error(transparent)]
    Proposal(#[from] crate::effects::ProposeError),
}

/// Bytes that are no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no configuration of format {FORMAT}")]
pub struct DecodeError;

impl Configuration {
    /// The configuration a group is founded with. Ids are sorted, repeated ones dropped.
    #[must_use]
    pub fn founding(voters: impl IntoIterator<Item = ReplicaId>) -> Self {
        let mut voters: Vec<_> = voters.into_iter().collect();
        voters.sort_unstable();
        voters.dedup();
        let highest = voters.last().copied().unwrap_or_default();
        Self { voters, outgoing: Vec::new(), learners: Vec::new(), highest }
    }

    /// Any configuration, as it stands in tests and in what another version wrote.
    ///
    /// # Errors
    /// It breaks a rule: no voter, ids that are 0, above `highest`, unsorted or repeated, too many members.
    pub fn new(
        voters: Vec<ReplicaId>,
        outgoing: Vec<ReplicaId>,
        learners: Vec<Learner>,
        highest: ReplicaId,
    ) -> Result<Self, DecodeError> {
        let rises = |ids: &[ReplicaId]| ids.windows(2).all(|pair| pair[0] < pair[1]);
        let learner_ids: Vec<_> = learners.iter().map(|learner| learner.id).collect();
        let known = |id: &ReplicaId| *id > ReplicaId(0) && *id <= highest;
        let replaced = learners.iter().filter_map(|learner| learner.replaces.as_ref());
        let named = voters.iter().chain(&outgoing).chain(&learner_ids).chain(replaced);
        let all_known = named.into_iter().all(known);
        let apart = learner_ids.iter().all(|id| !voters.contains(id) && !outgoing.contains(id));
        let members = voters.len() + outgoing.len() + learners.len();
        let sorted = rises(&voters) && rises(&outgoing) && rises(&learner_ids);
        if voters.is_empty() || !sorted || !all_known || !apart || members > MEMBERS_MAX {
            return Err(DecodeError);
        }
        Ok(Self { voters, outgoing, learners, highest })
    }

    /// Nobody: the replica has not been told yet.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.voters.is_empty()
    }

    /// Those who decide; in a joint configuration, those who will.
    #[must_use]
    pub fn voters(&self) -> &[ReplicaId] {
        &self.voters
    }

    /// Those who decided before, and still do; empty where the configuration is not joint.
    #[must_use]
    pub fn outgoing(&self) -> &[ReplicaId] {
        &self.outgoing
    }

    /// Those who receive.
    #[must_use]
    pub fn learners(&self) -> &[Learner] {
        &self.learners
    }

    /// The greatest id that the group ever had.
    #[must_use]
    pub fn highest(&self) -> ReplicaId {
        self.highest
    }

    /// Whether both halves decide.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the replica votes, in either half.
    #[must_use]
    pub fn is_voter(&self, id: ReplicaId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Whether the replica is there at all.
    #[must_use]
    pub fn contains(&self, id: ReplicaId) -> bool {
        self.is_voter(id) || self.learners.iter().any(|learner| learner.id == id)
    }

    /// Whether this replica decides alone.
    #[must_use]
    pub fn is_alone(&self, id: ReplicaId) -> bool {
        self.voters == [id] && (self.outgoing.is_empty() || self.outgoing == [id])
    }

    /// All members, each once, by id.
    #[must_use]
    pub fn members(&self) -> Vec<ReplicaId> {
        let mut all: Vec<_> = self.ids().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// All members, those of both halves twice.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ReplicaId> {
        let learners = self.learners.iter().map(|learner| learner.id);
        self.voters.iter().chain(&self.outgoing).copied().chain(learners)
    }

    /// The joint configuration that begins these changes.
    ///
    /// # Errors
    /// They do not fit this configuration.
    pub fn begin(&self, changes: &[Change], guards: Guards) -> Result<Self, ChangeError> {
        if self.is_joint() {
            return Err(ChangeError::UnderWay);
        }
        if changes.is_empty() {
            return Err(ChangeError::Nothing);
        }
        let mut next = self.clone();
        next.outgoing = self.voters.clone();
        let mut named = Vec::with_capacity(changes.len());
        for change in changes {
            let id = next.take(*change, changes.len(), guards)?;
            if named.contains(&id) {
                return Err(ChangeError::NamedTwice(id));
            }
            named.push(id);
        }
        if next.voters.is_empty() {
            return Err(ChangeError::NoVoter);
        }
        if next.voters.len() + next.outgoing.len() + next.learners.len() > MEMBERS_MAX {
            return Err(ChangeError::TooMany);
        }
        Ok(next)
    }

    /// How far the group's membership has come with this.
    #[must_use]
    pub fn age(&self) -> Age {
        Age::new(self.highest, self.voters.len(), self.learners.len())
    }

    /// The configuration that a joint one is left for.
    #[must_use]
    pub fn leave(&self) -> Self {
        Self { outgoing: Vec::new(), ..self.clone() }
    }

    fn take(
        &mut self,
        change: Change,
        changes: usize,
        guards: Guards,
    ) -> Result<ReplicaId, ChangeError> {
        match change {
            Change::AddLearner(learner) => {
                if learner.id <= self.highest {
                    return Err(ChangeError::IdUsed(learner.id));
                }
                if let Some(replaced) = learner.replaces.filter(|id| !self.voters.contains(id)) {
                    return Err(ChangeError::NotThere(replaced));
                }
                self.highest = learner.id;
                self.learners.push(learner);
                Ok(learner.id)
            }
            Change::Promote(id) => {
                let learner = self.take_learner(id).ok_or(ChangeError::NotThere(id))?;
                if let Some(replaced) =
                    learner.replaces.filter(|_| guards.has(Guard::PromotionIsSwap))
                {
                    if changes != 1 {
                        return Err(ChangeError::SwapStandsAlone(id));
                    }
                    self.take_voter(replaced).ok_or(ChangeError::NotThere(replaced))?;
                }
                self.voters.push(id);
                self.voters.sort_unstable();
                Ok(id)
            }
            Change::Remove(id) => match self.take_voter(id) {
                Some(id) => Ok(id),
                None => Ok(self.take_learner(id).ok_or(ChangeError::NotThere(id))?.id),
            },
        }
    }

    fn take_voter(&mut self, id: ReplicaId) -> Option<ReplicaId> {
        let position = self.voters.iter().position(|voter| *voter == id)?;
        Some(self.voters.remove(position))
    }

    fn take_learner(&mut self, id: ReplicaId) -> Option<Learner> {
        let position = self.learners.iter().position(|learner| learner.id == id)?;
        Some(self.learners.remove(position))
    }

    /// The bytes of the configuration: the payload of its entry, and what a host keeps beside its state.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let ids = self.voters.len() + self.outgoing.len() + 2 * self.learners.len();
        let mut out = BytesMut::with_capacity(13 + 8 * ids);
        out.put_u8(CONFIGURATION_MARK);
        out.put_u8(FORMAT);
        out.put_u64_le(self.highest.0);
        for count in [self.voters.len(), self.outgoing.len(), self.learners.len()] {
            out.put_u8(u8::try_from(count).unwrap_or(u8::MAX));
        }
        for id in self.voters.iter().chain(&self.outgoing) {
            out.put_u64_le(id.0);
        }
        for learner in &self.learners {
            out.put_u64_le(learner.id.0);
            out.put_u64_le(learner.replaces.unwrap_or_default().0);
        }
        out.freeze()
    }

    /// The configuration with these bytes.
    ///
    /// # Errors
    /// They are of another format, or break a rule of configurations.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        let input = &mut bytes;
        let format = (input.try_get_u8(), input.try_get_u8());
        if format != (Ok(CONFIGURATION_MARK), Ok(FORMAT)) {
            return Err(DecodeError);
        }
        let highest = get_id(input)?;
        let mut count = || input.try_get_u8().map(usize::from).map_err(|_| DecodeError);
        let (voters, outgoing, learners) = (count()?, count()?, count()?);
        let voters = (0..voters).map(|_| get_id(input)).collect::<Result<_, _>>()?;
        let outgoing = (0..outgoing).map(|_| get_id(input)).collect::<Result<_, _>>()?;
        let learners = (0..learners).map(|_| get_learner(input)).collect::<Result<_, _>>()?;
        if !input.is_empty() {
            return Err(DecodeError);
        }
        Self::new(voters, outgoing, learners, highest)
    }

    /// The configuration that an entry is, if it is one.
    ///
    /// # Errors
    /// The entry says that it is one, and is not: it was damaged, or a newer version wrote it.
    pub fn of_entry(entry: &Entry) -> Result<Option<Self>, DecodeError> {
        match entry.payload.first() {
            Some(&CONFIGURATION_MARK) => Self::decode(&entry.payload).map(Some),
            _ => Ok(None),
        }
    }
}

fn get_id(input: &mut &[u8]) -> Result<ReplicaId, DecodeError> {
    input.try_get_u64_le().map(ReplicaId).map_err(|_| DecodeError)
}

fn get_learner(input: &mut &[u8]) -> Result<Learner, DecodeError> {
    let (id, replaces) = (get_id(input)?, get_id(input)?);
    Ok(Learner { id, replaces: Some(replaces).filter(|id| *id != ReplicaId(0)) })
}

/// `{1 2 4}+{1 2 3} learners {5 for 2}`.
impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_ids(f, &self.voters)?;
        if self.is_joint() {
            f.write_str("+")?;
            write_ids(f, &self.outgoing)?;
        }
        if self.learners.is_empty() {
            return Ok(());
        }
        let learner = |learner: &Learner| match learner.replaces {
            Some(replaced) => format!("{} for {replaced}", learner.id),
            None => learner.id.to_string(),
        };
        let learners: Vec<_> = self.learners.iter().map(learner).collect();
        write!(f, " learners {{{}}}", learners.join(", "))
    }
}

fn write_ids(f: &mut fmt::Formatter<'_>, ids: &[ReplicaId]) -> fmt::Result {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    write!(f, "{{{}}}", ids.join(" "))
}
