//! Whole runs, through the public interface.

use std::time::Duration;

use clap::Parser;
use ringfort_bench::{Arguments, Report, execute};

use crate::fake::{Fake, Manner};

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    arguments: Arguments,
}

fn run(fake: &Fake, line: &str) -> Report {
    let scheme = if line.contains("redis") { "redis" } else { "http" };
    let endpoint = format!("{scheme}://{}", fake.address);
    let words = ["bench", "--endpoint", &endpoint, "--warmup", "0ms"];
    let words = words.into_iter().chain(line.split_whitespace());
    execute(CommandLine::parse_from(words).arguments).unwrap()
}

fn error_count(report: &Report, code: &str) -> u64 {
    report.errors.get(code).copied().unwrap_or(0)
}

#[test]
fn a_load_writes_every_key_once() {
    let fake = Fake::http(Manner::Good);
    let report = run(&fake, "--workload load --keys 500 --connections 7");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.operations, 500);
    assert_eq!(fake.keys(), 500);
    let puts = report.put_latency.as_ref().unwrap();
    assert_eq!(puts.operations, 500);
    assert!(puts.min_us <= puts.p50_us && puts.p50_us <= puts.max_us);
    assert!((report.server.syncs_per_operation.unwrap() - 1.0).abs() < 1e-9);
    assert_eq!(report.server.cpu_us_per_operation, None, "nobody told");
}

#[test]
fn a_mixed_run_sends_as_many_operations_as_asked_for() {
    for (fake, target) in
        [(Fake::http(Manner::Good), "ringfort"), (Fake::resp(Manner::Good), "redis")]
    {
        let report = run(
            &fake,
            &format!(
                "--target {target} --workload mixed --load --keys 100 --requests 1000 \
                 --distribution zipfian --read-share 0.8 --value-bytes 40 --connections 8"
            ),
        );
        assert!(report.is_clean(), "{target}: {report}");
        assert_eq!(report.operations, 1000, "{target}");
        let gets = report.get_latency.as_ref().unwrap().operations;
        assert!((700..900).contains(&gets), "{target}: {gets} gets");
    }
}

#[test]
fn a_timed_run_takes_its_time() {
    let fake = Fake::http(Manner::Good);
    let report = run(&fake, "--duration 200ms --keys 10 --connections 2");
    assert!(report.is_clean(), "{report}");
    assert!((0.2..5.0).contains(&report.seconds), "{}", report.seconds);
}

#[test]
fn json_has_the_figures() {
    let fake = Fake::http(Manner::Good);
    let pid = std::process::id();
    let report =
        run(&fake, &format!("--requests 100 --keys 10 --connections 2 --server-pid {pid}"));
    let json = serde_json::to_value(&report).unwrap();
    for path in [
        "/operations_per_second",
        "/latency/p99_us",
        "/put_latency/p999_us",
        "/server/cpu_us_per_operation",
        "/server/switches_per_operation",
        "/server/syncs_per_operation",
        "/generator_cpu_us_per_operation",
    ] {
        let figure = json.pointer(path).unwrap();
        assert!(figure.is_number(), "{path}: {figure}");
    }
    assert_eq!(json.pointer("/get_latency"), Some(&serde_json::Value::Null));
    assert_eq!(json.pointer("/errors"), Some(&serde_json::json!({})));
}

#[test]
fn what_is_not_as_expected_is_an_error_under_its_code() {
    for (manner, line, code) in [
        (Manner::Good, "--workload get", "key_not_found"),
        (Manner::CutsValues, "--workload get --load", "value_mismatch"),
        (Manner::Overloaded, "--workload put", "overloaded"),
        (Manner::Mute, "--workload put --timeout 50ms", "timeout"),
    ] {
        let fake = Fake::http(manner);
        let line = format!("{line} --requests 20 --keys 10 --connections 2");
        let report = run(&fake, &line);
        assert!(!report.is_clean());
        assert_eq!(report.operations, 0, "{line}: {report}");
        assert_eq!(error_count(&report, code), 20, "{line}: {report}");
        assert!(!report.error_examples.is_empty());
    }
}

#[test]
fn absent_keys_may_be_allowed() {
    let fake = Fake::http(Manner::Good);
    let report = run(&fake, "--workload get --allow-absent --requests 20 --keys 10");
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_lost_connection_is_counted_and_opened_again() {
    let fake = Fake::http(Manner::HangsUp);
    let report = run(&fake, "--requests 100 --keys 10 --connections 4");
    assert_eq!(report.operations + error_count(&report, "connection"), 100);
    assert_eq!(error_count(&report, "connection"), 10, "{report}");
}

/// The server stalls for 400 ms while 500 operations per second are due on one connection: some 200 of the 500
/// operations were due meanwhile and must show it, although none of them could be sent. In a closed loop one would.
#[test]
fn an_open_loop_omits_nothing() {
    let lasting = Duration::from_millis(400);
    let stall = Manner::StallsOnce { at: 50, lasting };
    let line = "--requests 500 --keys 10 --connections 1";
    let open = run(&Fake::http(stall), &format!("{line} --rate 500"));
    assert!(open.is_clean(), "{open}");
    let latency = open.latency.unwrap();
    assert!(latency.p90_us > 200_000.0, "{latency:?}");
    assert!(latency.max_us >= 390_000.0, "{latency:?}");
    let closed = run(&Fake::http(stall), line);
    let latency = closed.latency.unwrap();
    assert!(latency.max_us >= 390_000.0, "{latency:?}");
    assert!(latency.p90_us < 200_000.0, "{latency:?}");
}

#[test]
fn nobody_at_the_endpoint_is_an_error() {
    let address = Fake::http(Manner::Good).address;
    for target in ["ringfort", "etcd"] {
        let endpoint = format!("http://{address}");
        let words = ["bench", "--target", target, "--endpoint", &endpoint];
        let error = execute(CommandLine::parse_from(words).arguments).unwrap_err();
        assert!(format!("{error:#}").contains("cannot connect"), "{error:#}");
    }
}
