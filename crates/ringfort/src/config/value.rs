//! Values as a layer gives them, and how each kind of setting reads one.
//!
//! A file gives typed values; flags and variables give text, which every kind of setting reads in its own way. A reader
//! says what it expected and what it got; where the value came from is added by the caller.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ringfort_types::parse_duration;

/// A value before a setting has read it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// From a flag or a variable: of no type yet.
    Text(String),
    String(String),
    Integer(i128),
    Float(f64),
    Boolean(bool),
    List(Vec<Value>),
    /// A date, a table, or a number too large for anything.
    Other(&'static str),
}

/// What is wrong with a value.
pub(crate) type Wrong = String;

impl Value {
    fn shown(&self) -> String {
        match self {
            Self::Text(text) | Self::String(text) => {
                let short: String = text.chars().take(120).collect();
                format!("{short:?}")
            }
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Boolean(boolean) => boolean.to_string(),
            Self::List(_) => "a list".into(),
            Self::Other(what) => (*what).into(),
        }
    }

    fn wrong(&self, expected: &str) -> Wrong {
        format!("{expected}; got {}", self.shown())
    }

    pub(crate) fn boolean(&self) -> Result<bool, Wrong> {
        match self {
            Self::Boolean(boolean) => Ok(*boolean),
            Self::Text(text) if text == "true" => Ok(true),
            Self::Text(text) if text == "false" => Ok(false),
            _ => Err(self.wrong("must be true or false")),
        }
    }

    pub(crate) fn string(&self) -> Result<&str, Wrong> {
        match self {
            Self::Text(text) | Self::String(text) => Ok(text),
            _ => Err(self.wrong("must be a string")),
        }
    }

    pub(crate) fn text(&self) -> Result<String, Wrong> {
        match self.string()? {
            "" => Err("must not be empty".into()),
            text => Ok(text.to_owned()),
        }
    }

    /// A string that `parse` understands; `expected` is said where it does not.
    pub(crate) fn parsed<T>(
        &self,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Wrong> {
        match self {
            Self::Text(text) | Self::String(text) => {
                parse(text).ok_or_else(|| self.wrong(expected))
            }
            _ => Err(self.wrong(expected)),
        }
    }

    pub(crate) fn whole<T: TryFrom<i128>>(&self, range: RangeInclusive<i128>) -> Result<T, Wrong> {
        let expected = format!("must be a whole number from {} to {}", range.start(), range.end());
        let number = match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        };
        let inside = number.filter(|number| range.contains(number));
        inside.and_then(|number| T::try_from(number).ok()).ok_or_else(|| self.wrong(&expected))
    }

    pub(crate) fn float(&self, range: RangeInclusive<f64>) -> Result<f64, Wrong> {
        let expected = format!("must be a number from {} to {}", range.start(), range.end());
        let number = match self {
            Self::Float(number) => Some(*number),
            Self::Integer(number) => number.to_string().parse().ok(),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).ok_or_else(|| self.wrong(&expected))
    }

    /// Bytes: a whole number, or a string such as `8MiB`.
    pub(crate) fn size<T: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Result<T, Wrong> {
        let expected = format!(
            "must be a size from {} to {}, in bytes or such as \"8MiB\"",
            format_size(*range.start()),
            format_size(*range.end())
        );
        let bytes = match self {
            Self::Integer(number) => u64::try_from(*number).ok(),
            Self::Text(text) | Self::String(text) => parse_size(text),
            _ => None,
        };
        let inside = bytes.filter(|bytes| range.contains(bytes));
        inside.and_then(|bytes| T::try_from(bytes).ok()).ok_or_else(|| self.wrong(&expected))
    }

    pub(crate) fn duration(&self, range: RangeInclusive<Duration>) -> Result<Duration, Wrong> {
        let expected = format!(
            "must be a duration from {} to {}, such as \"250ms\" or \"30s\"",
            ringfort_types::format_duration(*range.start()),
            ringfort_types::format_duration(*range.end())
        );
        self.parsed(&expected, |text| parse_duration(text).ok().filter(|d| range.contains(d)))
    }

    /// An address to listen on.
    pub(crate) fn address(&self) -> Result<SocketAddr, Wrong> {
        let expected =
            "must be an IP address and a port, such as \"127.0.0.1:7400\" or \"[::1]:7400\"";
        self.parsed(expected, |text| text.parse().ok())
    }

    /// A name or address and a port, for others to dial.
    pub(crate) fn dialled(&self) -> Result<String, Wrong> {
        let expected = "must be a host and a port, such as \"db1.example.org:7400\"";
        self.parsed(expected, |text| is_host_and_port(text).then(|| text.to_owned()))
    }

    /// A list of strings; in text, separated by commas.
    pub(crate) fn strings(&self) -> Result<Vec<String>, Wrong> {
        let expected = "must be a list of strings";
        match self {
            Self::Text(text) if text.trim().is_empty() => Ok(Vec::new()),
            Self::Text(text) => Ok(text.split(',').map(|item| item.trim().to_owned()).collect()),
            Self::List(items) => items
                .iter()
                .map(|item| match item {
                    Self::String(text) => Ok(text.clone()),
                    other => Err(other.wrong(expected)),
                })
                .collect(),
            _ => Err(self.wrong(expected)),
        }
    }
}

/// Whether a text is `host:port` with a port of 1 to 65535; an IPv6 address stands in brackets.
pub(crate) fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host_is_good = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host(host),
    };
    host_is_good && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Whether a text can be a host name or an IPv4 address.
fn is_host(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=253).contains(&text.len()) && text.bytes().all(known)
}

const SIZES: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes a size with the largest binary unit that keeps it whole.
pub(crate) fn format_size(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}
