//! Where a server is reached.

use std::fmt;
use std::str::FromStr;

/// The default client port of a node.
const PORT_DEFAULT: u16 = 7400;

/// The address of a server: `http://host:port`. The name is resolved at each dial, never once for all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

/// A text that names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("endpoint {text:?}: {reason}; an endpoint looks like http://127.0.0.1:7400")]
pub struct EndpointError {
    text: String,
    reason: &'static str,
}

impl Endpoint {
    /// The endpoint at a host (a name or an address, IPv6 without brackets) and port.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The host, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, as it stands in a `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::new("127.0.0.1", PORT_DEFAULT)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

impl From<std::net::SocketAddr> for Endpoint {
    fn from(address: std::net::SocketAddr) -> Self {
        Self::new(address.ip().to_string(), address.port())
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        parse(text)
            .map_err(|reason| EndpointError { text: text.chars().take(200).collect(), reason })
    }
}

fn parse(text: &str) -> Result<Endpoint, &'static str> {
    let rest = match text.split_once("://") {
        None => text,
        Some(("http", rest)) => rest,
        Some(("https", _)) => return Err("TLS is not available yet, use http://"),
        Some(_) => return Err("only http:// is spoken"),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        return Err("only a host and a port, without user, path or query");
    }
    let (host, port) = split_port(authority)?;
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(known) {
        return Err("the host is missing or malformed");
    }
    Ok(Endpoint::new(host, port))
}

fn split_port(authority: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("no IPv6 address stands in the brackets");
        }
        (host, after.strip_prefix(':').or(after.is_empty().then_some("")))
    } else {
        match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address stands in brackets");
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        }
    };
    match port.ok_or("after the bracket only a port may stand")? {
        "" => Ok((host, PORT_DEFAULT)),
        port => match port.parse() {
            Ok(0) | Err(_) => Err("the port is a number from 1 to 65535"),
            Ok(port) => Ok((host, port)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        for (text, shown) in [
            ("http://127.0.0.1:7400", "http://127.0.0.1:7400"),
            ("http://127.0.0.1:7400/", "http://127.0.0.1:7400"),
            ("127.0.0.1:7410", "http://127.0.0.1:7410"),
            ("db.example.org", "http://db.example.org:7400"),
            ("http://[::1]:80", "http://[::1]:80"),
            ("[::1]", "http://[::1]:7400"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in [
            "",
            "http://",
            "https://a:1",
            "ftp://a",
            "http://a/b",
            "http://u@a",
            "a:0",
            "a:70000",
            "a:b",
            "::1",
            "[::1",
            "[a]:1",
            "[::1]x",
            "a b",
            "http://a?x",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }
}
