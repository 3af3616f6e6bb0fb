//! Certificates for nodes under test, as PEM files.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use rcgen::{BasicConstraints, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
pub use rcgen::{CertificateParams, SanType};
use tempfile::TempDir;

use crate::ServerOptions;

/// Signs certificates, and keeps them in a directory that goes with it.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
    signed: AtomicUsize,
}

/// The files of one node.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The authority's own certificate.
    pub ca: PathBuf,
    /// What the authority signed.
    pub cert: PathBuf,
    /// The private key of that.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Has a server prove with these which node it is.
    #[must_use]
    pub fn apply(&self, options: ServerOptions) -> ServerOptions {
        options
            .set("security.peer_ca", &self.ca.display().to_string())
            .set("security.peer_cert", &self.cert.display().to_string())
            .set("security.peer_key", &self.key.display().to_string())
    }
}

impl Authority {
    /// A new authority, which nobody trusts yet.
    ///
    /// # Errors
    /// No key can be made, or no file be written.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("ca.pem"), issuer.pem())?;
        Ok(Self { issuer, dir, signed: AtomicUsize::new(0) })
    }

    /// Its own certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate of a node: it has the node's id as a DNS name.
    ///
    /// # Errors
    /// See [`Self::sign`].
    pub fn sign_node(&self, node_id: &str) -> Result<CertificateFiles> {
        self.sign(vec![SanType::DnsName(node_id.try_into()?)], |_| {})
    }

    /// A certificate with these names, in files of its own; `change` may make it another one.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn sign(
        &self,
        names: Vec<SanType>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<CertificateFiles> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([])?;
        params.subject_alt_names = names;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer)?;
        let number = self.signed.fetch_add(1, Ordering::Relaxed);
        let path = |name: &str| self.dir.path().join(name);
        let (cert, private) = (path(&format!("{number}.pem")), path(&format!("{number}.key")));
        std::fs::write(&cert, certificate.pem())?;
        std::fs::write(&private, key.serialize_pem())?;
        Ok(CertificateFiles { ca: path("ca.pem"), cert, key: private })
    }
}
