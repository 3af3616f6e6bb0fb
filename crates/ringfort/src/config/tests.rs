//! Tables of configurations: what is wrong with each is said with its place and key; what is right has its value.

use std::ffi::OsString;

use super::origin::Origin;
use super::{Effective, Sources};

/// Loads a file with this text, these variables and these flags; problems come as text with the file's path shortened.
fn load(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Effective, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.toml");
    std::fs::write(&path, file).unwrap();
    let sources = Sources {
        file: Some(path),
        environment: variables.iter().map(|(k, v)| (k.into(), v.into())).collect(),
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
    };
    let shorten = |text: String| text.replace(&format!("{}/", dir.path().display()), "");
    Effective::load(&sources).map_err(|problems| shorten(problems.to_string()))
}

fn shown(effective: &Effective, key: &str) -> (serde_json::Value, Origin) {
    let row = effective.rows().find(|(known, ..)| *known == key);
    row.map(|(_, value, origin)| (value, origin)).unwrap()
}

/// The file that users begin with.
const EXAMPLE: &str = include_str!("../../ringfort.example.toml");

#[test]
fn the_example_names_every_setting_with_its_default() {
    let example = load(EXAMPLE, &[], &[]).unwrap();
    let default = load("", &[], &[]).unwrap();
    let mut section = "";
    let mut named = Vec::new();
    for line in EXAMPLE.lines() {
        if let Some(rest) = line.strip_prefix('[') {
            section = rest.split_once(']').unwrap().0;
        } else if let Some((name, _)) = line.trim_start_matches("# ").split_once(" = ") {
            named.push(format!("{section}.{name}"));
        }
    }
    for ((key, given, _), (_, default, _)) in example.rows().zip(default.rows()) {
        assert_eq!(given, default, "{key}");
        assert!(named.iter().any(|name| name == key), "{key} is missing");
    }
}

#[test]
fn a_full_file_is_read() {
    let file = r#"
        [node]
        id = "a"
        zone = "rack-1"
        capacity = 2
        [listen]
        client = "127.0.0.1:7410"
        health = "127.0.0.1:7402"
        advertise_client = "db1.example.org:7400"
        advertise_peer = "[2001:db8::1]:7401"
        [raft]
        reads = "read_index"
        [limits]
        max_value_bytes = 1048576
        [logging]
        format = "json"
        output = "journald"
    "#;
    let effective = load(file, &[], &[]).unwrap();
    for (key, value) in [
        ("node.id", "a"),
        ("node.zone", "rack-1"),
        ("listen.client", "127.0.0.1:7410"),
        ("listen.health", "127.0.0.1:7402"),
        ("listen.advertise_peer", "[2001:db8::1]:7401"),
        ("raft.reads", "read_index"),
        ("limits.max_value_bytes", "1MiB"),
        ("logging.format", "json"),
        ("logging.output", "journald"),
    ] {
        assert_eq!(shown(&effective, key).0, value, "{key}");
    }
}

#[test]
fn the_later_layer_wins_value_by_value() {
    let file = "[node]\nzone = \"file\"\ncapacity = 2\n[logging]\nlevel = \"warn\"\n";
    let variables = [("RINGFORT_NODE__ZONE", "environment"), ("RINGFORT_LOGGING__LEVEL", "debug")];
    let effective =
        load(file, &variables, &["logging.level=trace", "node.id=x", "node.id=y"]).unwrap();
    let (zone, origin) = shown(&effective, "node.zone");
    assert_eq!(zone, "environment");
    assert_eq!(origin, Origin::Environment { variable: "RINGFORT_NODE__ZONE".into() });
    assert_eq!(shown(&effective, "logging.level"), ("trace".into(), Origin::Flag));
    assert_eq!(shown(&effective, "node.id").0, "y");
    let (capacity, origin) = shown(&effective, "node.capacity");
    assert_eq!(capacity, 2.0);
    assert!(matches!(origin, Origin::File { line: 3, .. }), "{origin}");
    assert_eq!(shown(&effective, "node.data_dir").1, Origin::Default);
}

#[test]
fn what_is_no_setting_is_left_alone() {
    let variables = [("RINGFORT_ENDPOINT", "http://x"), ("OTHER__X", "1"), ("RINGFORT", "1")];
    assert!(load("", &variables, &[]).is_ok());
}

