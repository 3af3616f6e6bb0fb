//! Where clients come in: the sockets of a node, and what each door over them is told.

use std::net::SocketAddr;

use ringfort_door::{BuildInfo, Hosts, HttpOptions, Surface};

use crate::listen::{Handed, Listener, nobody};
use crate::options::ServerOptions;
use crate::server::StartError;

/// The sockets of a node, bound once and accepted from by several threads.
#[derive(Debug)]
pub(crate) struct Entrances {
    client: Listener,
    health: Option<Listener>,
    peer: Listener,
}

/// One of the sockets, for one thread.
pub(crate) struct Entrance {
    pub(crate) socket: std::net::TcpListener,
    /// How the door is set up.
    pub(crate) http: HttpOptions,
    /// Connections that another thread accepted and left untouched.
    pub(crate) handed: Handed,
}

impl Entrances {
    /// Binds them.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub(crate) fn bind(options: &ServerOptions) -> Result<Self, StartError> {
        let bind = |setting, address| {
            Listener::bind(address).map_err(|source| StartError::Listen {
                setting,
                address,
                source,
            })
        };
        let client = bind("listen.client", options.client_listen)?;
        let health = options.health_listen.map(|address| bind("listen.health", address));
        let peer = bind("listen.peer", options.peer_listen)?;
        Ok(Self { client, health: health.transpose()?, peer })
    }

    /// Where clients connect.
    pub(crate) fn client_address(&self) -> SocketAddr {
        self.client.address
    }

    /// Where health is served without credentials, if it is.
    pub(crate) fn health_address(&self) -> Option<SocketAddr> {
        self.health.as_ref().map(|health| health.address)
    }

    /// Where other nodes connect.
    pub(crate) fn peer_address(&self) -> SocketAddr {
        self.peer.address
    }

    /// The socket that other nodes connect to.
    ///
    /// # Errors
    /// The operating system refused it.
    pub(crate) fn peer_socket(&self) -> std::io::Result<std::net::TcpListener> {
        self.peer.another()
    }

    /// How many there are for clients.
    pub(crate) fn count(&self) -> usize {
        1 + usize::from(self.health.is_some())
    }

    /// All of them for one more thread, which takes over what is handed to each, as long as there is something.
    ///
    /// # Errors
    /// The operating system refused a socket or random bytes.
    pub(crate) fn open(
        &self,
        options: &ServerOptions,
        handed: &mut impl Iterator<Item = Handed>,
    ) -> std::io::Result<Vec<Entrance>> {
        let all = [(Surface::Client, Some(&self.client)), (Surface::Health, self.health.as_ref())];
        let there = all.into_iter().filter_map(|(surface, listener)| Some((surface, listener?)));
        let open = |(surface, listener): (_, &Listener)| {
            Ok(Entrance {
                socket: listener.another()?,
                http: http_options(surface, listener.address, options)?,
                handed: handed.next().unwrap_or_else(nobody),
            })
        };
        there.map(open).collect()
    }
}

fn http_options(
    surface: Surface,
    address: SocketAddr,
    options: &ServerOptions,
) -> std::io::Result<HttpOptions> {
    let advertised = options.advertise_client.iter().filter_map(|name| name.rsplit_once(':'));
    let names = advertised.map(|(host, _)| host.to_owned()).collect();
    Ok(HttpOptions {
        surface,
        hosts: if address.ip().is_loopback() { Hosts::Loopback(names) } else { Hosts::Any },
        build: BuildInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // Both from build.rs.
            revision: env!("RINGFORT_REVISION").to_owned(),
            target: env!("RINGFORT_TARGET").to_owned(),
        },
        request_id_seed: getrandom::u64().map_err(std::io::Error::from)?,
        ..HttpOptions::default()
    })
}
