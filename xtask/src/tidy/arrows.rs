//! Which crate may depend on which: the table of ARCHITECTURE.md, exactly.

use toml::{Table, Value};

use super::Finding;

/// Arrows of each crate, besides the one to `types` that everyone has.
const ARROWS: [(&str, &[&str]); 21] = [
    ("types", &[]),
    ("raft", &[]),
    ("gossip", &[]),
    ("placement", &[]),
    ("route", &["placement"]),
    ("env", &[]),
    ("log", &["env"]),
    ("engine", &["env"]),
    ("engine-disk", &["env", "engine"]),
    ("replica", &["env", "raft", "log", "engine"]),
    ("node", &["raft", "gossip", "placement", "route", "env", "log", "engine", "replica", "proto"]),
    ("proto", &["raft", "gossip", "placement"]),
    ("door", &["proto"]),
    ("server", &["node", "env", "engine-disk", "door", "proto"]),
    ("client", &["route", "proto"]),
    ("router", &["door", "client"]),
    ("bench", &["client", "proto"]),
    ("ringfort", &["server", "router", "client", "bench"]),
    ("check", &[]),
    ("sim", ANY),
    ("testkit", &["client", "check"]),
];

/// May depend on every crate.
const ANY: &[&str] = &["*"];
/// Nothing but tests may depend on these; any crate's tests may.
const FOR_TESTS: [&str; 3] = ["sim", "testkit", "check"];
/// These may stand among the ordinary dependencies of these, too: helpers of tests built on helpers of tests.
const HELPERS: [(&str, &str); 1] = [("testkit", "check")];

/// Checks one manifest: its arrows, and that it takes the workspace's lints.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let manifest: Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Finding::new(path, 0, format!("is no TOML: {error}"))],
    };
    let Some(package) =
        manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str)
    else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let takes_lints =
        manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool);
    if takes_lints != Some(true) {
        let what = "takes no lints from the workspace: add [lints] workspace = true";
        findings.push(Finding::new(path, 0, what));
    }
    if package == "xtask" {
        return findings;
    }
    findings.extend(check_name(path, package));
    let name = short(package).unwrap_or(package);
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        let what = format!("{name} is in no table of arrows (ARCHITECTURE.md, xtask's arrows.rs)");
        findings.push(Finding::new(path, 0, what));
        return findings;
    };
    for (kind, dependency) in dependencies(&manifest) {
        if !is_allowed(name, allowed, kind, &dependency) {
            let what = format!("forbidden arrow: {name} -> {dependency} ({kind})");
            findings.push(Finding::new(path, 0, what));
        }
    }
    findings
}

fn is_allowed(from: &str, allowed: &[&str], kind: Kind, to: &str) -> bool {
    if to == from {
        // A crate's tests may switch on its own features.
        return kind == Kind::Dev;
    }
    if FOR_TESTS.contains(&to) && kind != Kind::Dev && allowed != ANY {
        return HELPERS.contains(&(from, to));
    }
    to == "types"
        || allowed == ANY
        || allowed.contains(&to)
        || (kind == Kind::Dev && FOR_TESTS.contains(&to))
}

/// A package `ringfort-x` lives in `crates/x`.
fn check_name(path: &str, package: &str) -> Option<Finding> {
    let expected = match short(package) {
        Some(name) => format!("crates/{name}/Cargo.toml"),
        None => format!("crates/{package}/Cargo.toml"),
    };
    (path != expected).then(|| Finding::new(path, 0, format!("{package} belongs into {expected}")))
}

fn short(package: &str) -> Option<&str> {
    package.strip_prefix("ringfort-")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Build,
    Dev,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Normal => "dependency",
            Self::Build => "build-dependency",
            Self::Dev => "dev-dependency",
        })
    }
}

/// Crates of this workspace that a manifest names, without their prefix; those for one target only included.
fn dependencies(manifest: &Table) -> Vec<(Kind, String)> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let tables = targets
        .into_iter()
        .flat_map(|targets| targets.values().filter_map(Value::as_table))
        .chain([manifest]);
    let mut found = Vec::new();
    for table in tables {
        for (kind, key) in [
            (Kind::Normal, "dependencies"),
            (Kind::Build, "build-dependencies"),
            (Kind::Dev, "dev-dependencies"),
        ] {
            let Some(listed) = table.get(key).and_then(Value::as_table) else {
                continue;
            };
            for (name, value) in listed {
                let package = value.get("package").and_then(Value::as_str).unwrap_or(name);
                if let Some(short) = short(package) {
                    found.push((kind, short.to_owned()));
                } else if package == "ringfort" {
                    found.push((kind, package.to_owned()));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, dependencies: &str) -> Vec<String> {
        let package = if name == "ringfort" { name.to_owned() } else { format!("ringfort-{name}") };
        let text =
            format!("[package]\nname = \"{package}\"\n[lints]\nworkspace = true\n{dependencies}\n");
        check(&format!("crates/{name}/Cargo.toml"), &text)
            .into_iter()
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn an_arrow_of_the_table_is_fine() {
        for (name, dependencies) in [
            ("log", "[dependencies]\nringfort-types = {}\nringfort-env = {}\ntokio = \"1\""),
            ("log", "[dev-dependencies]\nringfort-sim = {}\nringfort-testkit = {}"),
            ("sim", "[dependencies]\nringfort-node = {}\nringfort-check = {}"),
            ("testkit", "[dependencies]\nringfort-check = {}\nringfort-client = {}"),
            ("log", "[dev-dependencies]\nringfort-log = { features = [\"suite\"] }"),
            ("ringfort", "[dependencies]\nringfort-server = {}"),
        ] {
            assert_eq!(findings(name, dependencies), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn any_other_arrow_is_forbidden() {
        for (name, dependencies, arrow) in [
            ("types", "[dependencies]\nringfort-env = {}", "types -> env"),
            ("raft", "[dependencies]\nringfort-log = {}", "raft -> log"),
            ("log", "[dependencies]\nringfort-sim = {}", "log -> sim"),
            ("log", "[build-dependencies]\nringfort-node = {}", "log -> node (build"),
            ("engine", "[dev-dependencies]\nringfort-log = {}", "engine -> log (dev"),
            ("door", "[dependencies]\nringfort-node.workspace = true", "door -> node"),
            ("node", "[dependencies]\nx = { package = \"ringfort-server\" }", "node -> server"),
            ("server", "[dependencies]\nringfort = {}", "server -> ringfort"),
            ("node", "[target.'cfg(unix)'.dependencies]\nringfort-door = {}", "node -> door"),
        ] {
            let found = findings(name, dependencies);
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert!(found[0].contains(arrow), "{found:?}");
        }
    }

    #[test]
    fn a_crate_has_its_place_its_lints_and_its_row() {
        let found = check("crates/b/Cargo.toml", "[package]\nname = \"ringfort-log\"\n");
        let text: Vec<&str> = found.iter().map(|finding| finding.what.as_str()).collect();
        assert!(text[0].contains("lints"), "{text:?}");
        assert!(text[1].contains("crates/log"), "{text:?}");
        assert!(findings("misc", "")[0].contains("table of arrows"));
        let root = "[workspace]\nmembers = []\n[workspace.dependencies]\nringfort-log = {}\n";
        assert!(check("Cargo.toml", root).is_empty());
        assert!(check("Cargo.toml", "[").len() == 1);
    }
}
