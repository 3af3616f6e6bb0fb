//! Hand-made histories of batches: their order on one key, and atomic ones, which are seen whole or not at all.

use ringfort_check::{Rule, check};

use crate::script::{breaks, history, keeps_all};

#[test]
fn half_of_an_atomic_batch_is_torn() {
    let honest = "0..5 k put a => v1
         0..5  j put a => v1
         6..7  k put b batch=1/0 => unknown
         6..7  j put b batch=1/1 => unknown
         8..9  j get => found a v1
         10..11 k get => found b v2";
    keeps_all(honest);
    breaks(Rule::AllOrNothing, &format!("{honest}\n 12..13 j get => found a v1"));
}

#[test]
fn operations_of_one_batch_keep_their_order() {
    keeps_all(
        "0..9 k put a each=1/0 => v1
         0..9 k get each=1/1 => found a v1
         0..9 k put b each=1/2 => v2
         0..9 k get each=1/3 => found b v2",
    );
    breaks(
        Rule::Linearizable,
        "0..9 k get each=1/0 => found a v1
         0..9 k put a each=1/1 => v1",
    );
    breaks(
        Rule::Linearizable,
        "0..9   k put a each=1/0 => unknown
         0..9   k delete each=1/1 => v3
         10..11 k get => found a v4",
    );
}

#[test]
fn an_atomic_batch_is_seen_whole() {
    // One batch swaps what another wrote; a batch of reads sees both or neither.
    let writes = "0..5   k put a batch=1/0 => v1
                  0..5   j put a batch=1/1 => v1
                  10..19 k put b batch=2/0 => v2
                  10..19 j put b batch=2/1 => v2\n";
    keeps_all(&format!(
        "{writes} 12..13 k get batch=3/0 => found b v2\n 12..13 j get batch=3/1 => found b v2"
    ));
    breaks(
        Rule::AllOrNothing,
        &format!(
            "{writes} 12..13 k get batch=3/0 => found b v2\n 12..13 j get batch=3/1 => found a v1"
        ),
    );
    // Before the answer too: once one part is seen, so is the other.
    breaks(
        Rule::AllOrNothing,
        &format!("{writes} 12..13 k get => found b v2\n 14..15 j get => found a v1"),
    );
    // A part that was refused takes all of it along.
    let refused = "0..5 k put a => v1
                   6..9 j put b batch=1/0 => not_applied
                   6..9 k put b if=absent batch=1/1 => refused 1\n";
    keeps_all(&format!("{refused} 10..11 j get => absent"));
    breaks(Rule::NoInventedValue, &format!("{refused} 10..11 j get => found b v1"));
    let mixed = "0..5 k put a batch=1/0 => v1\n 0..5 j put a batch=1/1 => not_applied";
    assert!(check(&history(mixed)).breaks(Rule::WellFormed));
}

#[test]
fn what_is_unknown_in_a_batch_stands_before_what_follows_it() {
    // The batch's get may see the put deleted, or run before both; only then is the second get's absence explained.
    keeps_all(
        "0..9   k delete each=1/0 => unknown
         0..9   k get each=1/1 => absent
         0..9   k put a => v1
         10..11 k get => absent",
    );
    // It saw the put, so the delete before it has not happened, nor will it.
    breaks(
        Rule::Linearizable,
        "0..9   k delete each=1/0 => unknown
         0..9   k get each=1/1 => found a v1
         0..9   k put a => v1
         10..11 k get => absent",
    );
}

/// Time passes for all keys of a set: neither a read of one key nor the expiry of one may take it from another.
#[test]
fn keys_of_one_set_share_their_time() {
    let together = "0..5 k put a ttl=TTL batch=1/0 => v1
                    0..5 j put a ttl=1 batch=1/1 => v1\n";
    let short = together.replace("TTL", "9999");
    keeps_all(&format!(
        "{short} 6..3000000 j delete => v2
         2000000..2000001 k get => found a v1"
    ));
    // The first key is absent in time for the second only if it was deleted, not if it expired.
    let batch = "6..3000000 k put b if=absent batch=2/0 => v5
                 6..3000000 j delete batch=2/1 => v2\n";
    let long = together.replace("TTL", "2000");
    keeps_all(&format!("{long} {batch} 0..5 k delete => unknown"));
    breaks(Rule::AllOrNothing, &format!("{long} {batch}"));
    // Nor if it expired late: what was tried in vain must not hide what comes to the same in time.
    let stays = together.replace(" ttl=TTL", "");
    keeps_all(&format!(
        "{stays} {batch} 0..5 k put c ttl=1 => unknown\n 0..5 k put d ttl=2000 => unknown"
    ));
    keeps_all(&format!(
        "{stays} {batch} 0..5 k put d ttl=2000 => unknown\n 0..5 k put c ttl=1 => unknown"
    ));
}
