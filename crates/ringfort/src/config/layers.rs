//! The layers: what a file, the environment and the flags assign.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::origin::{Origin, Problem, Problems};
use super::table;
use super::value::Value;

/// Larger files are no configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;
const PREFIX: &str = "RINGFORT_";

/// Where settings are looked for. Kept, so that SIGHUP can look again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) file: Option<PathBuf>,
    /// Variables, of which those with the prefix count.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// `section.key=value`, in order.
    pub(crate) flags: Vec<String>,
}

impl Sources {
    /// These, with the environment of this process.
    pub(crate) fn with_environment(file: Option<PathBuf>, flags: Vec<String>) -> Self {
        Self { file, environment: std::env::vars_os().collect(), flags }
    }

    /// What all layers assign, the weakest first.
    pub(crate) fn assignments(&self, problems: &mut Problems) -> Vec<Assignment> {
        let mut assignments = Vec::new();
        if let Some(file) = &self.file {
            read_file(file, &mut assignments, problems);
        }
        for (name, value) in &self.environment {
            assign_variable(name, value, &mut assignments, problems);
        }
        for flag in &self.flags {
            assign_flag(flag, &mut assignments, problems);
        }
        assignments
    }
}

/// A key, its value, and who said so. The key may be unknown.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

fn assign_flag(flag: &str, assignments: &mut Vec<Assignment>, problems: &mut Problems) {
    let origin = Origin::Flag;
    match flag.split_once('=') {
        Some((key, value)) => assignments.push(Assignment {
            key: key.trim().to_owned(),
            value: Value::Text(value.to_owned()),
            origin,
        }),
        None => problems.add(origin, flag, "has no value: write --set section.key=value"),
    }
}

/// Takes `RINGFORT_SECTION__KEY`. Without the double underscore a variable is no setting (`RINGFORT_ENDPOINT`), which is an
/// error where it is one but for that: whoever set it means it to count.
fn assign_variable(
    name: &OsString,
    value: &OsString,
    assignments: &mut Vec<Assignment>,
    problems: &mut Problems,
) {
    let name = name.to_string_lossy();
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return;
    };
    let Some((section, key)) = rest.split_once("__") else {
        if let Some(meant) = meant_by(rest) {
            let what = format!(
                "is not what this variable sets: write {}, with two underscores after the section",
                variable_of(meant)
            );
            problems.add(Origin::Environment { variable: name.into_owned() }, meant, what);
        }
        return;
    };
    let key = format!("{section}.{key}").to_ascii_lowercase();
    let origin = Origin::Environment { variable: name.into_owned() };
    match value.to_str() {
        Some(text) => {
            assignments.push(Assignment { key, value: Value::Text(text.to_owned()), origin });
        }
        None => problems.add(origin, key, "is not valid UTF-8"),
    }
}

/// The setting whose variable misses an underscore. The prefix is cut off.
fn meant_by(rest: &str) -> Option<&'static str> {
    let mut keys = table::SETTINGS.iter().map(|setting| setting.key);
    keys.find(|key| key.replace('.', "_").eq_ignore_ascii_case(rest))
}

fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

fn read_file(path: &Path, assignments: &mut Vec<Assignment>, problems: &mut Problems) {
    let whole = |what: String, line| Problem {
        origin: Origin::File { path: path.to_owned(), line },
        key: None,
        what,
    };
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => {
            return problems.0.push(whole(format!("cannot be read: {error}"), 0));
        }
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
            return problems
                .0
                .push(whole("is larger than 1 MiB: is this a configuration?".into(), 0));
        }
        Ok(_) => {}
    }
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = line_at(&bytes, error.valid_up_to());
            return problems.0.push(whole("is not valid UTF-8".into(), line));
        }
    };
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map_or(0, |span| line_at(&bytes, span.start));
        problems.0.push(whole(error.message().trim().to_owned(), line));
    }
    if errors.is_empty() {
        assign_sections(path, text, root.get_ref(), assignments, problems);
    }
}

fn line_at(text: &[u8], offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

fn assign_sections(
    path: &Path,
    text: &str,
    root: &DeTable<'_>,
    assignments: &mut Vec<Assignment>,
    problems: &mut Problems,
) {
    let origin =
        |offset| Origin::File { path: path.to_owned(), line: line_at(text.as_bytes(), offset) };
    for (section, content) in root {
        let at = origin(section.span().start);
        let section: &str = section.get_ref();
        let known = table::sections().contains(&section);
        match content.get_ref() {
            DeValue::Table(_) if !known => {
                let what = format!("is no section; there are {}", table::sections().join(", "));
                problems.add(at, section, what);
            }
            DeValue::Table(keys) => {
                for (key, value) in keys {
                    assignments.push(Assignment {
                        key: format!("{section}.{}", key.get_ref()),
                        value: value_of(value.get_ref()),
                        origin: origin(key.span().start),
                    });
                }
            }
            _ if known => problems.add(at, section, format!("is a section: write [{section}]")),
            _ => problems.add(at, section, "stands outside of any section"),
        }
    }
}

fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i128::from_str_radix(number.as_str(), number.radix());
            parsed.map_or(Value::Other("a number too large"), Value::Integer)
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse();
            parsed.map_or(Value::Other("a number too large"), Value::Float)
        }
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| value_of(item.get_ref())).collect())
        }
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(_) => Value::Other("a table"),
    }
}
