//! Where a target is: `http://host:port` for HTTP and gRPC, `redis://host:port` for RESP.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::arguments::{TargetKind, UsageError};

/// A resolved endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// What stands in `Host`.
    pub(crate) authority: String,
    /// Where it is.
    pub(crate) address: SocketAddr,
}

impl Endpoint {
    /// Takes an endpoint as the user wrote it.
    pub(crate) fn parse(text: &str, target: TargetKind) -> Result<Self, UsageError> {
        let wrong = |why: &str| UsageError(format!("endpoint {text:?}: {why}"));
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let expected = match target {
            TargetKind::Ringfort | TargetKind::Etcd => "http",
            TargetKind::Redis => "redis",
        };
        match scheme {
            "" => {}
            "https" | "rediss" => return Err(wrong("the load generator does not speak TLS")),
            scheme if scheme == expected => {}
            _ => return Err(wrong(&format!("expected {expected}://host:port"))),
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(wrong("only host and port are expected"));
        }
        let has_port =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if !has_port {
            return Err(wrong("a port is missing"));
        }
        let address = authority
            .to_socket_addrs()
            .map_err(|error| wrong(&error.to_string()))?
            .next()
            .ok_or_else(|| wrong("the name has no address"))?;
        Ok(Self { authority: authority.to_owned(), address })
    }

    /// The endpoint of a target that runs here with its own defaults.
    pub(crate) fn default_of(target: TargetKind) -> &'static str {
        match target {
            TargetKind::Ringfort => "http://127.0.0.1:7400",
            TargetKind::Etcd => "http://127.0.0.1:2379",
            TargetKind::Redis => "redis://127.0.0.1:6379",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_or_refused_with_the_reason() {
        let endpoint = Endpoint::parse("http://127.0.0.1:7400/", TargetKind::Ringfort).unwrap();
        assert_eq!(endpoint.authority, "127.0.0.1:7400");
        assert_eq!(endpoint.address.port(), 7400);
        assert!(Endpoint::parse("[::1]:7", TargetKind::Redis).is_ok());
        for (text, target, part) in [
            ("https://127.0.0.1:1", TargetKind::Ringfort, "TLS"),
            ("http://127.0.0.1:1", TargetKind::Redis, "redis://"),
            ("redis://127.0.0.1:1", TargetKind::Etcd, "http://"),
            ("127.0.0.1", TargetKind::Ringfort, "port"),
            ("http://127.0.0.1:1/v1", TargetKind::Ringfort, "only host"),
        ] {
            let error = Endpoint::parse(text, target).unwrap_err();
            assert!(error.0.contains(part), "{text}: {error}");
        }
    }
}
