//! Every way in which links between replicas can fail and stay so: all 64 directed graphs of three replicas and all 1,024
//! undirected ones of five.
//!
//! A cluster elects a leader and commits, everything connected; then only the links of the graph are left. What is shown:
//!
//! - *Progress.* If some replica has two-way links to a quorum, itself included, of which nobody's log is newer, then what is
//!   proposed after the cut is committed within five election timeouts: the 99th percentile of the seeds of each graph.
//! - *No storm.* In every graph terms rise by no more than [`TERMS_MAX`] within 20 election timeouts, be the group busy or
//!   idle; and where the leader keeps two-way links to a quorum, it goes on leading, in its term.
//!
//! Where there is no such replica, nothing is claimed. Where links alone are the reason, nothing can be committed either: who
//! acknowledges an entry answers over the link back.
//!
//! All of it, with its table: `RINGFORT_CAMPAIGN=full cargo test --release -p ringfort-raft --test main connectivity --
//! --nocapture`.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ringfort_raft::{Guard, Guards, Position, Reads, Role, Settings};
use ringfort_sim::group::{Cluster, ClusterOptions};
use ringfort_types::{Monotonic, ReplicaId, Term};

use crate::campaign;
use crate::timed::Timed;

const PROGRESS_TIMEOUTS: u32 = 5;
const WATCHED_TIMEOUTS: u32 = 20;
/// Terms that elections may use up while they are watched: one for the election that a cut makes necessary, and some for
/// candidates that ask at the same time.
const TERMS_MAX: u64 = 3;

/// Which replicas hear from which.
#[derive(Clone, Debug)]
struct Graph {
    name: String,
    replicas: u64,
    links: BTreeSet<(u64, u64)>,
}

impl Graph {
    fn directed(bits: u32, replicas: u64) -> Self {
        let pairs = (1..=replicas).flat_map(|from| (1..=replicas).map(move |to| (from, to)));
        let pairs = pairs.filter(|(from, to)| from != to).enumerate();
        let links: Vec<_> =
            pairs.filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, pair)| pair).collect();
        Self::directed_of(&links, replicas)
    }

    fn directed_of(links: &[(u64, u64)], replicas: u64) -> Self {
        let arrows: Vec<_> = links.iter().map(|(from, to)| format!("{from}>{to}")).collect();
        Self { name: arrows.join(" "), replicas, links: links.iter().copied().collect() }
    }

    fn undirected(bits: u32, replicas: u64) -> Self {
        let pairs =
            (1..=replicas).flat_map(|one| (one + 1..=replicas).map(move |other| (one, other)));
        let kept: Vec<_> = pairs
            .enumerate()
            .filter(|(bit, _)| bits & (1 << bit) != 0)
            .map(|(_, pair)| pair)
            .collect();
        let lines: Vec<_> = kept.iter().map(|(one, other)| format!("{one}-{other}")).collect();
        let links = kept.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]).collect();
        Self { name: lines.join(" "), replicas, links }
    }

    fn two_way(&self, one: u64, other: u64) -> bool {
        self.links.contains(&(one, other)) && self.links.contains(&(other, one))
    }

    /// Whether no renaming of the replicas gives an earlier graph.
    fn is_first_of_its_shape(&self) -> bool {
        let renamed = |names: &[u64]| -> BTreeSet<(u64, u64)> {
            let name = |id: u64| names[usize::try_from(id).unwrap() - 1];
            self.links.iter().map(|(from, to)| (name(*from), name(*to))).collect()
        };
        let names: Vec<_> = (1..=self.replicas).collect();
        permutations(&names).iter().all(|names| renamed(names) >= self.links)
    }

    /// Whether a replica has two-way links to a quorum, itself included, of such as hold something.
    fn reaches_quorum(&self, center: u64, holds: impl Fn(u64) -> bool) -> bool {
        let counts = |other: &u64| self.two_way(center, *other) && holds(*other);
        let others = (1..=self.replicas).filter(counts).count() as u64;
        (others + 1) * 2 > self.replicas
    }

    /// Whether some replica has two-way links to a quorum of which nobody's log is newer.
    fn has_witness(&self, last: impl Fn(u64) -> Position) -> bool {
        let is_witness = |center| self.reaches_quorum(center, |other| last(other) <= last(center));
        (1..=self.replicas).any(is_witness)
    }
}

