//! The choices of the `[logging]` section, parsed.

use std::fmt;
use std::path::PathBuf;

use tracing_subscriber::filter::{LevelFilter, Targets};

/// Which events count: a level, and other levels for some targets: `info,ringfort_log=debug`.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    text: String,
    targets: Targets,
}

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

impl Filter {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut targets = Targets::new().with_default(LevelFilter::INFO);
        for directive in text.split(',').map(str::trim) {
            targets = match directive.split_once('=') {
                None => targets.with_default(level(directive)?),
                Some((target, name)) if is_target(target) => {
                    targets.with_target(target, level(name)?)
                }
                Some((target, _)) => return Err(format!("{target:?} is no target of events")),
            };
        }
        Ok(Self { text: text.to_owned(), targets })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn targets(&self) -> Targets {
        self.targets.clone()
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self { text: "info".into(), targets: Targets::new().with_default(LevelFilter::INFO) }
    }
}

fn level(name: &str) -> Result<LevelFilter, String> {
    let known = LEVELS.iter().find(|(known, _)| *known == name);
    known.map(|(_, level)| *level).ok_or_else(|| {
        let names: Vec<_> = LEVELS.iter().map(|(name, _)| *name).collect();
        format!(
            "must be one of {}, or such as \"info,ringfort_log=debug\"; got {name:?}",
            names.join(", ")
        )
    })
}

fn is_target(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'))
}

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

impl Format {
    pub(crate) const ALL: [(&'static str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];
}

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Output {
    #[default]
    Stderr,
    Journald,
    File(PathBuf),
}

impl Output {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "stderr" => Ok(Self::Stderr),
            "journald" => Ok(Self::Journald),
            path if path.contains('/') => Ok(Self::File(path.into())),
            other => Err(format!(
                "must be \"stderr\", \"journald\" or a path with a / in it; got {other:?}"
            )),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stderr => f.write_str("stderr"),
            Self::Journald => f.write_str("journald"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_no_target() {
        for text in ["info", "warn,ringfort_log=debug", "ringfort::raft=trace,off"] {
            assert!(Filter::parse(text).is_ok(), "{text}");
        }
        for text in ["", "inof", "INFO", "info,", "a=b", "=info", "a b=info", "3"] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_output_is_a_known_word_or_a_path() {
        assert_eq!(Output::parse("stderr"), Ok(Output::Stderr));
        assert_eq!(Output::parse("./x.log"), Ok(Output::File("./x.log".into())));
        assert!(Output::parse("stdout").is_err());
    }
}
