//! Elections: when to ask, whom, and when to answer yes.
//!
//! Pre-vote, check-quorum and vote stickiness are one package (dissertation, sections 4.2.3 and 9.6): none of them keeps a
//! cluster calm without the others.
//!
//! - *Pre-vote*: nobody raises the term who could not win. Asking costs nothing and changes nothing.
//! - *Stickiness*: whoever hears from a leader helps nobody to replace it.
//! - *Check-quorum*: a leader that hears from no quorum steps down, so that stickiness ends (see `heartbeat`).
//!
//! A voter answers no, besides, until a time: it has promised that to a leader with each acknowledged heartbeat, and after
//! its start it does not know what it had promised. A transfer overrides both, since that leader has given up its lease.

use ringfort_types::{Monotonic, ReplicaId, Term};

use super::{Follower, Group, State};
use crate::config::Priority;
use crate::guard::Guard;
use crate::message::Body;
use crate::position::Position;
use crate::quorum::{Election, election};

/// Answers to a candidate, each voter's first.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Votes(Vec<(ReplicaId, bool)>);

impl Votes {
    fn record(&mut self, from: ReplicaId, granted: bool) {
        if self.of(from).is_none() {
            self.0.push((from, granted));
        }
    }

    fn of(&self, id: ReplicaId) -> Option<bool> {
        self.0.iter().find(|(from, _)| *from == id).map(|(_, granted)| *granted)
    }
}

/// Whoever asks for votes because the connection to the leader broke spreads that over this part of the election timeout: two
/// followers then rarely ask within the time that it takes to store a vote.
const HASTY_SPREAD: u32 = 4;

impl Group {
    /// Promises may be out that this replica made before its start: it votes for nobody until the longest of them ends. Where
    /// it decides alone, nobody else can hold one, and it leads at once.
    pub(super) fn begin_quiet_time(&mut self) {
        let alone = self.is_alone();
        if !alone && self.has(Guard::QuietAfterStart) {
            self.no_vote_until = self.now + self.config.settings.lease_max;
        }
        self.reset_election_due();
        if alone && self.may_campaign() {
            self.campaign(false);
        }
    }

    pub(super) fn reset_election_due(&mut self) {
        let shortest = self.config.settings.election_timeout;
        let extra = match self.config.priority {
            Priority::Low => shortest,
            Priority::Normal | Priority::Never => std::time::Duration::ZERO,
        };
        let spread = self.random.below(shortest);
        let due = self.now + shortest + extra + spread;
        // Where votes are barred for longer than that, those who wait still do not ask all at once.
        self.election_due = due.max(self.no_vote_until + spread / 2);
    }

    /// The connection to the leader broke: most likely its process is gone. Votes are asked for no sooner than the election
    /// timeout allows, but with less of a spread on top of it. A leader that is still there is heard of again before that.
    pub(super) fn hasten_election(&mut self) {
        let shortest = self.config.settings.election_timeout;
        let spread_max = shortest / HASTY_SPREAD;
        let Some(heard) = self.leader_heard else { return };
        let latest = (heard + shortest).max(self.no_vote_until) + spread_max;
        // Once for each time that it was heard: the earliest of many draws would be no spread.
        let eager = self.config.priority == Priority::Normal && !self.asleep;
        if eager && self.election_due > latest {
            self.election_due = latest - self.random.below(spread_max);
        }
    }

    pub(super) fn tick_election(&mut self) {
        if self.now < self.election_due {
            return;
        }
        if self.may_campaign() {
            self.ask_pre_votes();
        } else {
            self.reset_election_due();
        }
    }

    /// Whether this replica may try to lead.
    pub(super) fn may_campaign(&self) -> bool {
        self.config.priority != Priority::Never
            && self.now >= self.no_vote_until
            && self.could_lead()
    }

