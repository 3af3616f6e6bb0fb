//! Mutual TLS between nodes: every node proves with its certificate, under one CA, which node it is.
//!
//! A certificate belongs to a node whose id is one of its subject alternative names: as a DNS name that is exactly the node
//! id, or as the URI `ringfort://node/<node id>`, which also takes ids that are no DNS names (`db_1`). Wildcards name
//! nobody, and neither does the common name. Addresses do not count: a node may move. If the certificate has an extended
//! key usage, it needs both `serverAuth` and `clientAuth`: a node dials and is dialled.
//!
//! TLS 1.3 only. No session is resumed, so that every connection is checked with the certificates of now.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ringfort_types::NodeId;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};

/// Where the certificates of a node are, as PEM files.
#[derive(Clone, Debug)]
pub struct PeerTlsFiles {
    /// The certificates that sign those of nodes.
    pub ca: PathBuf,
    /// This node's certificate, and those between it and the CA.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no such thing.
    #[error("{} cannot be used: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The files do not fit together.
    #[error("the certificate {} cannot be used: {source}", path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: Error,
    },
    /// Other nodes would refuse this node.
    #[error(
        "the certificate {} does not name this node: it needs the subject alternative name DNS:{node_id} or \
         URI:ringfort://node/{node_id}",
        path.display()
    )]
    Name {
        /// The certificate's file.
        path: PathBuf,
        /// This node.
        node_id: NodeId,
    },
}

/// What a node speaks TLS with. Shared by all threads.
pub(crate) struct PeerTls {
    files: PeerTlsFiles,
    node_id: NodeId,
    configs: RwLock<Configs>,
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerTls").field("files", &self.files).finish_non_exhaustive()
    }
}

#[derive(Clone)]
pub(super) struct Configs {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

impl PeerTls {
    /// Reads the certificates of this node.
    ///
    /// # Errors
    /// A file cannot be read, key and certificate do not fit, or the certificate does not name the node.
    pub(crate) fn load(files: PeerTlsFiles, node_id: NodeId) -> Result<Self, TlsError> {
        let configs = RwLock::new(read(&files, &node_id)?);
        Ok(Self { files, node_id, configs })
    }

    /// Reads the files again. Connections made from now on use them; those that are there stay.
    ///
    /// # Errors
    /// As [`Self::load`]; then the certificates of before stay in use.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let configs = read(&self.files, &self.node_id)?;
        *self.configs.write().unwrap_or_else(PoisonError::into_inner) = configs;
        Ok(())
    }

    pub(super) fn configs(&self) -> Configs {
        self.configs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The certificate that the other side has proved to own.
#[derive(Clone, Debug)]
pub(crate) struct PeerCertificate(CertificateDer<'static>);

impl PeerCertificate {
    /// The first of a chain, as TLS gives it.
    pub(super) fn of(chain: Option<&[CertificateDer<'static>]>) -> Option<Self> {
        chain?.first().cloned().map(Self)
    }

    /// Whether it belongs to this node.
    #[must_use]
    pub(crate) fn names(&self, node_id: &NodeId) -> bool {
        let Ok(certificate) = webpki::EndEntityCert::try_from(&self.0) else {
            return false;
        };
        let uri = format!("ringfort://node/{node_id}");
        certificate.valid_dns_names().any(|name| name == node_id.as_str())
            || certificate.valid_uri_names().any(|name| name == uri)
    }
}

fn read(files: &PeerTlsFiles, node_id: &NodeId) -> Result<Configs, TlsError> {
    let unusable = |path: &Path, why: String| TlsError::File { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for root in certificates(&files.ca)? {
        roots.add(root).map_err(|error| unusable(&files.ca, error.to_string()))?;
    }
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unusable(&files.key, error.to_string()))?;
    let own = PeerCertificate::of(Some(&chain));
    if !own.is_some_and(|own| own.names(node_id)) {
        return Err(TlsError::Name { path: files.cert.clone(), node_id: node_id.clone() });
    }
    configure(Arc::new(roots), chain, key)
        .map_err(|source| TlsError::Certificate { path: files.cert.clone(), source })
}

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |why: String| TlsError::File { path: path.to_owned(), why };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found = found.map_err(|error| unusable(error.to_string()))?;
    if found.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(found)
}

fn configure(
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Configs, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = [&rustls::version::TLS13];
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain.clone(), key.clone_key())?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let verifier = Arc::new(ByChain { roots, provider: Arc::clone(&provider) });
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    client.resumption = Resumption::disabled();
    client.enable_sni = false;
    Ok(Configs { client: Arc::new(client), server: Arc::new(server) })
}

/// Checks that the CA signed the certificate of the node that was dialled, and that it is valid now. Which node it names is
/// checked by whoever dialled: a node id is no host name, and the one to expect is not always known.
#[derive(Debug)]
struct ByChain {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByChain {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // TLS 1.2 is not spoken.
        Err(Error::InvalidCertificate(CertificateError::BadSignature))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