fn permutations(of: &[u64]) -> Vec<Vec<u64>> {
    let Some((first, rest)) = of.split_first() else { return vec![Vec::new()] };
    let insert = |shorter: &Vec<u64>, at: usize| {
        let mut longer = shorter.clone();
        longer.insert(at, *first);
        longer
    };
    let shorter = permutations(rest);
    shorter.iter().flat_map(|shorter| (0..of.len()).map(move |at| insert(shorter, at))).collect()
}

/// What came of one seed of one graph.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// A witness stood when the links were cut.
    claimed: bool,
    /// When what was proposed after the cut was first committed, if it was.
    resumed: Option<Duration>,
    /// A witness stands at the end of the time for it.
    claimed_late: bool,
    /// The leader kept two-way links to a quorum.
    kept: bool,
    terms: u64,
}

/// What happens after the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// Whoever leads proposes, until something is committed.
    Progress,
    /// Whoever leads proposes, to the end of the time in which storms are watched.
    Busy,
    /// Nothing is proposed: all logs stay equal, and anybody might be elected.
    Idle,
}

struct Watched {
    timed: Timed,
    proposed: Vec<Position>,
    proposes: bool,
}

impl Watched {
    fn new(replicas: u64, seed: u64, guards: Guards) -> Self {
        // With a lease the promise not to vote stands in for stickiness; without one, stickiness is alone.
        let reads = if seed.is_multiple_of(2) { Reads::Lease } else { Reads::Index };
        let cluster = Cluster::new(ClusterOptions {
            voters: (1..=replicas).map(ReplicaId).collect(),
            settings: Settings { reads, ..Settings::default() },
            guards,
            seed,
        });
        Self { timed: Timed::new(cluster, seed), proposed: Vec::new(), proposes: true }
    }

    /// One step; whoever leads proposes when it is told the time.
    fn step(&mut self) {
        let ticked = self.timed.step().unwrap();
        let Some(id) = ticked.filter(|_| self.proposes) else { return };
        let leads = |node: &ringfort_sim::group::Node| {
            node.group.as_ref().is_some_and(|group| group.role() == Role::Leader)
        };
        if self.timed.cluster.nodes.get(&id).is_some_and(leads)
            && let Some(Ok(position)) = self.timed.cluster.propose(id, Bytes::from_static(b"x"))
        {
            self.proposed.push(position);
            self.timed.settle(id).unwrap();
        }
    }

    fn step_until(&mut self, time: Monotonic) {
        while self.timed.cluster.now < time {
            self.step();
        }
    }

    fn term(&self) -> Term {
        let groups = self.timed.cluster.nodes.values().filter_map(|node| node.group.as_ref());
        groups.map(|group| group.status().term).max().unwrap_or_default()
    }

    fn last(&self, id: u64) -> Position {
        let group = self.timed.cluster.nodes[&ReplicaId(id)].group.as_ref().unwrap();
        let index = group.status().last;
        Position { term: group.term_at(index).unwrap_or_default(), index }
    }

    /// Whether something that was proposed is committed somewhere.
    fn has_committed(&self) -> bool {
        let mut groups = self.timed.cluster.nodes.values().filter_map(|node| node.group.as_ref());
        groups.any(|group| {
            let committed = |position: &&Position| {
                position.index <= group.commit()
                    && group.term_at(position.index) == Some(position.term)
            };
            self.proposed.iter().find(committed).is_some()
        })
    }
}

