//! The transcripts of the guide are what the server really says.

use anyhow::{Context, Result, ensure};
use ringfort_testkit::{ServerOptions, binary, transcript};

#[test]
fn the_guide_shows_what_happens() -> Result<()> {
    let guide = binary::workspace_dir()?.join("docs/guide.md");
    let text = std::fs::read_to_string(&guide).with_context(|| guide.display().to_string())?;
    let steps = transcript::steps(&text)?;
    ensure!(steps.len() > 20, "only {} transcripts in the guide", steps.len());
    let server = ServerOptions::new().set("node.id", "a").start()?;
    let names = [("127.0.0.1:7400".to_owned(), format!("127.0.0.1:{}", server.port()))];
    let mut failures = Vec::new();
    for step in &steps {
        if let Err(error) = transcript::run(step, &names, server.home()) {
            failures.push(format!("{error:#}"));
        }
    }
    println!("{} transcripts", steps.len());
    ensure!(failures.is_empty(), "docs/guide.md, {}", failures.join("\ndocs/guide.md, "));
    Ok(())
}
