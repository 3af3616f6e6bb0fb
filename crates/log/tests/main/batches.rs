//! Batches and syncs: what is told durable and when.

use std::time::Duration;

use ringfort_env::{DiskErrorKind, Lane};
use ringfort_log::{GroupWrite, LogOptions, LogStore, Submission};
use ringfort_types::{GroupId, HardState};

use crate::support::client::{Client, entry};
use crate::support::host::{Host, small_options};

#[test]
fn durable_is_told_after_write_and_sync_and_not_before() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.settle();
    host.submit(client.create(1));
    assert!(host.said().durable.is_empty());
    assert!(host.step(Some(Lane::Log)), "the write");
    assert!(host.said().durable.is_empty());
    assert!(host.before_sync());
    assert!(host.step(Some(Lane::Log)), "the sync");
    assert_eq!(host.said().durable, [(0, 1)]);
}

#[test]
fn what_comes_while_a_batch_is_synced_goes_into_one_next_batch() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.settle();
    let before = host.log.stats();
    host.submit(client.create(1));
    for index in 1..=9 {
        host.submit(client.append(1, vec![entry(index, 1, 10)]));
    }
    while host.step(Some(Lane::Log)) {}
    assert_eq!(host.log.stats().batches, before.batches + 2);
    assert_eq!(host.log.stats().syncs, before.syncs + 2);
    assert_eq!(host.said().durable.last(), Some(&(0, 10)));
}

#[test]
fn a_small_put_costs_less_than_sixty_bytes() {
    let mut host = Host::fresh(1, LogOptions::new(1));
    let mut client = Client::default();
    for group in 0..64 {
        host.submit(client.create(group));
    }
    host.settle();
    let before = host.log.stats();
    // The worst case: each entry in a group of its own. The first goes alone, the others share a batch.
    for group in 0..64 {
        host.submit(client.append(group, vec![entry(1, 1, 300)]));
    }
    while host.step(Some(Lane::Log)) {}
    let bytes = host.log.stats().bytes - before.bytes;
    let frames = 2 * (72 + 22 + 512);
    assert!(bytes < 64 * 360 + frames, "{bytes} bytes for 64 entries of 300");
}

#[test]
fn an_idle_log_marks_its_last_batch_once_and_stays_quiet() {
    let mut host = Host::fresh(1, small_options());
    let mut client = Client::default();
    host.settle();
    host.submit(client.create(1));
    while host.step(None) {}
    let batches = host.log.stats().batches;
    let due = host.log.poll_timer().expect("a marker is due");
    assert!(due <= host.now + small_options().marker_delay);
    assert!(host.pass_timer());
    while host.step(None) {}
    assert_eq!(host.log.stats().batches, batches + 1);
    assert_eq!(host.log.poll_timer(), None, "no marker marks a marker");
}

#[test]
fn after_a_failed_sync_nothing_more_is_told_durable() {
    for fault in ["sync", "write"] {
        let mut host = Host::fresh(1, small_options());
        let mut client = Client::default();
        host.settle();
        host.submit(client.create(1));
        host.submit(client.append(1, vec![entry(1, 1, 10)]));
        match fault {
            "sync" => host.disk.fail_sync_in(0),
            _ => host.disk.fail_write_in(0),
        }
        while host.step(Some(Lane::Log)) {}
        host.submit(client.append(1, vec![entry(2, 1, 10)]));
        let said = host.settle();
        let error = said.failed.expect("it is told");
        assert_eq!(error.kind, DiskErrorKind::Other);
        assert_eq!(error.operation, fault);
        assert!(said.durable.is_empty(), "{fault}: {:?}", said.durable);
        assert_eq!(host.disk.queued(), 0, "and nothing more is asked of the disk");
        assert!(host.log.poll_disk().is_none());
    }
}

#[test]
fn a_failed_sync_of_a_prepared_segment_is_fatal_too() {
    let mut host = Host::fresh(1, small_options());
    host.disk.fail_sync_in(0);
    let said = host.settle();
    assert!(said.failed.is_some());
}

#[test]
fn many_operations_wait_a_little_for_company_and_one_does_not() {
    let options = LogOptions { sync_delay_max: Duration::from_millis(1), ..small_options() };
    let mut host = Host::fresh(1, options);
    let mut client = Client::default();
    host.submit(client.create(1));
    host.settle();
    let busy = |client: &mut Client, operations| {
        let group = GroupId(1);
        let hard_state = Some(HardState::default());
        let write = GroupWrite::Append { group, hard_state, entries: Vec::new() };
        Submission { operations, ..client.submission(vec![write]) }
    };
    for _ in 0..50 {
        host.submit(busy(&mut client, 64));
        while host.step(Some(Lane::Log)) {}
    }
    let log_lane_busy = |host: &Host| host.disk.front(Lane::Log).is_some();
    host.submit(busy(&mut client, 20));
    assert!(!log_lane_busy(&host), "64 came before: more are expected");
    let due = host.log.poll_timer().unwrap();
    assert!(due > host.now && due <= host.now + Duration::from_millis(1));
    host.submit(busy(&mut client, 40));
    assert!(log_lane_busy(&host), "most are there");
    while host.step(Some(Lane::Log)) {}
    host.submit(busy(&mut client, 1));
    assert!(log_lane_busy(&host), "one waits for nobody");
}
