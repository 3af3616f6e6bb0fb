//! Segments kept ready: what they are for, and the order in which they are taken.

use ringfort_env::Lane;
use ringfort_log::{LogOptions, LogStore};
use ringfort_sim::{PowerLoss, Random};
use ringfort_types::{GroupId, Index};

use crate::support::campaign;
use crate::support::client::{Client, entry, fill_segment, restart};
use crate::support::host::{Host, small_options};

#[test]
fn two_ready_segments_carry_the_log_while_the_background_stands_still() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.submit(client.create(1));
    let mut next = 1;
    fill_segment(&mut host, &mut client, 1, &mut next);
    host.settle();
    let segment = small_options().segment_bytes;
    assert!(host.log.stats().room_bytes >= 2 * segment, "two are ready");
    host.disk.stall(Lane::Background, true);
    let mut told = 0;
    let before = host.log.stats().bytes;
    // Both are filled, and nothing is told of what comes behind them.
    for _ in 0..40 {
        host.submit(client.append(1, vec![entry(next, 1, 20_000)]));
        next += 1;
        while host.step(Some(Lane::Log)) {}
        told = host.said().durable.last().map_or(told, |(_, id)| *id);
    }
    let written = host.log.stats().bytes - before;
    assert!(written > 2 * segment - (40 << 10), "{written} bytes in two segments");
    assert!(told < client.id, "{told} of {}", client.id);
    host.disk.stall(Lane::Background, false);
    assert_eq!(host.settle().durable.last(), Some(&(0, client.id)));
    let (_, recovered) = restart(host);
    assert_eq!(recovered.findings, Vec::<String>::new());
    assert_eq!(recovered.groups[&GroupId(1)].entries.len() as u64, next - 1);
}

/// Found by a node whose disk stood still: a segment made at once overtook a recycled one with a lower id, and the log
/// ended on its own assertion. Jobs also change places when one fails and is tried again.
#[test]
fn segments_are_taken_in_the_order_of_their_ids_whatever_job_ends_first() {
    campaign::run("segments_are_taken_in_the_order_of_their_ids", 60, 1000, |seed| {
        let options = LogOptions { log_bytes_target: 1 << 20, ..small_options() };
        let mut random = Random::new(seed ^ 0x0d0e);
        let mut host = Host::fresh(seed, options);
        let mut client = Client::default();
        host.submit(client.create(1));
        host.settle();
        let (mut next, mut base) = (1, 0);
        for _ in 0..300 {
            match random.below(20) {
                0..8 => {
                    host.submit(client.append(1, vec![entry(next, 1, 40_000)]));
                    next += 1;
                }
                8..10 if base + 1 < next => {
                    base = next - 1;
                    host.submit(client.rebase(1, base, 1));
                }
                10 => {
                    let stands = random.one_in(2);
                    host.disk.stall(Lane::Background, stands);
                }
                11 => {
                    let used = host.disk.used();
                    let capacity = random.one_in(2).then_some(used + random.below(400 << 10));
                    host.disk.set_capacity(capacity);
                }
                12 => drop(host.pass_timer()),
                13..16 => drop(host.step(Some(Lane::Background))),
                _ => while host.step(Some(Lane::Log)) {},
            }
        }
        host.disk.stall(Lane::Background, false);
        host.disk.set_capacity(None);
        let said = host.settle();
        assert!(said.failed.is_none(), "{:?}", said.failed);
        let mut disk = host.disk;
        disk.power_loss(PowerLoss::LoseAll);
        let (_, recovered) = Host::start(disk, options).unwrap();
        assert_eq!(recovered.findings, Vec::<String>::new());
        let group = &recovered.groups[&GroupId(1)];
        assert_eq!(group.base.applied.index, Index(base));
        assert_eq!(group.entries.len() as u64, next - 1 - base);
    });
}
