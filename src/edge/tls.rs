//! TLS of both edges: one certificate, which can be replaced while the server runs.
//!
//! The cryptography is named where a configuration is made (aws-lc-rs); no default of the process is relied on. A certificate that
//! cannot be used never takes the place of one that is served. Deliberately absent: a reload of the authority of client
//! certificates, which takes a restart, and protocols before TLS 1.2.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::config::TlsFiles;

/// Why the files of TLS cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the setting `{setting}` names {}: {cause}", path.display())]
pub struct TlsError {
    setting: &'static str,
    path: PathBuf,
    cause: String,
}

/// The certificate that is served, and who must show one of his own. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls {
    files: TlsFiles,
    served: Arc<Served>,
    client_roots: Option<Arc<RootCertStore>>,
}

/// The certificate that is served now.
#[derive(Debug)]
struct Served(RwLock<Arc<CertifiedKey>>);

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them cannot be read or used, or the key is not that of the certificate.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let served = Arc::new(Served(RwLock::new(Arc::new(certified_key(files)?))));
        let client_roots = files.client_ca.as_deref().map(client_roots).transpose()?.map(Arc::new);
        Ok(Self { files: files.clone(), served, client_roots })
    }

    /// Reads the certificate and its key again; connections that are open keep the old one.
    ///
    /// # Errors
    /// As [`Self::load`]; then the old certificate is served on.
    pub fn reload(&self) -> Result<(), TlsError> {
        let read = Arc::new(certified_key(&self.files)?);
        *self.served.0.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// The configuration of an edge that speaks these protocols, when its clients name what they speak.
    pub(super) fn server_config(&self, protocols: &[&str]) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().expect("the provider has all of them");
        let builder = match &self.client_roots {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider());
                builder
                    .with_client_cert_verifier(verifier.build().expect("there is a root, nothing is revoked"))
            }
        };
        let certificate: Arc<dyn ResolvesServerCert> = Arc::<Served>::clone(&self.served);
        let mut config = builder.with_cert_resolver(certificate);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The one provider of cryptography.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certified_key(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let chain = certificates("tls_certificate", &files.certificate)?;
    let wrong_key = |cause: &dyn Display| fault("tls_key", &files.key, cause);
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| match error {
        pem::Error::NoItemsFound => wrong_key(&"it holds no private key in PEM"),
        error => wrong_key(&error),
    })?;
    let key = provider().key_provider.load_private_key(key).map_err(|error| wrong_key(&error))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(wrong_key(&format_args!("it is not the key of {}", files.certificate.display())))
        }
        Err(error) => Err(fault("tls_certificate", &files.certificate, &error)),
    }
}

fn client_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls_client_ca", path)? {
        roots.add(certificate).map_err(|error| fault("tls_client_ca", path, &error))?;
    }
    Ok(roots)
}

/// The certificates of a PEM file, at least one.
fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| fault(setting, path, &error))?;
    if certificates.is_empty() {
        return Err(fault(setting, path, &"it holds no certificate in PEM"));
    }
    Ok(certificates)
}

fn fault(setting: &'static str, path: &Path, cause: &dyn Display) -> TlsError {
    TlsError { setting, path: path.to_owned(), cause: cause.to_string() }
}