#[test]
fn a_file_that_is_wrong_is_told_line_and_key() {
    for (file, expected) in [
        (
            "[listen]\n\nclient = \"x\"\n",
            "r.toml:3: listen.client: must be an IP address and a port",
        ),
        ("[node]\nid = 5\n", "r.toml:2: node.id: must be a string; got 5"),
        ("[node]\nid = \"a b\"\n", "r.toml:2: node.id: a node id is 1 to 64"),
        ("[node]\nname = \"a\"\n", "r.toml:2: node.name: is no setting"),
        ("[node]\ndatadir = \"a\"\n", "did you mean node.data_dir?"),
        ("[cluster]\nclient = \"127.0.0.1:1\"\n", "did you mean listen.client?"),
        ("[nodes]\nid = \"a\"\n", "r.toml:1: nodes: is no section; there are node, listen"),
        ("id = \"a\"\n", "r.toml:1: id: stands outside of any section"),
        ("node = \"a\"\n", "r.toml:1: node: is a section: write [node]"),
        ("[node.x]\ny = 1\n", "r.toml:1: node.x: is no setting"),
        ("[node]\nid = \"a\"\nid = \"b\"\n", "r.toml:3: duplicate key"),
        ("[node]\n\nid = \n", "r.toml:3: "),
        ("[node]\ncapacity = 0\n", "node.capacity: must be a number from 0.01 to 1000; got 0"),
        ("[node]\ncapacity = nan\n", "node.capacity: must be a number"),
        (
            "[cluster]\nshards = 5000\n",
            "cluster.shards: must be a whole number from 1 to 4096; got 5000",
        ),
        ("[cluster]\nshards = \"64\"\n", "cluster.shards: must be a whole number"),
        ("[cluster]\nshards = 99999999999999999999\n", "cluster.shards: must be a whole number"),
        ("[cluster]\nseeds = \"a:1\"\n", "cluster.seeds: must be a list of strings"),
        ("[cluster]\nseeds = [1]\n", "cluster.seeds: must be a list of strings; got 1"),
        ("[cluster]\nseeds = [\"a\"]\n", "cluster.seeds: a seed is host:port"),
        ("[limits]\nmax_value_bytes = \"8 MiBs\"\n", "must be a size from 1B to 256MiB"),
        ("[limits]\nmax_value_bytes = \"1GiB\"\n", "got \"1GiB\""),
        ("[raft]\nheartbeat = \"1\"\n", "raft.heartbeat: must be a duration from 10ms to 10s"),
        (
            "[raft]\nreads = \"fast\"\n",
            "raft.reads: must be one of \"lease\", \"read_index\"; got \"fast\"",
        ),
        (
            "[security]\ninsecure = \"yes\"\n",
            "security.insecure: must be true or false; got \"yes\"",
        ),
        ("[logging]\nlevel = \"inof\"\n", "logging.level: must be one of off, error"),
        (
            "[logging]\noutput = \"stdout\"\n",
            "logging.output: must be \"stderr\", \"journald\" or a path",
        ),
        ("[node]\nzone = 1979-05-27\n", "got a date"),
    ] {
        let problems = load(file, &[], &[]).unwrap_err();
        assert!(problems.contains(expected), "{file:?}: {problems}");
    }
}

#[test]
fn a_variable_or_flag_that_is_wrong_is_named() {
    for (variables, flags, expected) in [
        (
            &[("RINGFORT_NODE__IDD", "a")][..],
            &[][..],
            "RINGFORT_NODE__IDD: node.idd: is no setting; did you mean node.id?",
        ),
        (
            &[("RINGFORT_CLUSTER__SHARDS", "x")],
            &[],
            "RINGFORT_CLUSTER__SHARDS: cluster.shards: must be a whole number",
        ),
        (
            &[],
            &["server.workers=-1"],
            "--set: server.workers: must be a whole number from 0 to 256; got \"-1\"",
        ),
        (
            &[("RINGFORT_NODE_DATA_DIR", "/x")],
            &[],
            "RINGFORT_NODE_DATA_DIR: node.data_dir: is not what this variable sets: write RINGFORT_NODE__DATA_DIR,",
        ),
        (
            &[("RINGFORT_LIMITS_MAX_VALUE_BYTES", "1MiB")],
            &[],
            "write RINGFORT_LIMITS__MAX_VALUE_BYTES, with two underscores after the section",
        ),
        (&[], &["workers"], "--set: workers: has no value: write --set section.key=value"),
        (&[], &["node.data_dir="], "--set: node.data_dir: must not be empty"),
        (&[], &["cluster.seeds=a:1,b"], "--set: cluster.seeds: a seed is host:port; got \"b\""),
        (&[], &["cluster.seeds=a:0"], "--set: cluster.seeds: a seed is host:port; got \"a:0\""),
        (&[], &["cluster.seeds=a:1,b:1,a:1"], "--set: cluster.seeds: names \"a:1\" twice"),
        (
            &[("RINGFORT_CLUSTER__SEEDS", "a:1,dns+srv://b")],
            &[],
            "RINGFORT_CLUSTER__SEEDS: cluster.seeds: finding seeds by DNS comes with a later version: write host:port; got \"dns+srv://b\"",
        ),
        (&[], &["cluster.bootstrap_expect=65"], "must be a whole number from 0 to 64; got \"65\""),
    ] {
        let problems = load("", variables, flags).unwrap_err();
        assert_eq!(problems.lines().count(), 1, "{problems}");
        assert!(problems.contains(expected), "{problems}");
    }
}

