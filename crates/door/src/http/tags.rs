//! Entity tags: the lists in `If-Match` and `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1).
//!
//! A tag of ours is a version in quotes, `"17"`, and nothing else: a tag that was written any other way is a tag we never
//! gave out. Such tags, and weak ones, are legal and match nothing.

use http::HeaderValue;
use ringfort_types::limits::VERSION_MAX;
use ringfort_types::{Code, Refusal, Version};

/// What one of the two headers asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`.
    Any,
    /// The versions of those tags of the list that can match.
    Versions(Vec<Version>),
}

impl Tags {
    /// Whether a key at this version matches.
    pub(crate) fn matches(&self, version: Version) -> bool {
        match self {
            Self::Any => version != Version::ABSENT,
            Self::Versions(versions) => versions.contains(&version),
        }
    }

    /// Adds one header line to what earlier lines of the same header said.
    pub(crate) fn add_line(
        earlier: Option<Self>,
        name: &'static str,
        line: &HeaderValue,
    ) -> Result<Self, Refusal> {
        let parsed = parse(line.as_bytes()).ok_or_else(|| malformed(name))?;
        match (earlier, parsed) {
            (None, parsed) => Ok(parsed),
            (Some(Self::Versions(mut all)), Self::Versions(more)) => {
                all.extend(more);
                Ok(Self::Versions(all))
            }
            (Some(_), _) => Err(malformed(name)),
        }
    }
}

fn malformed(name: &'static str) -> Refusal {
    let detail = format!("{name} is neither * nor a list of entity tags such as \"17\"");
    Refusal::new(Code::InvalidArgument, detail)
}

fn parse(line: &[u8]) -> Option<Tags> {
    let mut rest = line.trim_ascii();
    if rest == b"*" {
        return Some(Tags::Any);
    }
    let mut versions = Vec::new();
    let mut seen = false;
    loop {
        // Empty elements between commas are legal in a list.
        while let [b',' | b' ' | b'\t', after @ ..] = rest {
            rest = after;
        }
        if rest.is_empty() {
            return seen.then_some(Tags::Versions(versions));
        }
        let weak = rest.starts_with(b"W/");
        rest = rest.strip_prefix(b"W/").unwrap_or(rest).strip_prefix(b"\"")?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        let (opaque, after) = (&rest[..end], &rest[end + 1..]);
        if !opaque.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)) {
            return None;
        }
        seen = true;
        if !weak {
            versions.extend(version_of(opaque));
        }
        rest = after.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
}

/// The version that we would have written as this tag.
fn version_of(opaque: &[u8]) -> Option<Version> {
    if opaque.len() > 16 || !matches!(opaque.first(), Some(b'1'..=b'9')) {
        return None;
    }
    let number = opaque.iter().try_fold(0_u64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0'))
    })?;
    (number <= VERSION_MAX).then_some(Version(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(all: &[u64]) -> Option<Tags> {
        Some(Tags::Versions(all.iter().copied().map(Version).collect()))
    }

    #[test]
    fn lists_weak_tags_and_strange_tags() {
        for (line, parsed) in [
            ("*", Some(Tags::Any)),
            (" * ", Some(Tags::Any)),
            ("\"17\"", versions(&[17])),
            ("\"17\", \"18\" ,\"19\"", versions(&[17, 18, 19])),
            (",,\"17\",,", versions(&[17])),
            ("W/\"17\"", versions(&[])),
            ("W/\"17\", \"18\"", versions(&[18])),
            ("\"0\"", versions(&[])),
            ("\"017\"", versions(&[])),
            ("\"\"", versions(&[])),
            ("\"abc\"", versions(&[])),
            ("\"9007199254740991\"", versions(&[9_007_199_254_740_991])),
            ("\"9007199254740992\"", versions(&[])),
            ("\"99999999999999999999999999\"", versions(&[])),
            ("", None),
            (",", None),
            ("17", None),
            ("\"17", None),
            ("\"17\" \"18\"", None),
            ("\"1 7\"", None),
            ("w/\"17\"", None),
            ("*, \"17\"", None),
            ("\"17\", *", None),
        ] {
            assert_eq!(parse(line.as_bytes()), parsed, "{line}");
        }
    }

    #[test]
    fn lines_add_up_but_not_with_a_star() {
        let line = |text| HeaderValue::from_str(text).unwrap();
        let first = Tags::add_line(None, "If-Match", &line("\"1\"")).unwrap();
        let both = Tags::add_line(Some(first.clone()), "If-Match", &line("\"2\"")).unwrap();
        assert_eq!(Some(both), versions(&[1, 2]));
        assert!(Tags::add_line(Some(first), "If-Match", &line("*")).is_err());
        assert!(Tags::add_line(Some(Tags::Any), "If-Match", &line("*")).is_err());
    }
}
