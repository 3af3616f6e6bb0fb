//! Election timeouts: random, and rarely two at once (section 5.2 of the paper; rules that etcd's raft_paper_test.go checks).

use std::time::Duration;

use ringfort_raft::{Body, Config, Configuration, Group, Message, Restored, Role, Round};
use ringfort_types::{Index, Monotonic, ReplicaId, Term};

const START: Monotonic = Monotonic(1_000_000_000);
const SEEDS: u64 = 500;
/// Whoever asks so much later than another finds the election under way.
const HEAD_START: Duration = Duration::from_millis(50);

fn follower(replica: u64, voters: u64, seed: u64) -> Group {
    let configuration = Configuration::founding((1..=voters).map(ReplicaId));
    let restored = Restored { configuration, ..Restored::default() };
    Group::new(Config::new(ReplicaId(replica), seed), restored, START)
}

/// How long the replica waits from a time on.
fn patience(group: &Group, from: Monotonic) -> Duration {
    group.deadline().unwrap().since(from)
}

/// A replica that nobody answered, and how long it waits until it asks again.
fn candidate(replica: u64, voters: u64, seed: u64) -> Duration {
    let mut group = follower(replica, voters, seed);
    let asked = group.deadline().unwrap();
    group.handle_tick(asked);
    assert_eq!(group.role(), Role::PreCandidate);
    patience(&group, asked)
}

fn check_spread(waits: impl Iterator<Item = Duration>) {
    let timeout = Config::new(ReplicaId(1), 0).settings.election_timeout;
    let mut tenths = [0; 10];
    for wait in waits {
        assert!(wait >= timeout && wait < 2 * timeout, "{wait:?}");
        let tenth = (wait - timeout).as_nanos() * 10 / timeout.as_nanos();
        tenths[usize::try_from(tenth).unwrap()] += 1;
    }
    assert!(tenths.iter().all(|count| *count > 0), "of each tenth: {tenths:?}");
}

#[test]
fn followers_wait_for_a_random_time_between_one_timeout_and_two() {
    check_spread((0..SEEDS).map(|seed| patience(&follower(1, 3, seed), START)));
}

#[test]
fn candidates_wait_for_a_random_time_between_one_timeout_and_two() {
    check_spread((0..SEEDS).map(|seed| candidate(1, 3, seed)));
}

/// Of how many groups in a hundred two ask almost at once, all with one seed as a host may have given them.
fn conflicts(voters: u64, wait: impl Fn(u64, u64) -> Duration) -> u64 {
    let conflict = |seed: &u64| {
        let mut waits: Vec<_> = (1..=voters).map(|replica| wait(replica, *seed)).collect();
        waits.sort_unstable();
        waits[1] - waits[0] < HEAD_START
    };
    (0..SEEDS).filter(conflict).count() as u64 * 100 / SEEDS
}

#[test]
fn mostly_one_replica_alone_asks_first() {
    // Uniform times give 14 of a hundred among three, and 23 among five.
    for (voters, most) in [(3, 18), (5, 28)] {
        let followers = conflicts(voters, |id, seed| patience(&follower(id, voters, seed), START));
        assert!(followers <= most, "followers, {voters} voters: {followers} of a hundred");
        let candidates = conflicts(voters, |id, seed| candidate(id, voters, seed));
        assert!(candidates <= most, "candidates, {voters} voters: {candidates} of a hundred");
    }
}

/// A follower that heard its leader, long after its start.
fn follower_of(leader: u64, heard: Monotonic, seed: u64) -> Group {
    let mut group = follower(1, 3, seed);
    let body = Body::Heartbeat { commit: Index(0), round: Round(1), lease: Duration::ZERO };
    let (from, to) = (ReplicaId(leader), ReplicaId(1));
    group.handle_message(heard, Message { from, to, term: Term(1), body });
    assert_eq!(group.leader().leader, Some(from));
    group
}

#[test]
fn whoever_lost_the_connection_to_its_leader_asks_sooner_and_not_before_the_timeout() {
    let heard = START + Duration::from_secs(60);
    let timeout = Config::new(ReplicaId(1), 0).settings.election_timeout;
    let mut quarters = [0; 4];
    for seed in 0..SEEDS {
        let mut group = follower_of(2, heard, seed);
        let before = patience(&group, heard);
        group.handle_unreachable(ReplicaId(3));
        assert_eq!(patience(&group, heard), before, "another replica's connection is no reason");
        group.handle_unreachable(ReplicaId(2));
        let wait = patience(&group, heard);
        assert!(wait >= timeout && wait <= timeout * 5 / 4 && wait <= before, "{wait:?}");
        if before > timeout * 5 / 4 {
            quarters[((wait - timeout).as_nanos() * 16 / timeout.as_nanos()).min(3) as usize] += 1;
        }
        group.handle_unreachable(ReplicaId(2));
        assert_eq!(patience(&group, heard), wait, "seed {seed}: another draw");
        let mut again = group.clone();
        let body = Body::Heartbeat { commit: Index(0), round: Round(2), lease: Duration::ZERO };
        let (from, to) = (ReplicaId(2), ReplicaId(1));
        again.handle_message(heard, Message { from, to, term: Term(1), body });
        assert!(patience(&again, heard) >= timeout, "a leader that is heard again is followed");
    }
    assert!(quarters.iter().all(|count| *count > 0), "of each sixteenth: {quarters:?}");
}
