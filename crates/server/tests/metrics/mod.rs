//! `/metrics` is what Prometheus reads, and counts what happened.

mod text;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use ringfort_testkit::ServerOptions;
use ringfort_testkit::http::{HttpClient, Request, Response};

pub(crate) use text::{Family, parse};

fn scrape(client: &mut HttpClient) -> Result<BTreeMap<String, Family>> {
    let response = client.get("/metrics")?;
    ensure!(response.status == 200, "{} {}", response.status, response.text());
    let media_type = response.header("content-type");
    ensure!(media_type == Some("text/plain; version=0.0.4; charset=utf-8"), "{media_type:?}");
    parse(&response.text()).with_context(|| response.text())
}

/// The sum of the series of this name that have all these labels.
fn value(families: &BTreeMap<String, Family>, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
    let samples = families.values().flat_map(|family| &family.samples);
    let has = |sample: &text::Sample| {
        let mut wanted = labels.iter();
        wanted.all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
    };
    let found: Vec<_> = samples.filter(|sample| sample.name == name && has(sample)).collect();
    ensure!(!found.is_empty(), "no series {name} {labels:?}");
    Ok(found.iter().map(|sample| sample.value).sum())
}

#[test]
fn metrics_are_prometheus_text_and_count_what_happened() -> Result<()> {
    let server = ServerOptions::new().start()?;
    let mut client = server.client();
    let before = scrape(&mut client)?;
    for number in 0..10 {
        let put = client.put(&format!("metrics/{number}"), b"0123456789")?;
        ensure!(put.status == 200, "{} {}", put.status, put.text());
    }
    ensure!(client.get("/v1/kv/metrics/none")?.status == 404);
    ensure!(client.get("/v1/kv/metrics/none?consistency=odd")?.status == 400);
    let after = scrape(&mut client)?;
    ensure!(before.keys().eq(after.keys()), "families come and go");
    let grown = |name: &str, labels: &[(&str, &str)]| -> Result<f64> {
        let zero_where_absent = value(&before, name, labels).unwrap_or(0.0);
        Ok(value(&after, name, labels)? - zero_where_absent)
    };
    let same = |one: f64, other: f64| (one - other).abs() < 0.5;
    let put = [("operation", "put")];
    for (name, labels, expected) in [
        ("ringfort_requests_total", &[("operation", "put"), ("status", "200")][..], 10.0),
        ("ringfort_requests_total", &[("operation", "get"), ("status", "404")], 1.0),
        ("ringfort_request_duration_seconds_count", &[put[0], ("ending", "ok")], 10.0),
        (
            "ringfort_request_duration_seconds_count",
            &[("operation", "get"), ("ending", "rejected")],
            1.0,
        ),
        ("ringfort_request_duration_seconds_bucket", &[put[0], ("le", "+Inf")], 10.0),
        ("ringfort_commands_applied_total", &[], 10.0),
        ("ringfort_raft_proposals_total", &[], 10.0),
        ("ringfort_keys", &[], 10.0),
    ] {
        let grown = grown(name, labels)?;
        ensure!((grown - expected).abs() < 0.5, "{name} {labels:?} grew by {grown}");
    }
    ensure!(grown("ringfort_log_syncs_total", &[])? >= 1.0);
    ensure!(grown("ringfort_log_sync_duration_seconds_count", &[])? >= 1.0);
    ensure!(grown("ringfort_log_sync_duration_seconds_sum", &[])? > 0.0);
    // A batch or more hold ten entries, each of some bytes more than its value; a batch is padded to 512 bytes.
    for (histogram, total, least) in [
        ("ringfort_log_batch_bytes", "ringfort_log_written_bytes_total", 512.0),
        ("ringfort_log_batch_records", "ringfort_log_records_total", 10.0),
    ] {
        let count = grown(&format!("{histogram}_count"), &[])?;
        let sum = grown(&format!("{histogram}_sum"), &[])?;
        ensure!(same(count, grown("ringfort_log_batches_total", &[])?), "{histogram}: {count}");
        ensure!(same(sum, grown(total, &[])?) && sum >= least, "{histogram}: {sum}");
    }
    // A group of one elects itself, and nobody else, once: 64 shards and the catalog.
    for (name, expected) in [
        ("ringfort_raft_terms_led_total", 65.0),
        ("ringfort_raft_leaderless", 0.0),
        ("ringfort_raft_apply_lag_entries_max", 0.0),
        ("ringfort_raft_commit_lag_entries_max", 0.0),
        ("ringfort_peer_connections", 0.0),
    ] {
        let found = value(&after, name, &[])?;
        ensure!((found - expected).abs() < 0.5, "{name} is {found}");
    }
    ensure!(value(&after, "ringfort_raft_term_max", &[])? >= 1.0);
    ensure!(grown("ringfort_request_duration_seconds_sum", &put)? > 0.0);
    ensure!(value(&after, "process_resident_memory_bytes", &[])? > 1e6);
    for (name, kind) in [
        ("ringfort_requests_total", "counter"),
        ("process_cpu_seconds_total", "counter"),
        ("ringfort_request_duration_seconds", "histogram"),
        ("ringfort_log_batch_bytes", "histogram"),
        ("ringfort_shards", "gauge"),
    ] {
        let found = after.get(name).map(|family| family.kind.as_str());
        ensure!(found == Some(kind), "{name} is {found:?}");
    }
    Ok(())
}

fn ask_for_open_metrics(client: &mut HttpClient) -> Result<Response> {
    let headers = [("Accept", "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1")];
    let request = Request { method: "GET", target: "/metrics", headers: &headers, body: b"" };
    Ok(client.send(&request)?)
}

#[test]
fn open_metrics_are_there_for_who_asks() -> Result<()> {
    let server = ServerOptions::new().start()?;
    let response = ask_for_open_metrics(&mut server.client())?;
    let media_type = response.header("content-type").unwrap_or_default();
    ensure!(media_type == "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = response.text();
    for line in [
        "# TYPE ringfort_requests counter",
        "# UNIT ringfort_request_duration_seconds seconds",
        "# TYPE ringfort_keys gauge",
    ] {
        ensure!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
    }
    ensure!(text.ends_with("\n# EOF\n"), "{text}");
    Ok(())
}