    /// Whether this replica is fit to lead at all. Who is removed may lead until it knows that this is committed: the entry
    /// that removes it may be nowhere else, and then nobody else can win (dissertation, section 4.2.2). What it knows may be
    /// old, of before it was a voter, so each configuration from there on counts.
    pub(super) fn could_lead(&self) -> bool {
        let me = self.config.replica;
        let mut open = self.log.configurations_from(self.commit).iter();
        open.any(|(_, configuration)| configuration.is_voter(me))
            && (!self.has_lost() || !self.has(Guard::LostEntriesNoVote))
            && !self.is_installing()
            && !self.is_stalled()
    }

    /// Whether this replica's disk is too slow to lead with, where somebody else could.
    pub(super) fn is_stalled(&self) -> bool {
        let limit = self.config.settings.stall_timeout;
        !limit.is_zero()
            && !self.is_alone()
            && self.has(Guard::StalledDiskStepsDown)
            && self.persisting.oldest_age(self.now) >= limit
    }

    /// Whether this replica hears from a leader, or leads.
    pub(super) fn is_sticky(&self) -> bool {
        let heard = self.leader_heard.is_some_and(|heard| {
            self.leader.is_some() && self.now.since(heard) < self.config.settings.election_timeout
        });
        self.has(Guard::VoteStickiness) && (heard || matches!(self.state, State::Leader(_)))
    }

    /// Whether this replica may give a vote, or say that it would.
    fn may_vote(&self, transfer: bool) -> bool {
        let overrides = transfer && self.has(Guard::TransferOverridesPromise);
        let blank = self.configuration().is_blank() && self.has(Guard::BlankRefused);
        let lost = self.has_lost() && self.has(Guard::LostEntriesNoVote);
        // Whether this replica is a voter is for the candidate's configuration to say: this one's may be older.
        let learner =
            !self.has(Guard::LearnerVotes) && !self.configuration().is_voter(self.config.replica);
        (overrides || self.now >= self.no_vote_until) && !blank && !lost && !learner
    }

    fn is_up_to_date(&self, last: Position) -> bool {
        last >= self.log.last() || !self.has(Guard::VoteComparesLogs)
    }

    // --- becoming ---

    /// Follows a term's leader, or nobody yet. Whatever this replica was before ends.
    pub(super) fn become_follower(&mut self, term: Term, leader: Option<ReplicaId>) {
        if term > self.term {
            self.set_hard_state(term, None);
        }
        self.leave_state(State::Follower(Follower::default()));
        self.leader = leader;
        self.leader_heard = leader.map(|_| self.now);
        self.reset_election_due();
    }

    pub(super) fn set_hard_state(&mut self, term: Term, vote: Option<ReplicaId>) {
        self.term = term;
        self.vote = vote;
        self.persisting.note_hard_state();
        // Nobody waits any more for what an older term had to say.
        self.held.retain(|(_, message)| message.term == term);
    }

    /// Enters a state, and ends what the one before had begun.
    pub(super) fn leave_state(&mut self, next: State) {
        self.led = self.led();
        if let State::Leader(leader) = std::mem::replace(&mut self.state, next) {
            self.end_leadership(*leader);
        }
    }

    fn ask_pre_votes(&mut self) {
        if self.is_alone() || !self.has(Guard::PreVote) {
            return self.campaign(false);
        }
        self.counters.pre_votes += 1;
        let mut votes = Votes::default();
        votes.record(self.config.replica, true);
        self.leave_state(State::PreCandidate(votes));
        self.leader = None;
        self.reset_election_due();
        let (term, last) = (Term(self.term.0 + 1), self.log.last());
        for voter in self.other_voters() {
            self.send_in_term(voter, term, Body::PreVote { last });
        }
    }

    /// Asks for votes in the next term.
    pub(super) fn campaign(&mut self, transfer: bool) {
        self.counters.elections += 1;
        let me = self.config.replica;
        self.set_hard_state(Term(self.term.0 + 1), Some(me));
        self.leave_state(State::Candidate(Votes::default()));
        self.leader = None;
        self.reset_election_due();
        let last = self.log.last();
        for voter in self.other_voters() {
            // Held until this replica's own vote is durable: after a crash it could ask again in the same term, with a
            // shorter log, and take an answer to the first question for one to the second.
            self.send_held(voter, Body::Vote { last, transfer });
        }
        self.settle_own_vote();
    }

