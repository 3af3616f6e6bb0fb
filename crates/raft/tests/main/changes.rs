//! Random sequences of changes of membership, in a group that crashes, loses messages and is cut in pieces meanwhile.
//!
//! An operator adds learners, promotes them (as a swap, or not), removes learners and voters, the leader among them, at
//! whichever replica takes the change; it may be an outdated leader. It draws fresh ids, and now and then tries one that the
//! group had before. Every so often everything is healed. What is shown, besides the checks of every step:
//!
//! - The healed group reaches a final configuration, all its members know it committed, and its leader is one of its voters.
//! - Whoever is new in a committed configuration has an id above all that the group ever had.
//! - A committed configuration has a voter.
//!
//! 100,000 changes: `RINGFORT_CAMPAIGN=full cargo test --release -p ringfort-raft --test main changes -- --nocapture`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{
    Change, ChangeError, Configuration, Guard, Guards, Learner, Position, Role, Settings,
};
use ringfort_sim::group::{Cluster, ClusterOptions, Crash, GroupDisk, Violation};
use ringfort_types::{Index, ReplicaId};

use crate::campaign;
use crate::timed::Timed;

/// Changes that leaders take in the run of one seed.
const CHANGES_PER_SEED: u64 = 100;
const MEMBERS_MAX: usize = 7;
/// Within so much time a healed group is final and of one mind.
const HEALED_WITHIN: Duration = Duration::from_secs(30);

/// What happened, by name.
type Counts = BTreeMap<&'static str, u64>;

fn count(counts: &mut Counts, name: &'static str, times: u64) {
    *counts.entry(name).or_default() += times;
}

fn holds(condition: bool, name: &'static str, what: impl Fn() -> String) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(Violation { name, what: what() }) }
}

/// The committed configurations seen so far, in the order of their indexes.
#[derive(Debug, Default)]
struct History {
    newest: (Index, Configuration),
    ever: BTreeSet<ReplicaId>,
}

impl History {
    /// Takes a committed configuration. Some in between may never have been seen.
    fn take(&mut self, index: Index, configuration: &Configuration) -> Result<(), Violation> {
        if index <= self.newest.0 {
            return Ok(());
        }
        let before = &self.newest.1;
        let what = || format!("{before}, then {configuration}");
        holds(!configuration.voters().is_empty(), "somebody_votes", what)?;
        holds(configuration.highest() >= before.highest(), "ids_only_rise", what)?;
        let is_fresh = |id: &ReplicaId| *id > before.highest() && !self.ever.contains(id);
        let all_fresh =
            configuration.members().iter().all(|id| before.contains(*id) || is_fresh(id));
        holds(all_fresh, "ids_are_never_used_again", what)?;
        self.ever.extend(configuration.members());
        self.newest = (index, configuration.clone());
        Ok(())
    }
}

struct Operator {
    timed: Timed,
    history: History,
    next_id: u64,
    taken: u64,
    /// Where changes were taken since the last healing.
    open: Vec<Position>,
    counts: Counts,
}

impl Operator {
    fn new(seed: u64, guards: Guards) -> Self {
        // Logs are short, so that who lags needs a snapshot, in pieces.
        let settings = Settings {
            trailing_bytes: [0, 600, 1 << 20][usize::try_from(seed % 3).unwrap()],
            snapshot_chunk_bytes: 40,
            ..Settings::default()
        };
        let voters = (1..=1 + seed % 4).map(ReplicaId).collect();
        let cluster = Cluster::new(ClusterOptions { voters, settings, guards, seed });
        let mut timed = Timed::new(cluster, seed);
        timed.disk_ms_max = if seed.is_multiple_of(2) { 0 } else { 8 };
        let history = History::default();
        Self { timed, history, next_id: 100, taken: 0, open: Vec::new(), counts: Counts::new() }
    }

    /// Faults, changes and payloads until enough changes were taken; then the final healing.
    fn run(&mut self) -> Result<(), Violation> {
        self.heal()?;
        while self.taken < CHANGES_PER_SEED {
            // Mostly a short time, in which much is under way; sometimes enough for an election on one side of a cut.
            let (least, most) = if self.timed.random.one_in(8) { (500, 4_000) } else { (1, 150) };
            let time = Duration::from_millis(self.timed.random.between(least, most));
            self.timed.pass(time)?;
            self.observe()?;
            match self.timed.random.below(100) {
                0..60 => self.change()?,
                60..70 => self.propose()?,
                70..74 => self.compact(),
                74..78 => self.transfer()?,
                78..98 => self.fault(),
                _ => self.heal()?,
            }
        }
        self.heal()
    }

