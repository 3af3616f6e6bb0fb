//! `cargo xtask proto`: the Rust code of the protobuf schemas in `crates/proto/proto`.
//!
//! The code is committed, so that a build needs neither the schema's compiler nor time for it. A test says where the two
//! have come apart.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use prost_build::Module;

const SCHEMAS: &str = "crates/proto/proto";
const GENERATED: &str = "crates/proto/src/generated";
const HEADER: &str = "// Written by `cargo xtask proto`: change the schema, not this file.\n\n";

/// Writes the code, or with `--check` says whether what is there is the same.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let check = match arguments {
        [] => false,
        [only] if only == "--check" => true,
        _ => bail!("proto takes --check or nothing, got {arguments:?}"),
    };
    let mut same = true;
    for (name, code) in generate(root)? {
        let path = root.join(GENERATED).join(&name);
        if !check {
            std::fs::write(&path, code).with_context(|| format!("cannot write {name}"))?;
        } else if std::fs::read_to_string(&path).unwrap_or_default() != code {
            eprintln!("{GENERATED}/{name} is not what its schema gives: run `cargo xtask proto`");
            same = false;
        }
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// File names and their code.
fn generate(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let schemas = root.join(SCHEMAS);
    let compiled = protox::compile(["cluster.proto", "peer.proto"], [&schemas])?;
    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    for large_and_rare in [
        ".ringfort.peer.v1.Consensus.body.snapshot",
        ".ringfort.peer.v1.Request.what.list",
        ".ringfort.peer.v1.Answer.what.refusal",
        ".ringfort.peer.v1.Each.result.refusal",
    ] {
        // The others need not be as large.
        config.boxed(large_and_rare);
    }
    let requests = compiled.file.into_iter().map(|file| {
        let module = Module::from_protobuf_package_name(file.package());
        (module, file)
    });
    let modules = config.generate(requests.collect())?;
    let mut files: Vec<_> = modules
        .into_iter()
        .map(|(module, code)| (module.to_file_name_or("none"), format!("{HEADER}{code}")))
        .collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_code_is_what_the_schemas_give() {
        let root = crate::workspace_root();
        let files = generate(&root).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ringfort.cluster.v1.rs", "ringfort.peer.v1.rs"]);
        for (name, code) in &files {
            let committed = std::fs::read_to_string(root.join(GENERATED).join(name)).unwrap();
            assert!(committed == *code, "{GENERATED}/{name}: run `cargo xtask proto`");
        }
    }
}
