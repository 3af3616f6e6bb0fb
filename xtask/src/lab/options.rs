//! Flags of a command, read by hand: there are few, and a parser would be the largest part of this program.

use anyhow::{Context, bail};

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Table,
    Json,
}

/// What remains of a command's arguments.
#[derive(Debug)]
pub(super) struct Options<'a> {
    rest: Vec<&'a str>,
}

impl<'a> Options<'a> {
    pub(super) fn new(arguments: &'a [String]) -> Self {
        Self { rest: arguments.iter().map(String::as_str).collect() }
    }

    /// Takes a flag without value.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        let before = self.rest.len();
        self.rest.retain(|argument| *argument != name);
        self.rest.len() < before
    }

    /// Takes `name NUMBER`, within bounds.
    pub(super) fn number(&mut self, name: &str, default: u64, max: u64) -> anyhow::Result<u64> {
        let Some(value) = self.value(name)? else {
            return Ok(default);
        };
        match value.parse() {
            Ok(number) if (1..=max).contains(&number) => Ok(number),
            _ => bail!("{name} is 1 to {max}, got {value:?}"),
        }
    }

    /// Takes `-o table|json`.
    pub(super) fn output(&mut self) -> anyhow::Result<Output> {
        match self.value("-o")? {
            None | Some("table") => Ok(Output::Table),
            Some("json") => Ok(Output::Json),
            Some(other) => bail!("-o is table or json, got {other:?}"),
        }
    }

    /// Takes `name TEXT`.
    pub(super) fn text(&mut self, name: &str) -> anyhow::Result<Option<&'a str>> {
        self.value(name)
    }

    /// Nothing may remain.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self.rest.first() {
            None => Ok(()),
            Some(argument) => bail!("unknown argument {argument:?}; see cargo xtask help"),
        }
    }

    fn value(&mut self, name: &str) -> anyhow::Result<Option<&'a str>> {
        let Some(at) = self.rest.iter().position(|argument| *argument == name) else {
            return Ok(None);
        };
        self.rest.remove(at);
        let missing = || format!("{name} wants a value");
        let value = self.rest.get(at).copied().with_context(missing)?;
        self.rest.remove(at);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn flags_are_taken_and_the_rest_is_refused() {
        let line = strings("--quick --rounds 3 -o json");
        let mut options = Options::new(&line);
        assert!(options.flag("--quick"));
        assert!(!options.flag("--quick"));
        assert_eq!(options.number("--rounds", 5, 100).unwrap(), 3);
        assert_eq!(options.number("--seconds", 5, 100).unwrap(), 5);
        assert_eq!(options.output().unwrap(), Output::Json);
        options.finish().unwrap();
        for line in ["--rounds", "--rounds x", "--rounds 0", "--rounds 101", "--what", "-o xml"] {
            let line = strings(line);
            let mut options = Options::new(&line);
            let read = options.number("--rounds", 5, 100).and_then(|_| options.output());
            assert!(read.is_err() || options.finish().is_err(), "{line:?}");
        }
    }
}
