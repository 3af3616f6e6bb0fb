//! Query parameters: every one known, none twice, each decoded once.

use std::borrow::Cow;

use bytes::Bytes;
use ringfort_types::request::Consistency;
use ringfort_types::{Code, Refusal};

use super::percent;

/// The parameters of a request, all of them among those that its route and method take.
#[derive(Debug, Default)]
pub(crate) struct Query {
    given: Vec<(&'static str, Bytes)>,
}

impl Query {
    /// Parses the part behind the `?`.
    pub(crate) fn parse(raw: Option<&str>, allowed: &[&'static str]) -> Result<Self, Refusal> {
        let mut query = Self::default();
        let Some(raw) = raw.filter(|raw| !raw.is_empty()) else {
            return Ok(query);
        };
        for pair in raw.split('&') {
            let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent::decode(raw_name).map_err(|_| bad_escape("name", raw_name))?;
            let known = allowed.iter().find(|known| known.as_bytes() == name);
            let Some(known) = known.copied() else {
                let shown = shown(&name);
                let detail = if allowed.is_empty() {
                    format!("unknown query parameter {shown}: this route and method take none")
                } else {
                    format!(
                        "unknown query parameter {shown}: this route and method take {allowed:?}"
                    )
                };
                return Err(invalid(detail));
            };
            if query.bytes(known).is_some() {
                return Err(invalid(format!("the query parameter {known} is repeated")));
            }
            let value = percent::decode(raw_value).map_err(|_| bad_escape("value", known))?;
            query.given.push((known, value));
        }
        Ok(query)
    }

    /// The decoded bytes of a parameter, if it was given.
    pub(crate) fn bytes(&self, name: &str) -> Option<&Bytes> {
        let found = self.given.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }

    /// A parameter that is a text.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        let text = self.bytes(name).map(|value| std::str::from_utf8(value)).transpose();
        text.map_err(|_| invalid(format!("the query parameter {name} is not valid UTF-8")))
    }

    /// A parameter that is one of a few words; the first where it was not given.
    pub(crate) fn choice<T: Copy>(
        &self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                let shown = shown(text.as_bytes());
                let detail = format!("the query parameter {name} is one of {words:?}; got {shown}");
                Err(invalid(detail))
            }
        }
    }

    /// `consistency`.
    pub(crate) fn consistency(&self) -> Result<Consistency, Refusal> {
        let choices = [("linearizable", Consistency::Linearizable), ("stale", Consistency::Stale)];
        Ok(self.choice("consistency", &choices)?.unwrap_or_default())
    }

    /// Whether `encoding` forces Base64.
    pub(crate) fn base64(&self) -> Result<bool, Refusal> {
        Ok(self.choice("encoding", &[("base64", true)])?.unwrap_or(false))
    }
}

fn invalid(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::InvalidArgument, detail)
}

fn bad_escape(part: &str, name: &str) -> Refusal {
    let shown = shown(name.as_bytes());
    invalid(format!(
        "the {part} of the query parameter {shown} holds a % without two hexadecimal digits"
    ))
}

/// The beginning of what a client sent, fit for a message.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let beginning = &bytes[..bytes.len().min(80)];
    let more = if beginning.len() < bytes.len() { "…" } else { "" };
    format!("\"{}{more}\"", beginning.escape_ascii())
}