    fn running(&self, wanted: impl Fn(&ringfort_raft::Group) -> bool) -> Vec<ReplicaId> {
        let groups = self.timed.cluster.nodes.values().filter_map(|node| node.group.as_ref());
        groups.filter(|group| wanted(group)).map(ringfort_raft::Group::id).collect()
    }

    /// Any leader, also one that does not know yet that it is none any more.
    fn some_leader(&mut self) -> Option<ReplicaId> {
        let leaders = self.running(|group| group.role() == Role::Leader);
        self.pick(&leaders)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.timed.random.index(from.len())])
    }

    fn group(&self, id: ReplicaId) -> &ringfort_raft::Group {
        self.timed.cluster.nodes[&id].group.as_ref().unwrap()
    }

    /// Looks at what leaders know committed.
    fn observe(&mut self) -> Result<(), Violation> {
        for id in self.running(|group| group.role() == Role::Leader) {
            let group = self.timed.cluster.nodes[&id].group.as_ref().unwrap();
            let commit = group.commit();
            self.history.take(commit, group.configuration_at(commit))?;
        }
        Ok(())
    }

    // --- what the operator does ---

    fn draw_change(&mut self, leader: ReplicaId) -> Option<Change> {
        let configuration = self.group(leader).configuration().clone();
        let voters = configuration.voters().to_vec();
        let learners: Vec<_> = configuration.learners().iter().map(|learner| learner.id).collect();
        // Groups are to be of three to five voters mostly, but small ones have their own stories.
        let few = voters.len() < 3;
        match self.timed.random.below(10) {
            0..3 if configuration.members().len() < MEMBERS_MAX => {
                let ever: Vec<_> = self.history.ever.iter().copied().collect();
                let id = match self.pick(&ever).filter(|_| self.timed.random.one_in(10)) {
                    Some(used) => used,
                    None => ReplicaId(self.next_id),
                };
                let swap = !few && self.timed.random.one_in(2);
                let replaces = self.pick(&voters).filter(|_| swap);
                Some(Change::AddLearner(Learner { id, replaces }))
            }
            0..7 => self.pick(&learners).map(Change::Promote),
            _ if few && !self.timed.random.one_in(12) => None,
            7 => self.pick(&learners).map(Change::Remove),
            8 => Some(Change::Remove(leader)),
            _ => self.pick(&voters).map(Change::Remove),
        }
    }

    fn change(&mut self) -> Result<(), Violation> {
        let Some(leader) = self.some_leader() else { return Ok(()) };
        let Some(first) = self.draw_change(leader) else { return Ok(()) };
        let second = self.draw_change(leader).filter(|_| self.timed.random.one_in(8));
        let changes: Vec<_> = [first].into_iter().chain(second).collect();
        let outcome = self.timed.cluster.change(leader, &changes).unwrap();
        let name = match outcome {
            Ok(_) => "changes taken",
            Err(ChangeError::UnderWay) => "refused: under way",
            Err(ChangeError::TermNotCommitted) => "refused: term not committed",
            Err(ChangeError::NotCaughtUp(_)) => "refused: not caught up",
            Err(ChangeError::IdUsed(_)) => "refused: id used",
            Err(ChangeError::NoVoter) => "refused: no voter left",
            Err(_) => "refused: other",
        };
        count(&mut self.counts, name, 1);
        if let Ok(position) = outcome {
            self.taken += 1;
            self.open.push(position);
            for change in changes {
                self.note_taken(leader, change);
            }
        }
        self.timed.settle(leader)
    }

    fn note_taken(&mut self, leader: ReplicaId, change: Change) {
        match change {
            Change::AddLearner(learner) => {
                count(&mut self.counts, "learners added", 1);
                if learner.id == ReplicaId(self.next_id) {
                    self.next_id += 1;
                    self.timed.cluster.add(learner.id, GroupDisk::default());
                    self.timed.begin_ticks(learner.id);
                }
            }
            Change::Promote(_) => count(&mut self.counts, "promoted", 1),
            Change::Remove(id) if id == leader => count(&mut self.counts, "removed itself", 1),
            Change::Remove(_) => count(&mut self.counts, "removed", 1),
        }
    }

    fn propose(&mut self) -> Result<(), Violation> {
        let Some(leader) = self.some_leader() else { return Ok(()) };
        let _ = self.timed.cluster.propose(leader, Bytes::from_static(b"some payload"));
        self.timed.settle(leader)
    }

    fn compact(&mut self) {
        let all = self.timed.cluster.ids();
        if let Some(id) = self.pick(&all) {
            self.timed.cluster.with(id, |node, _| node.compact());
        }
    }

    fn transfer(&mut self) -> Result<(), Violation> {
        let Some(leader) = self.some_leader() else { return Ok(()) };
        let voters = self.group(leader).configuration().voters().to_vec();
        let Some(to) = self.pick(&voters) else { return Ok(()) };
        let asked = self.timed.cluster.with(leader, |node, now| {
            let now = node.clock(now);
            node.group.as_mut().is_some_and(|group| group.transfer(now, to).is_ok())
        });
        count(&mut self.counts, "transfers", u64::from(asked == Some(true)));
        self.timed.settle(leader)
    }

    // --- what goes wrong ---

    fn fault(&mut self) {
        match self.timed.random.below(8) {
            0..3 => self.crash_somebody(),
            3 => {
                for id in self.stopped() {
                    self.timed.cluster.restart(id);
                }
            }
            4 => self.timed.loses_one_in = [0, 2, 5, 20][self.timed.random.index(4)],
            5 => self.cut_in_two(),
            6 => self.cut_one_way(),
            _ => self.timed.cut.clear(),
        }
    }

    fn stopped(&self) -> Vec<ReplicaId> {
        let nodes = self.timed.cluster.nodes.iter();
        nodes.filter(|(_, node)| node.group.is_none()).map(|(id, _)| *id).collect()
    }

    fn crash_somebody(&mut self) {
        let leader = self.some_leader().filter(|_| self.timed.random.below(3) > 0);
        let all = self.running(|_| true);
        let Some(id) = leader.or_else(|| self.pick(&all)) else { return };
        let crash = if self.timed.random.one_in(2) {
            Crash::Process
        } else {
            let whole = self.timed.random.index(3);
            Crash::Power { whole, torn_entries: self.timed.random.index(3) }
        };
        count(&mut self.counts, "crashes", 1);
        count(&mut self.counts, "crashes of leaders", u64::from(leader.is_some()));
        self.count_ended(id);
        self.timed.cluster.crash(id, crash);
        if self.timed.random.one_in(2) {
            self.timed.cluster.restart(id);
        }
    }

    fn cut_in_two(&mut self) {
        count(&mut self.counts, "cuts", 1);
        let side: BTreeMap<_, _> = self
            .timed
            .cluster
            .ids()
            .into_iter()
            .map(|id| (id, self.timed.random.one_in(2)))
            .collect();
        for (from, one) in &side {
            for (to, other) in &side {
                if one != other {
                    self.timed.cut.insert((*from, *to));
                }
            }
        }
    }

    fn cut_one_way(&mut self) {
        count(&mut self.counts, "cuts", 1);
        let all = self.timed.cluster.ids();
        for _ in 0..1 + self.timed.random.below(4) {
            let (Some(from), Some(to)) = (self.pick(&all), self.pick(&all)) else { return };
            self.timed.cut.insert((from, to));
        }
    }

    /// A replica's counters end with it.
    fn count_ended(&mut self, id: ReplicaId) {
        let node = &self.timed.cluster.nodes[&id];
        let Some(counters) = node.group.as_ref().map(|group| group.status().counters) else {
            return;
        };
        let counts = &mut self.counts;
        count(counts, "terms led", counters.terms_led);
        count(counts, "conflicts truncated", counters.truncations);
        count(counts, "joint configurations left", counters.changes_ended);
        let others = counters.changes_ended.saturating_sub(counters.changes_begun);
        count(counts, "joint configurations left by another leader", others);
        count(counts, "removed leaders that stepped down", counters.removals);
        count(counts, "snapshots installed", counters.snapshots_installed);
    }

    // --- healing ---

    /// Ends all faults, waits until the group is final and of one mind, and takes away who does not belong to it.
    fn heal(&mut self) -> Result<(), Violation> {
        self.timed.cut.clear();
        self.timed.loses_one_in = 0;
        for id in self.stopped() {
            self.timed.cluster.restart(id);
        }
        let began = self.timed.cluster.now;
        while !self.is_of_one_mind() {
            self.timed.step()?;
            let since = self.timed.cluster.now.since(began);
            holds(since < HEALED_WITHIN, "final_after_healing", || self.describe())?;
        }
        self.observe()?;
        count(&mut self.counts, "healings", 1);
        let leader = self.timed.cluster.leader().unwrap();
        let leader = self.timed.cluster.nodes[&leader].group.as_ref().unwrap();
        let lost = |position: &Position| {
            leader.term_at(position.index).is_some_and(|term| term != position.term)
        };
        count(
            &mut self.counts,
            "changes rolled back",
            self.open.drain(..).filter(lost).count() as u64,
        );
        let configuration = leader.configuration().clone();
        for id in self.timed.cluster.ids() {
            if !configuration.contains(id) {
                self.count_ended(id);
                self.timed.cluster.nodes.remove(&id);
                self.timed.cluster.checks.forget(id);
            }
        }
        Ok(())
    }

    fn is_of_one_mind(&self) -> bool {
        let Some(leader) = self.timed.cluster.leader() else { return false };
        let leader = self.group(leader);
        let configuration = leader.configuration();
        let last = leader.status().last;
        let agrees = |id: &ReplicaId| {
            self.timed.cluster.nodes.get(id).and_then(|node| node.group.as_ref()).is_some_and(
                |group| {
                    group.commit() == last
                        && group.configuration() == configuration
                        && group.leader() == leader.leader()
                },
            )
        };
        !configuration.is_joint()
            && configuration.is_voter(leader.id())
            && configuration.members().iter().all(agrees)
    }

    fn describe(&self) -> String {
        let groups = self.timed.cluster.nodes.values().filter_map(|node| node.group.as_ref());
        let lines = groups.map(|group| {
            let status = group.status();
            format!(
                "\n{} {:?} term {} leader {:?} commit {} last {} {} {:?}",
                group.id(),
                status.role,
                status.term,
                status.leader.map(|id| id.0),
                status.commit,
                status.last,
                status.configuration,
                status
                    .peers
                    .iter()
                    .map(|peer| (peer.id.0, peer.matched.0, peer.next.0, &peer.sending))
                    .collect::<Vec<_>>()
            )
        });
        lines.collect()
    }
}