/// Elects, commits, cuts, and watches.
fn run(graph: &Graph, seed: u64, after: After, guards: Guards) -> Run {
    let mut watched = Watched::new(graph.replicas, seed, guards);
    let timeout = watched.timed.cluster.settings().election_timeout;
    while watched.proposed.is_empty() || !watched.has_committed() {
        watched.step();
        assert!(watched.timed.cluster.now < Monotonic(60_000_000_000), "a connected group elects");
    }
    let more = Duration::from_nanos(watched.timed.random.below(1_000_000_000));
    let cut = watched.timed.cluster.now + more;
    watched.step_until(cut);
    for from in watched.timed.cluster.ids() {
        for to in watched.timed.cluster.ids() {
            if !graph.links.contains(&(from.0, to.0)) {
                watched.timed.cut.insert((from, to));
            }
        }
    }
    let (cut, term) = (watched.timed.cluster.now, watched.term());
    let (due, end) = (cut + timeout * PROGRESS_TIMEOUTS, cut + timeout * WATCHED_TIMEOUTS);
    let leader = watched.timed.cluster.leader().unwrap().0;
    let mut result = Run {
        claimed: after != After::Idle && graph.has_witness(|id| watched.last(id)),
        resumed: None,
        claimed_late: false,
        kept: graph.reaches_quorum(leader, |_| true),
        terms: 0,
    };
    watched.proposed.clear();
    watched.proposes = after != After::Idle;
    let mut due_passed = false;
    while watched.timed.cluster.now < end {
        watched.step();
        let now = watched.timed.cluster.now;
        if result.resumed.is_none() && watched.has_committed() {
            result.resumed = Some(now.since(cut));
        }
        if result.resumed.is_some() {
            watched.proposed.clear();
        }
        if now >= due && !due_passed {
            due_passed = true;
            result.claimed_late = graph.has_witness(|id| watched.last(id));
        }
        let done = result.resumed.is_some() || (!result.claimed && due_passed);
        if after == After::Progress && done {
            break;
        }
    }
    result.terms = watched.term().0 - term.0;
    result
}

/// Over the seeds of one graph.
#[derive(Debug)]
struct Row<'a> {
    graph: &'a Graph,
    claimed: usize,
    /// None where nothing is claimed.
    p99: Option<Duration>,
    worst: Option<Duration>,
    /// Seeds that missed the time, and among them those in which the witness was gone by then.
    late: usize,
    excused: usize,
    unclaimed_resumed: usize,
    /// Runs in which a leader that kept a quorum did not go on in its term.
    deposed: usize,
    terms: u64,
}

fn row(graph: &Graph, seeds: u64, watched: u64, guards: Guards) -> Row<'_> {
    let limit = Settings::default().election_timeout * PROGRESS_TIMEOUTS;
    let busy = |seed| if seed < watched { After::Busy } else { After::Progress };
    let busy = (0..seeds).map(|seed| run(graph, seed, busy(seed), guards));
    let idle = (0..watched).map(|seed| run(graph, seed, After::Idle, guards));
    let runs: Vec<_> = busy.chain(idle).collect();
    let mut times: Vec<_> = runs
        .iter()
        .filter(|run| run.claimed)
        .map(|run| run.resumed.unwrap_or(Duration::MAX))
        .collect();
    times.sort_unstable();
    let late = runs.iter().filter(|run| run.claimed && run.resumed.is_none_or(|time| time > limit));
    Row {
        graph,
        claimed: times.len(),
        p99: times.get((times.len() * 99).div_ceil(100).saturating_sub(1)).copied(),
        worst: times.last().copied(),
        late: late.clone().count(),
        excused: late.filter(|run| !run.claimed_late).count(),
        unclaimed_resumed: runs.iter().filter(|run| !run.claimed && run.resumed.is_some()).count(),
        deposed: runs.iter().filter(|run| run.kept && run.terms > 0).count(),
        terms: runs.iter().map(|run| run.terms).max().unwrap_or_default(),
    }
}

impl Row<'_> {
    fn show(&self) {
        let seconds = |time: Option<Duration>| match time {
            None => "    -".to_owned(),
            Some(Duration::MAX) => "never".to_owned(),
            Some(time) => format!("{:5.2}", time.as_secs_f64()),
        };
        println!(
            "{:>6} {:>6} {:>7} {:>5} {:>7} {:>7} {:>7} {:>5}  {}",
            seconds(self.p99),
            seconds(self.worst),
            self.claimed,
            self.late,
            self.excused,
            self.unclaimed_resumed,
            self.deposed,
            self.terms,
            self.graph.name
        );
    }
}

