//! What needs no server of ours: usage, configuration, and servers that are not there or go away.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use crate::support::{command, finish, run};

/// An endpoint where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// An endpoint that takes requests and closes without an answer.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let read = stream.unwrap().read(&mut [0; 4096]);
            assert!(read.is_ok_and(|read| read > 0));
        }
    });
    endpoint
}

/// An endpoint that answers every request by its first line, and closes.
fn scripted(answer: fn(&str) -> (&'static str, String)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
            let first = lines.next().unwrap();
            assert!(lines.any(|line| line.is_empty()), "the head ends");
            let (status, body) = answer(&first);
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}");
            write!(&stream, "{head}\r\n\r\n{body}").unwrap();
        }
    });
    endpoint
}

fn problem(detail: &str) -> String {
    serde_json::json!({
        "status": 503, "code": "unavailable", "outcome": "not_applied", "detail": detail,
    })
    .to_string()
}

#[test]
fn a_cluster_is_formed_of_one_node_that_has_none_and_by_somebody_who_means_it() {
    let waiting = scripted(|line| match line {
        "GET /v1/cluster HTTP/1.1" => ("503 Service Unavailable", problem("it has no cluster")),
        "POST /v1/cluster/init HTTP/1.1" => ("200 OK", r#"{"cluster_id":"0abc"}"#.into()),
        other => panic!("{other}"),
    });
    let init = |more: &[&str]| run(&[&["cluster", "init", "--endpoint", &waiting], more].concat());
    let asked = init(&[]).exits(2);
    let what = format!("form a new cluster of the node at {waiting} and those that wait for it");
    assert!(asked.stderr.contains(&what) && asked.stderr.contains("--yes"), "{asked:?}");
    let dry = init(&["--dry-run"]).exits(0);
    assert_eq!(dry.stderr, format!("would {what}; nothing was changed\n"));
    assert_eq!(init(&["--yes"]).exits(0).stderr, "cluster 0abc is formed\n");
    let document = init(&["--yes", "-o", "json"]).exits(0).json();
    assert_eq!(document, serde_json::json!({"cluster_id": "0abc"}));
    let two = init(&["--yes", "--endpoint", "http://127.0.0.1:1"]).exits(2);
    assert!(two.stderr.contains("name one --endpoint"), "{two:?}");

    let few = scripted(|line| match line {
        "GET /v1/cluster HTTP/1.1" => ("503 Service Unavailable", problem("it has no cluster")),
        _ => ("503 Service Unavailable", problem("b has not answered")),
    });
    let refused = run(&["cluster", "init", "--yes", "--endpoint", &few]).exits(3);
    assert!(refused.stderr.contains("b has not answered"), "{refused:?}");
}

#[test]
fn wrong_usage_exits_2() {
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["kv", "put", "k"],
        &["kv", "put", "", "v"],
        &["kv", "put", "k", "v", "--ttl", "5"],
        &["kv", "put", "k", "v", "--ttl", "0s"],
        &["kv", "put", "k", "v", "--tll=30s"],
        &["kv", "put", "k", "v", "--if-absent", "--if-version", "3"],
        &["kv", "get", "k", "--endpoint", "https://127.0.0.1:1"],
        &["kv", "get", "k", "--timeout", "61s"],
        &["kv", "get", "k", "-o", "yaml"],
        &["kv", "scan", "--limit", "0"],
        &["dev", "--nodes", "0"],
        &["dev", "--nodes", "11"],
        &["dev", "--base-port", "65001"],
        &["completions", "powershell"],
        &["cluster", "set", "replication_factor"],
        &["check-config"],
    ] {
        let ran = run(arguments).exits(2);
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
        assert!(ran.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_version_and_completions_go_to_standard_output() {
    let version = run(&["--version"]).exits(0);
    assert_eq!(version.text(), format!("ringfort {}\n", env!("CARGO_PKG_VERSION")));
    for command in ["server", "dev", "kv", "cluster", "check-config", "bench", "completions"] {
        let help = run(&[command, "--help"]).exits(0);
        assert!(help.text().contains("Usage: ringfort"), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).exits(0).text().contains("check-config"), "{shell}");
    }
}

#[test]
fn nobody_there_is_not_done() {
    let endpoint = nobody();
    for arguments in [
        &["kv", "get", "k"][..],
        &["kv", "put", "k", "v"],
        &["kv", "del", "k"],
        &["kv", "scan"],
        &["cluster", "status"],
        &["cluster", "init"],
        &["cluster", "drain", "a", "--yes"],
    ] {
        let mut command = command(arguments);
        command.env("RINGFORT_ENDPOINT", &endpoint);
        let ran = finish(command, b"").exits(3);
        assert!(ran.stderr.contains("cannot connect"), "{ran:?}");
        assert!(ran.stderr.contains(&endpoint), "{ran:?}");
    }
}

#[test]
fn a_write_that_was_sent_and_not_answered_is_unknown() {
    let endpoint = silent();
    let ran = run(&["kv", "put", "k", "v", "--endpoint", &endpoint]).exits(4);
    assert!(ran.stderr.contains("may have happened"), "{ran:?}");
    let ran = run(&["kv", "del", "k", "-o", "json", "--endpoint", &endpoint]).exits(4);
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((error["outcome"].as_str(), error["attempts"].as_u64()), (Some("unknown"), Some(2)));
    run(&["kv", "get", "k", "--endpoint", &endpoint]).exits(3);
}

#[test]
fn a_flag_wins_over_the_environment() {
    let (flag, variable) = (nobody(), nobody());
    let mut command = command(&["kv", "get", "k", "--endpoint", &flag]);
    command.env("RINGFORT_ENDPOINT", &variable);
    let ran = finish(command, b"").exits(3);
    assert!(ran.stderr.contains(&flag) && !ran.stderr.contains(&variable), "{ran:?}");
    let mut command = crate::support::command(&["kv", "get", "k"]);
    command.env("RINGFORT_ENDPOINT", "nonsense:x");
    assert!(finish(command, b"").exits(2).stderr.contains("RINGFORT_ENDPOINT"));
}

#[test]
fn check_config_names_line_and_key_or_explains() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ringfort.toml");
    let file = path.to_str().unwrap();
    std::fs::write(&path, "[node]\nid = \"a\"\n[listen]\nclient = \"0.0.0.0:7400\"\nfoo = 1\n")
        .unwrap();
    let ran = run(&["check-config", file]).exits(2);
    assert!(ran.stdout.is_empty());
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert!(lines[0].starts_with(&format!("{file}:4: listen.client: 0.0.0.0:7400 ")), "{ran:?}");
    assert!(lines[0].contains("security.insecure = true"), "{ran:?}");
    assert!(lines[2].starts_with(&format!("{file}:5: listen.foo: is no setting")), "{ran:?}");
    let document = run(&["check-config", file, "-o", "json"]).exits(2).json();
    assert_eq!(document["problems"][2]["origin"]["line"], 5);

    std::fs::write(&path, "[node]\nid = \"a\"\n").unwrap();
    let mut command = command(&["check-config", file, "--set", "cluster.shards=8"]);
    command.env("RINGFORT_NODE__ZONE", "z");
    let ran = finish(command, b"").exits(0);
    for expected in [
        format!("id = \"a\" # {file}:2"),
        "zone = \"z\" # RINGFORT_NODE__ZONE".into(),
        "shards = 8 # --set".into(),
        "engine = \"memory\" # default".into(),
    ] {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            ran.text().lines().any(|line| words(line) == expected),
            "{expected}: {}",
            ran.text()
        );
    }
    // What is printed is itself a configuration.
    let printed = dir.path().join("printed.toml");
    std::fs::write(&printed, ran.text()).unwrap();
    run(&["check-config", printed.to_str().unwrap()]).exits(0);
    let document = run(&["check-config", file, "-o", "json"]).exits(0).json();
    assert_eq!(document["settings"]["node.id"]["origin"]["from"], "file");
}

#[test]
fn a_server_refuses_a_wrong_configuration_with_all_its_problems() {
    let ran = run(&[
        "server",
        "--config",
        "/nonexistent.toml",
        "--set",
        "a.b=1",
        "--set",
        "storage.engine=lsm",
    ]);
    let ran = ran.exits(2);
    assert_eq!(ran.stderr.lines().count(), 3, "{ran:?}");
    assert!(ran.stderr.contains("/nonexistent.toml: cannot be read"), "{ran:?}");
    assert!(ran.stderr.contains("storage.engine: this engine is not available"), "{ran:?}");
    let ran = run(&["server", "--set", "logging.output=/nonexistent/x.log"]).exits(2);
    assert!(
        ran.stderr.starts_with("--set: logging.output: /nonexistent/x.log: No such file"),
        "{ran:?}"
    );
    let mut command = command(&["server"]);
    command.env("RINGFORT_NODE_DATA_DIR", "/nonexistent/x");
    let ran = finish(command, b"").exits(2);
    assert!(ran.stderr.contains("write RINGFORT_NODE__DATA_DIR,"), "{ran:?}");
}