#[test]
fn settings_must_agree() {
    for (flags, expected) in [
        (
            &["listen.client=192.0.2.1:7400"][..],
            "listen.client: 192.0.2.1:7400 can be reached from outside",
        ),
        (&["listen.peer=192.0.2.1:7401"], "security.insecure = true allows it"),
        (&["listen.health=[2001:db8::1]:7402"], "listen.health: [2001:db8::1]:7402 can be reached"),
        (
            &["listen.client=0.0.0.0:7400", "security.insecure=true"],
            "listen.client: 0.0.0.0:7400 is a wildcard that nobody can dial: set listen.advertise_client too",
        ),
        (&["listen.peer=[::]:7401", "security.insecure=true"], "set listen.advertise_peer too"),
        (&["listen.client=127.0.0.1:7401"], "listen.peer: is the same address as listen.client"),
        (&["cluster.bootstrap_expect=3"], "cluster.bootstrap_expect: 3 nodes find one another by"),
        (
            &["cluster.seeds=a:1,b:1,c:1", "cluster.bootstrap_expect=2"],
            "cluster.bootstrap_expect: every one of the 3 cluster.seeds is a founder: expect at least 3",
        ),
        (&["listen.peer=192.0.2.1:7401"], "set security.peer_ca, peer_cert and peer_key;"),
        (&["cluster.bootstrap_expect=0"], "cluster.bootstrap_expect: 0 means to join a cluster"),
        (&["storage.engine=lsm"], "storage.engine: this engine is not available"),
        (&["storage.engine=rocksdb"], "storage.engine: this engine is not available"),
        (&["raft.election_timeout=499ms"], "raft.election_timeout: must be at least five times"),
        (
            &["limits.max_value_bytes=17MiB"],
            "limits.max_value_bytes: must not be above limits.max_request_bytes",
        ),
        (
            &["storage.segment_bytes=16MiB"],
            "storage.segment_bytes: must be at least 64MiB, four times limits.max_request_bytes (16MiB),",
        ),
        (
            &["limits.max_request_bytes=17MiB"],
            "limits.max_request_bytes: must not be above a quarter of storage.segment_bytes (16MiB)",
        ),
        (
            &["storage.segment_bytes=32MiB", "limits.max_request_bytes=9MiB"],
            "limits.max_request_bytes: must not be above a quarter of storage.segment_bytes (8MiB)",
        ),
        (&["storage.segment_bytes=67108865"], "storage.segment_bytes: must be a multiple of 4096"),
        (&["storage.log_bytes=127MiB"], "storage.log_bytes: must be at least twice"),
    ] {
        let problems = load("", &[], flags).unwrap_err();
        assert!(problems.starts_with("--set: "), "{problems}");
        assert!(problems.contains(expected), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    for flags in [
        &["listen.client=[::1]:7400"][..],
        &["listen.client=127.0.0.1:0", "listen.peer=127.0.0.1:0"],
        &["listen.client=192.0.2.1:7400", "security.insecure=true"],
        &["listen.client=0.0.0.0:7400", "listen.advertise_client=a:7400", "security.insecure=true"],
        &["limits.max_value_bytes=1000", "limits.max_request_bytes=1 KiB"],
        &["listen.health=off", "cluster.seeds="],
        &["cluster.seeds=a:1,b:1,c:1"],
        &["cluster.seeds=a:1,b:1,c:1", "cluster.bootstrap_expect=3"],
        &["cluster.seeds=a:1", "cluster.bootstrap_expect=64"],
        &["cluster.seeds=[::1]:7401,db1.example.org:7401", "cluster.bootstrap_expect=0"],
        &["raft.heartbeat=10ms", "raft.election_timeout=50ms"],
    ] {
        load("", &[], flags).unwrap();
    }
}

#[test]
fn seeds_by_dns_are_refused_with_file_line_and_key() {
    for seed in ["dns+a://ringfort.example.org:7401", "dns+srv://_peer._tcp.example.org"] {
        let file = format!("[cluster]\n\nseeds = [\"a:1\", \"{seed}\"]\n");
        let problems = load(&file, &[], &[]).unwrap_err();
        let expected = "r.toml:3: cluster.seeds: finding seeds by DNS comes with a later version";
        assert!(problems.starts_with(expected), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    let seeds: Vec<_> = (1..=65).map(|port| format!("a:{port}")).collect();
    let problems = load("", &[], &[&format!("cluster.seeds={}", seeds.join(","))]).unwrap_err();
    assert_eq!(problems, "--set: cluster.seeds: must be at most 64 seeds; got 65");
}

#[test]
fn tls_between_nodes_takes_three_files_that_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (whole, empty) = (path("whole.pem"), path("empty.pem"));
    std::fs::write(&whole, "-----BEGIN").unwrap();
    std::fs::write(&empty, "").unwrap();
    let given = |ca: &str, cert: &str, key: &str| {
        let lines = [("peer_ca", ca), ("peer_cert", cert), ("peer_key", key)];
        let lines = lines.iter().filter(|(_, path)| !path.is_empty());
        let lines: String = lines.map(|(name, path)| format!("{name} = {path:?}\n")).collect();
        load(&format!("[listen]\npeer = \"192.0.2.1:7401\"\n[security]\n{lines}"), &[], &[])
    };
    given(&whole, &whole, &whole).unwrap();
    for (files, expected) in [
        (
            [&whole, &whole, &*path("none.pem")],
            format!("r.toml:6: security.peer_key: {}", path("none.pem")),
        ),
        (
            [&empty, &whole, &whole],
            format!("r.toml:4: security.peer_ca: {empty} cannot be read: it is empty"),
        ),
        ([&whole, dir.path().to_str().unwrap(), &whole], "r.toml:5: security.peer_cert: ".into()),
    ] {
        let problems = given(files[0], files[1], files[2]).unwrap_err();
        assert_eq!(problems.lines().count(), 1, "{problems}");
        assert!(problems.contains(&expected), "{expected}: {problems}");
    }
    let problems = given(&whole, "", "").unwrap_err();
    assert_eq!(problems.lines().count(), 3, "{problems}");
    assert!(
        problems.contains("r.toml:2: listen.peer: 192.0.2.1:7401 can be reached"),
        "{problems}"
    );
    for key in ["peer_cert", "peer_key"] {
        assert!(problems.contains(&format!("r.toml:4: security.{key}: is missing")), "{problems}");
    }
}

#[test]
fn all_problems_come_at_once_and_each_once() {
    let file = "[node]\nidd = \"a\"\n[listen]\nclient = \"x\"\npeer = 7\n";
    let problems = load(file, &[("RINGFORT_X__Y", "1")], &["cluster.shards=0"]).unwrap_err();
    let places: Vec<_> = problems.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["r.toml:2", "r.toml:4", "r.toml:5", "RINGFORT_X__Y", "--set"]);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let missing = Sources { file: Some("/nonexistent/r.toml".into()), ..Sources::default() };
    let problems = Effective::load(&missing).unwrap_err().to_string();
    assert!(
        problems.starts_with("/nonexistent/r.toml: cannot be read: No such file"),
        "{problems}"
    );
    let endless = Sources { file: Some("/dev/zero".into()), ..Sources::default() };
    assert!(Effective::load(&endless).unwrap_err().to_string().contains("larger than 1 MiB"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bytes.toml");
    std::fs::write(&path, b"[node]\nid = \"\xff\"\n").unwrap();
    let binary = Sources { file: Some(path), ..Sources::default() };
    let problems = Effective::load(&binary).unwrap_err().to_string();
    assert!(problems.ends_with("bytes.toml:2: is not valid UTF-8"), "{problems}");
}

#[test]
fn a_variable_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStringExt;
    let sources = Sources {
        environment: vec![("RINGFORT_NODE__ID".into(), OsString::from_vec(vec![0xff]))],
        ..Sources::default()
    };
    let problems = Effective::load(&sources).unwrap_err().to_string();
    assert_eq!(problems, "RINGFORT_NODE__ID: node.id: is not valid UTF-8");
}