/// Runs all graphs, prints the worst ones, and asserts what is claimed.
fn examine(graphs: &[Graph], seeds: u64, watched: u64) {
    let mut rows: Vec<_> =
        graphs.iter().map(|graph| row(graph, seeds, watched, Guards::default())).collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.p99, row.worst)));
    let with_witness = rows.iter().filter(|row| row.claimed > 0).count();
    println!(
        "{} graphs, {seeds} seeds each ({watched} watched for storms), {with_witness} graphs with a \
         witness. Seconds until commits resume, worst first:",
        rows.len()
    );
    println!("   p99  worst claimed  late excused resumed deposed terms  graph");
    rows.iter().take(campaign::size(1, 12)).for_each(Row::show);
    let stormiest = rows.iter().max_by_key(|row| row.terms).unwrap();
    println!("most terms:");
    stormiest.show();
    let sum = |count: fn(&Row<'_>) -> usize| rows.iter().map(count).sum::<usize>();
    println!(
        "runs claimed {}, late {}, late where no witness is left {}; runs without claim that went on {}",
        sum(|row| row.claimed),
        sum(|row| row.late),
        sum(|row| row.excused),
        sum(|row| row.unclaimed_resumed)
    );
    let cut_off = |row: &&Row<'_>| !row.graph.has_witness(|_| Position::default());
    assert!(rows.iter().filter(cut_off).all(|row| row.claimed + row.unclaimed_resumed == 0));
    let limit = Settings::default().election_timeout * PROGRESS_TIMEOUTS;
    assert!(rows[0].p99 <= Some(limit), "commits resume too late: {:?}", rows[0]);
    assert_eq!(sum(|row| row.deposed), 0, "a leader that keeps a quorum goes on leading");
    assert!(stormiest.terms <= TERMS_MAX, "terms rise too often: {stormiest:?}");
}

#[test]
fn connectivity_of_three_directed() {
    let graphs: Vec<_> = (0..64).map(|bits| Graph::directed(bits, 3)).collect();
    examine(&graphs, campaign::size(2, 100), campaign::size(2, 100));
}

#[test]
fn connectivity_of_five_undirected() {
    let graphs = (0..1024).map(|bits| Graph::undirected(bits, 5));
    // In short, one of each shape: a renaming of replicas gives nothing new but another first leader.
    let graphs: Vec<_> =
        graphs.filter(|graph| campaign::is_full() || graph.is_first_of_its_shape()).collect();
    assert_eq!(graphs.len(), campaign::size(34, 1024));
    examine(&graphs, campaign::size(2, 100), campaign::size(2, 10));
}

/// Ten seeds of one graph, watched for storms, with these guards.
fn with(guards: Guards, graph: &Graph) -> Row<'_> {
    row(graph, 10, 10, guards)
}

#[test]
fn without_check_quorum_followers_wait_for_a_leader_that_cannot_hear_them() {
    // 1 leads in some seeds: 2 and 3 hear it, and it hears neither.
    let graph = Graph::directed_of(&[(1, 2), (1, 3), (2, 3), (3, 2)], 3);
    assert_eq!(with(Guards::default(), &graph).late, 0);
    assert!(with(Guards::without(Guard::CheckQuorum), &graph).late > 0);
}

#[test]
fn without_stickiness_one_end_of_a_line_deposes_the_other() {
    let graph = Graph::directed_of(&[(1, 2), (2, 1), (2, 3), (3, 2)], 3);
    assert_eq!(with(Guards::default(), &graph).deposed, 0);
    assert!(with(Guards::without(Guard::VoteStickiness), &graph).deposed > 0);
}

#[test]
fn without_pre_vote_whoever_hears_nobody_deposes_everybody() {
    let graph = Graph::directed_of(&[(1, 2), (2, 1), (3, 1), (3, 2)], 3);
    assert!(with(Guards::default(), &graph).terms <= TERMS_MAX);
    assert!(with(Guards::without(Guard::PreVote), &graph).terms > TERMS_MAX);
}
