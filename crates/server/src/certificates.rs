//! The certificates of a node, so that whoever started it can have them read again.

use std::sync::{Arc, OnceLock};

use crate::peers::{PeerTls, TlsError};

/// What a node speaks TLS with. Given to its start, which fills it as soon as they are read: also a node that still waits for
/// its cluster can have others. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    peers: Arc<OnceLock<Arc<PeerTls>>>,
}

impl Certificates {
    /// Takes those of a start.
    pub(crate) fn set(&self, peers: &Arc<PeerTls>) {
        // A second start with the same handle would be a mistake of the caller: the first one keeps it.
        let _ = self.peers.set(Arc::clone(peers));
    }

    /// Reads the files again. Connections made from now on use them; those that are there stay. Gives whether there are any.
    ///
    /// # Errors
    /// They cannot be used; those of before stay in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        match self.peers.get() {
            Some(peers) => peers.reload().map(|()| true),
            None => Ok(false),
        }
    }
}