fn run(seed: u64, guards: Guards) -> (Counts, Result<(), Violation>) {
    let mut operator = Operator::new(seed, guards);
    let outcome = operator.run();
    for id in operator.running(|_| true) {
        operator.count_ended(id);
    }
    (operator.counts, outcome)
}

#[test]
fn changes_always_end_in_a_final_configuration() {
    let mut total = Counts::new();
    campaign::each_seed("changes_always_end", 20, 1000, |seed| {
        let (counts, outcome) = run(seed, Guards::default());
        outcome.unwrap();
        for (name, times) in counts {
            count(&mut total, name, times);
        }
    });
    println!("{total:#?}");
    if std::env::var_os("RINGFORT_SEED").is_none() {
        // A campaign in which one of these hardly occurs shows nothing.
        for (name, least) in [
            ("crashes of leaders", 50),
            ("removed itself", 50),
            ("terms led", 200),
            ("joint configurations left by another leader", 1),
            ("changes rolled back", 1),
            ("snapshots installed", 200),
            ("transfers", 20),
            ("refused: id used", 20),
        ] {
            let times = total.get(name).copied().unwrap_or_default();
            assert!(times >= campaign::size(least, 20 * least), "{name}: only {times}");
        }
    }
}

/// Without any of these, one of a hundred seeds breaks something by name.
#[test]
fn changes_need_their_guards() {
    for guard in [
        Guard::BothHalves,
        Guard::ConfigurationRolledBack,
        Guard::AutoLeave,
        Guard::RemovedLeaderNotCounted,
        Guard::RemovedLeaderStepsDown,
        Guard::LearnerVotes,
    ] {
        let broken = |seed| run(seed, Guards::without(guard)).1.err().map(|what| (seed, what.name));
        let found = (0..100).find_map(broken);
        println!("without {guard:?}: {found:?}");
        assert!(found.is_some(), "nobody misses {guard:?}");
    }
}
