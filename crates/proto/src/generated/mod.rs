//! The messages of the schemas in `crates/proto/proto`, which say what each field is.

#![allow(missing_docs, clippy::all, clippy::pedantic)]

// Packages are nested as in the schemas: the code of one names the other by its place.

mod packages {
    pub(super) mod cluster {
        pub mod v1 {
            include!("ringfort.cluster.v1.rs");
        }
    }

    pub(super) mod peer {
        pub mod v1 {
            include!("ringfort.peer.v1.rs");
        }
    }
}

/// The catalog's records, and how a cluster is formed.
pub use packages::cluster::v1 as cluster;
/// Messages between nodes.
pub use packages::peer::v1 as peer;