    fn other_voters(&self) -> Vec<ReplicaId> {
        let configuration = self.configuration();
        let mut others = configuration.members();
        others.retain(|id| *id != self.config.replica && configuration.is_voter(*id));
        others
    }

    /// Counts this candidate's vote for itself once it is durable.
    pub(super) fn settle_own_vote(&mut self) {
        let durable = self.persisting.hard_state_durable() || !self.has(Guard::VoteDurable);
        if durable && let State::Candidate(votes) = &mut self.state {
            votes.record(self.config.replica, true);
            self.settle_election();
        }
    }

    // --- messages ---

    pub(super) fn handle_pre_vote(&mut self, from: ReplicaId, term: Term, last: Position) {
        if term <= self.term {
            // The asker is behind. If it is the only one whose log can win, it has to learn the term first.
            if self.has(Guard::PreVoteAnswersOldTerm) {
                self.send(from, Body::PreVoteAnswer { granted: false });
            }
            return;
        }
        let granted = self.may_vote(false) && !self.is_sticky() && self.is_up_to_date(last);
        // A refusal is of the term that the asker is in, so that it counts there.
        let term = if granted { term } else { Term(term.0 - 1) };
        self.send_in_term(from, term, Body::PreVoteAnswer { granted });
    }

    pub(super) fn handle_pre_vote_answer(&mut self, from: ReplicaId, term: Term, granted: bool) {
        let asked = if granted { Term(self.term.0 + 1) } else { self.term };
        match &mut self.state {
            State::PreCandidate(_) if term == asked => self.count_vote(from, granted),
            _ => self.counters.dropped_stale += 1,
        }
    }

    pub(super) fn handle_vote(&mut self, from: ReplicaId, last: Position, transfer: bool) {
        let free = match self.vote {
            Some(candidate) => candidate == from || !self.has(Guard::OneVotePerTerm),
            None => self.leader.is_none(),
        };
        let follows = matches!(self.state, State::Follower(_)) || !self.has(Guard::OneVotePerTerm);
        let granted = free && follows && self.may_vote(transfer) && self.is_up_to_date(last);
        if !granted {
            return self.send(from, Body::VoteAnswer { granted: false });
        }
        if self.vote != Some(from) {
            self.vote = Some(from);
            self.persisting.note_hard_state();
        }
        self.reset_election_due();
        self.send_held(from, Body::VoteAnswer { granted: true });
    }

    pub(super) fn handle_vote_answer(&mut self, from: ReplicaId, granted: bool) {
        match &mut self.state {
            State::Candidate(_) => self.count_vote(from, granted),
            _ => self.counters.dropped_stale += 1,
        }
    }

    /// Counts the answer of a voter; nobody else was asked.
    fn count_vote(&mut self, from: ReplicaId, granted: bool) {
        if !self.configuration().is_voter(from) {
            self.counters.dropped_unknown += 1;
            return;
        }
        if let State::PreCandidate(votes) | State::Candidate(votes) = &mut self.state {
            votes.record(from, granted);
            self.settle_election();
        }
    }

    fn settle_election(&mut self) {
        let (State::PreCandidate(votes) | State::Candidate(votes)) = &self.state else { return };
        let configuration = self.log.configuration().1;
        let result = election(configuration, self.config.guards, |id| votes.of(id));
        match (result, &self.state) {
            (Election::Open, _) => {}
            (Election::Won, State::PreCandidate(_)) => self.campaign(false),
            (Election::Won, _) => self.become_leader(),
            (Election::Lost, _) => {
                // The time of the next attempt stands.
                self.leave_state(State::Follower(Follower::default()));
            }
        }
    }

    /// Bars votes until a time, if they are not barred for longer already.
    pub(super) fn promise(&mut self, until: Monotonic) {
        if self.has(Guard::PromiseKept) {
            self.no_vote_until = self.no_vote_until.max(until);
        }
    }
}
