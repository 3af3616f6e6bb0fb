//! `ringfort check-config`: what is wrong with a configuration, or what counts and who said so.

use serde_json::json;

use crate::arguments::CheckArguments;
use crate::config::origin::Origin;
use crate::config::{Effective, Problems, Sources, table};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

pub(crate) fn run(arguments: CheckArguments) -> Result<Exit, Failure> {
    let sources = Sources::with_environment(Some(arguments.file), arguments.settings.set);
    match (Effective::load(&sources), arguments.output) {
        (Err(problems), Format::Table) => {
            output::say(&problems.to_string());
            Ok(Exit::Usage)
        }
        (Err(problems), Format::Json) => {
            output::print_json(&problems_document(&problems))?;
            Ok(Exit::Usage)
        }
        (Ok(effective), Format::Table) => {
            output::print(text(&effective).as_bytes())?;
            Ok(Exit::Done)
        }
        (Ok(effective), Format::Json) => {
            output::print_json(&document(&effective))?;
            Ok(Exit::Done)
        }
    }
}

/// The configuration as TOML, every value with where it comes from as a comment.
fn text(effective: &Effective) -> String {
    let mut lines = Vec::new();
    for section in table::sections() {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(format!("[{section}]"));
        let rows = effective.rows().filter(|(key, ..)| table::section_of(key) == section);
        lines.extend(rows.map(|(key, value, origin)| {
            let name = key.split_once('.').map_or(key, |(_, name)| name);
            // JSON's strings, numbers, booleans and lists are TOML's too.
            let assignment = if value.is_null() {
                format!("# {name} is not set")
            } else {
                format!("{name} = {value}")
            };
            format!("{assignment:<48} # {origin}")
        }));
    }
    lines.join("\n") + "\n"
}

fn document(effective: &Effective) -> serde_json::Value {
    let settings = effective.rows().map(|(key, value, origin)| {
        let row = json!({ "value": value, "origin": origin_document(&origin) });
        (key.to_owned(), row)
    });
    json!({ "valid": true, "settings": settings.collect::<serde_json::Map<_, _>>() })
}

fn problems_document(problems: &Problems) -> serde_json::Value {
    let problems = problems.0.iter().map(|problem| {
        json!({ "key": problem.key, "problem": problem.what, "origin": origin_document(&problem.origin) })
    });
    json!({ "valid": false, "problems": problems.collect::<Vec<_>>() })
}

fn origin_document(origin: &Origin) -> serde_json::Value {
    match origin {
        Origin::Default => json!({ "from": "default" }),
        Origin::File { path, line } => {
            json!({ "from": "file", "path": path.to_string_lossy(), "line": line })
        }
        Origin::Environment { variable } => json!({ "from": "environment", "variable": variable }),
        Origin::Flag => json!({ "from": "flag" }),
    }
}
