//! TLS for the MQTT listener: the node's certificate, and where it is asked for, the client's.
//!
//! A client's certificate is its identity: its name is looked up among the users. Certificates are read once, at the
//! node's start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Where the certificates are, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The node's certificate, followed by those that lead to its authority.
    pub certificate: PathBuf,
    /// The key that belongs to it.
    pub key: PathBuf,
    /// The authority that every client's certificate must come from; without it clients show none.
    pub client_ca: Option<PathBuf>,
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that can't be read, or holds no PEM of the kind that is needed.
    #[error("{} holds no {wanted} in PEM, or can't be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        wanted: &'static str,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Certificate and key don't belong together, or one of them is of a kind that is not supported.
    #[error("certificate and key can't be used")]
    Unusable(#[source] rustls::Error),
    /// The authority for clients is none.
    #[error("the authority for clients' certificates can't be used")]
    ClientCa(#[source] VerifierBuilderError),
}

/// Makes TLS connections of TCP connections.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificates.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = certificates(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(of(&files.key, "private key"))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(file)? {
                    roots.add(root).map_err(TlsError::Unusable)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(TlsError::ClientCa)?)
            }
        };
        let config = builder.with_single_cert(chain, key).map_err(TlsError::Unusable)?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Shakes hands; also answers the name in the client's certificate, if it had to show one.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<String>)> {
        let stream = self.acceptor.accept(stream).await?;
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(|chain| chain.first());
        // A certificate without a name is nobody's: an empty name is never a user's.
        let name = shown.map(|certificate| subject(certificate).unwrap_or_default());
        Ok((stream, name))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wanted = "certificate";
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(of(path, wanted))?.collect();
    let read = read.map_err(of(path, wanted))?;
    if read.is_empty() { Err(of(path, wanted)(pem::Error::NoItemsFound)) } else { Ok(read) }
}

fn of(path: &Path, wanted: &'static str) -> impl Fn(pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { path: path.clone(), wanted, source }
}

/// The name a certificate is for: its common name, or else its first DNS name.
fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let common = parsed.subject().iter_common_name().find_map(|name| name.as_str().ok());
    if let Some(common) = common {
        return Some(common.to_owned());
    }
    let names = parsed.subject_alternative_name().ok().flatten()?;
    let dns = |name: &GeneralName<'_>| {
        if let GeneralName::DNSName(dns) = name { Some((*dns).to_owned()) } else { None }
    };
    names.value.general_names.iter().find_map(dns)
}
