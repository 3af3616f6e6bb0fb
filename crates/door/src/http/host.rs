//! Who a request is addressed to (RFC 9110, section 7.2), and whether that may be.
//!
//! Without this check any web page could write to a server on loopback: its own host name made to resolve to 127.0.0.1,
//! the browser considers the server part of the page's origin. The name it was reached by stands in `Host`.

use std::net::Ipv4Addr;

use http::request::Parts;
use http::{HeaderValue, Version, header};
use ringfort_types::{Code, Refusal};

use super::options::Hosts;

/// Refuses a request without exactly one host, or one that is meant for another.
pub(crate) fn check(parts: &Parts, hosts: &Hosts) -> Result<(), Refusal> {
    let mut lines = parts.headers.get_all(header::HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        let detail = "the Host header is repeated";
        return Err(Refusal::new(Code::InvalidArgument, detail));
    }
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    if line.is_none() && authority.is_none() && parts.version == Version::HTTP_11 {
        let detail = "an HTTP/1.1 request needs a Host header";
        return Err(Refusal::new(Code::InvalidArgument, detail));
    }
    let Hosts::Loopback(names) = hosts else {
        return Ok(());
    };
    let named = [line.map(HeaderValue::as_bytes), authority.map(str::as_bytes)];
    if named.into_iter().flatten().all(|host| allowed(host, names)) {
        return Ok(());
    }
    let detail = "the host name is not one of this server's: it listens on loopback and answers to \
                  localhost, 127.0.0.0/8 and [::1] only";
    Err(Refusal::new(Code::Misdirected, detail))
}

fn allowed(host: &[u8], names: &[String]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let Some(name) = without_port(host) else {
        return false;
    };
    name.eq_ignore_ascii_case("localhost")
        || name == "[::1]"
        || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The host without its port; `None` where what follows the host is no port.
fn without_port(host: &str) -> Option<&str> {
    let end = if host.starts_with('[') {
        host.find(']')? + 1
    } else {
        host.find(':').unwrap_or(host.len())
    };
    let (name, port) = host.split_at(end);
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_port = port.is_empty() || (port.starts_with(':') && digits.len() <= 5);
    (is_port && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_the_configured_names_only() {
        let names = ["Ringfort.test".to_owned()];
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost:7400", true),
            ("127.0.0.1:7400", true),
            ("127.9.8.7", true),
            ("[::1]:7400", true),
            ("[::1]", true),
            ("ringfort.test:80", true),
            ("localhost:", true),
            ("example.org", false),
            ("localhost.example.org", false),
            ("128.0.0.1", false),
            ("127.0.0.1.example.org", false),
            ("0.0.0.0:7400", false),
            ("[::2]:7400", false),
            ("[::1", false),
            ("[::1]x", false),
            ("::1", false),
            ("localhost:7400x", false),
            ("user@localhost", false),
            ("", false),
        ] {
            assert_eq!(allowed(host.as_bytes(), &names), expected, "{host}");
        }
    }
}
