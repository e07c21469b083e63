//! TLS of both edges: one certificate, and the authorities of client certificates; both can be replaced while the server runs.
//!
//! The cryptography is named where a configuration is made (aws-lc-rs); no default of the process is relied on. Files that
//! cannot be used never take the place of those that are in use. Where clients show certificates no session is resumed, because that would pass
//! over authorities that were replaced; nor are they told the names of the authorities, which may be others by the time they answer. Deliberately absent:
//! revocation lists, and protocols before TLS 1.2.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};

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
    clients: Option<Arc<Clients>>,
}

/// The certificate that is served now.
#[derive(Debug)]
struct Served(RwLock<Arc<CertifiedKey>>);

/// Whose client certificates are taken now.
#[derive(Debug)]
struct Clients(RwLock<Arc<dyn ClientCertVerifier>>);

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them cannot be read or used, or the key is not that of the certificate.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let served = Arc::new(Served(RwLock::new(Arc::new(certified_key(files)?))));
        let verifier = files.client_ca.as_deref().map(client_verifier).transpose()?;
        let clients = verifier.map(|verifier| Arc::new(Clients(RwLock::new(verifier))));
        Ok(Self { files: files.clone(), served, clients })
    }

    /// Reads all files again; connections that are open go on as they began.
    ///
    /// # Errors
    /// As [`Self::load`]; then all stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let read = Self::load(&self.files)?;
        replace(&self.served.0, &read.served.0);
        if let (Some(clients), Some(read)) = (&self.clients, &read.clients) {
            replace(&clients.0, &read.0);
        }
        Ok(())
    }

    /// The configuration of an edge that speaks these protocols, when its clients name what they speak.
    pub(super) fn server_config(&self, protocols: &[&str]) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().expect("the provider has all of them");
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(Arc::<Clients>::clone(clients)),
        };
        let certificate: Arc<dyn ResolvesServerCert> = Arc::<Served>::clone(&self.served);
        let mut config = builder.with_cert_resolver(certificate);
        if self.clients.is_some() {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Clients {
    fn now(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.now().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.now().verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.now().verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.now().supported_verify_schemes()
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

fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls_client_ca", path)? {
        roots.add(certificate).map_err(|error| fault("tls_client_ca", path, &error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    verifier.build().map_err(|error| fault("tls_client_ca", path, &error))
}

/// Puts what was read in the place of what is in use.
fn replace<T: ?Sized>(used: &RwLock<Arc<T>>, read: &RwLock<Arc<T>>) {
    let read = Arc::clone(&read.read().unwrap_or_else(PoisonError::into_inner));
    *used.write().unwrap_or_else(PoisonError::into_inner) = read;
}

/// The certificates of a PEM file, at least one.
pub(super) fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
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
