//! `ringfort kv` against a real server.

use std::process::Stdio;

use ringfort_testkit::http::Request;

use crate::support::{Target, finish};

#[test]
fn values_come_back_byte_for_byte_and_alone() {
    let target = Target::start();
    let put = target.run(&["kv", "put", "k", "hello"]).exits(0);
    assert!(put.stdout.is_empty());
    assert_eq!(put.stderr, "version 1\n");
    let get = target.run(&["kv", "get", "k"]).exits(0);
    assert_eq!((&get.stdout[..], &*get.stderr), (&b"hello"[..], ""));

    let value: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    finish(target.command(&["kv", "put", "big", "-"]), &value).exits(0);
    assert!(target.run(&["kv", "get", "big"]).exits(0).stdout == value);
    target.run(&["kv", "put", "empty", ""]).exits(0);
    assert!(target.run(&["kv", "get", "empty"]).exits(0).stdout.is_empty());
    target.run(&["kv", "put", "number", "-5"]).exits(0);
    assert_eq!(target.run(&["kv", "get", "number"]).text(), "-5");
    for key in ["a/b c?#%41+", "..", "./x", "ü"] {
        target.run(&["kv", "put", key, key]).exits(0);
        assert_eq!(target.run(&["kv", "get", key]).exits(0).text(), key);
    }

    let over = vec![0; (8 << 20) + 1];
    let ran = finish(target.command(&["kv", "put", "over", "-"]), &over).exits(3);
    assert!(
        ran.stderr.contains("too_large") && ran.stderr.contains("limits.max_value_bytes"),
        "{ran:?}"
    );
}

#[test]
fn no_is_an_answer() {
    let target = Target::start();
    let absent = target.run(&["kv", "get", "k"]).exits(1);
    assert!(absent.stdout.is_empty());
    assert!(absent.stderr.contains("no such key"), "{absent:?}");
    target.run(&["kv", "del", "k"]).exits(1);
    target.run(&["kv", "put", "k", "1", "--if-version", "7"]).exits(1);
    let put = target.run(&["kv", "put", "k", "1", "--if-absent", "-o", "json"]).exits(0);
    let version = put.json()["version"].as_u64().unwrap();
    target.run(&["kv", "put", "k", "2", "--if-absent"]).exits(1);
    let refused = target.run(&["kv", "put", "k", "2", "--if-version", "0", "-o", "json"]).exits(1);
    let error: serde_json::Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!(error["code"], "precondition_failed");
    assert_eq!(error["current_version"].as_u64(), Some(version));
    let matching = version.to_string();
    target.run(&["kv", "del", "k", "--if-version", "999"]).exits(1);
    let deleted = target.run(&["kv", "del", "k", "--if-version", &matching, "-o", "json"]).exits(0);
    assert_eq!(deleted.json()["deleted"], true);
    assert_eq!(target.run(&["kv", "del", "k", "-o", "json"]).exits(1).json()["deleted"], false);
}

#[test]
fn a_lifetime_is_set_and_shown() {
    let target = Target::start();
    target.run(&["kv", "put", "k", "v", "--ttl", "1h"]).exits(0);
    let document = target.run(&["kv", "get", "k", "-o", "json"]).exits(0).json();
    assert!((3_000_000..=3_600_000).contains(&document["ttl_ms"].as_u64().unwrap()), "{document}");
    target.run(&["kv", "put", "k", "v"]).exits(0);
    let document = target.run(&["kv", "get", "k", "-o", "json"]).exits(0).json();
    assert_eq!(document["ttl_ms"], serde_json::Value::Null);
}

#[test]
fn scans_list_in_order_over_pages_and_stay_on_their_lines() {
    let target = Target::start();
    load(&target, 2500);
    let all = target.run(&["kv", "scan", "--prefix", "n:"]).exits(0);
    let expected: String = (0..2500).map(|n| format!("n:{n:04}\t{n}\n")).collect();
    assert_eq!(all.text(), expected);
    let some = target.run(&[
        "kv",
        "scan",
        "--prefix",
        "n:",
        "--start",
        "n:0990",
        "--limit",
        "1200",
        "--keys-only",
    ]);
    let expected: String = (990..2190).map(|n| format!("n:{n:04}\n")).collect();
    assert_eq!(some.exits(0).text(), expected);
    let range =
        target.run(&["kv", "scan", "--start", "n:0001", "--end", "n:0003", "-o", "json"]).exits(0);
    let items: Vec<serde_json::Value> =
        range.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(items.len(), 2);
    assert_eq!((items[1]["key"].as_str(), items[1]["value"].as_str()), (Some("n:0002"), Some("2")));

    finish(target.command(&["kv", "put", "odd\tkey", "-"]), b"a\n\\\xff").exits(0);
    let odd = target.run(&["kv", "scan", "--prefix", "odd"]).exits(0);
    assert_eq!(odd.text(), "odd\\tkey\ta\\n\\\\\\xff\n");
    let odd = target.run(&["kv", "scan", "--prefix", "odd", "-o", "json"]).exits(0).json();
    assert_eq!(
        (odd["key"].as_str(), odd["value_b64"].as_str()),
        (Some("odd\tkey"), Some("YQpc/w=="))
    );
    assert!(target.run(&["kv", "scan", "--prefix", "none"]).exits(0).stdout.is_empty());
}

/// Writes `n:0000` and so on, a thousand in a request.
fn load(target: &Target, count: usize) {
    let mut client = target.server.client();
    let numbers: Vec<_> = (0..count).collect();
    for chunk in numbers.chunks(1000) {
        let ops: Vec<_> = chunk
            .iter()
            .map(|n| serde_json::json!({"op": "put", "key": format!("n:{n:04}"), "value": n.to_string()}))
            .collect();
        let body = serde_json::json!({ "ops": ops }).to_string();
        let request = Request {
            method: "POST",
            target: "/v1/batch",
            headers: &[("content-type", "application/json")],
            body: body.as_bytes(),
        };
        let response = client.send(&request).unwrap();
        assert_eq!(response.status, 200);
    }
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let target = Target::start();
    target.run(&["kv", "put", "k", "v"]).exits(0);
    let mut command = target.command(&["kv", "get", "k"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = command.stdin(Stdio::null()).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_server_that_comes_back_is_found_again() {
    let mut target = Target::start();
    target.run(&["kv", "put", "k", "v"]).exits(0);
    target.server.kill().unwrap();
    target.run(&["kv", "get", "k"]).exits(3);
    target.server.restart().unwrap();
    assert_eq!(target.run(&["kv", "get", "k"]).exits(0).text(), "v");
}

#[test]
fn bench_loads_a_server_and_reports() {
    let target = Target::start();
    let ran = target.run(&[
        "bench",
        "--requests",
        "200",
        "--connections",
        "2",
        "--warmup",
        "1ms",
        "-o",
        "json",
    ]);
    assert!(ran.exits(0).json().is_object());
    let ran = target.run(&["bench", "--connections", "0"]).exits(2);
    assert!(ran.stderr.contains("--connections"), "{ran:?}");
}
