//! The configuration files of the guide are what `check-config` takes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use ringfort_testkit::binary::workspace_dir;
use serde_json::{Value, json};

use crate::support::{Ran, command, finish};

/// The blocks fenced as TOML, by the name in their first line.
pub(crate) fn files() -> BTreeMap<String, String> {
    let guide = std::fs::read_to_string(workspace_dir().unwrap().join("docs/guide.md")).unwrap();
    let blocks = guide.split("\n```toml\n").skip(1);
    let named = blocks.map(|block| {
        let (text, _) = block.split_once("\n```\n").unwrap();
        let name = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap();
        (name.to_owned(), text.to_owned())
    });
    named.collect()
}

fn check(directory: &Path, name: &str) -> Ran {
    let mut command = command(&["check-config", name, "-o", "json"]);
    command.current_dir(directory);
    finish(command, b"")
}

#[test]
fn three_nodes_by_hand_have_files_that_fit_together() {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files() {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let [a, b, c] = ["a", "b", "c"].map(|id| {
        let settings = check(directory.path(), &format!("{id}.toml")).exits(0).json();
        assert_eq!(settings["settings"]["node.id"]["value"], id);
        settings["settings"].clone()
    });
    let value = |node: &Value, key: &str| node[key]["value"].clone();
    let addresses = [&a, &b, &c].map(|node| value(node, "listen.peer"));
    for node in [&a, &b, &c] {
        assert_eq!(value(node, "cluster.seeds"), json!(addresses));
        assert_eq!(value(node, "cluster.bootstrap_expect"), 3);
        assert_eq!(value(node, "cluster.replication_factor"), 3);
    }
    for key in ["node.data_dir", "node.zone", "listen.client", "listen.peer"] {
        let of = [&a, &b, &c].map(|node| value(node, key));
        assert!(of[0] != of[1] && of[1] != of[2] && of[0] != of[2], "{key}: {of:?}");
    }
}

/// The commands that make the certificates make the files that the configuration names.
#[test]
fn tls_between_nodes_takes_what_the_guide_makes() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a-tls.toml"), &files()["a-tls.toml"]).unwrap();
    let without = check(directory.path(), "a-tls.toml").exits(2).json();
    let keys: Vec<_> = without["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["security.peer_ca", "security.peer_cert", "security.peer_key"]);

    let guide = std::fs::read_to_string(workspace_dir().unwrap().join("docs/guide.md")).unwrap();
    let commands =
        guide.split("\n```sh\n").skip(1).map(|block| block.split_once("\n```").unwrap().0);
    let commands = commands.filter(|commands| commands.contains("openssl")).collect::<String>();
    match Command::new("openssl").arg("version").output() {
        Ok(version) if version.status.success() => {}
        _ => return eprintln!("not run: there is no openssl"),
    }
    let made = Command::new("bash").args(["-ec", &commands]).current_dir(directory.path()).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    check(directory.path(), "a-tls.toml").exits(0);
    let mut shown = Command::new("openssl");
    shown.args(["x509", "-noout", "-ext", "subjectAltName", "-in", "b.pem"]);
    let shown = shown.current_dir(directory.path()).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("DNS:b"), "{shown}");
}
