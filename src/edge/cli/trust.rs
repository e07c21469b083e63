//! Whom a command trusts to be the server, and as whom it shows itself.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use clap::Args;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::edge::tls;

use super::failure::Failure;

/// Whom a command trusts to be the server, and as whom it shows itself, where the URL begins with `https`.
#[derive(Args, Clone, Debug, Default)]
pub struct TrustArgs {
    /// Authorities of the server's certificate, in PEM [default: those of this machine].
    #[arg(long, env = "WEIR_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Client certificate and its private key in PEM, for a server that demands one.
    #[arg(long, env = "WEIR_IDENTITY", value_name = "FILE")]
    pub identity: Option<PathBuf>,
}

impl TrustArgs {
    /// What it means for the HTTP client.
    ///
    /// # Errors
    /// When a file cannot be read, or holds nothing of what is expected.
    pub(super) fn tls_config(&self) -> Result<TlsConfig, Failure> {
        let roots = match &self.ca {
            Some(path) => Pem::read(path)?.certificates,
            None => {
                let found = rustls_native_certs::load_native_certs().certs;
                found.iter().map(|root| Certificate::from_der(root).to_owned()).collect()
            }
        };
        if roots.is_empty() {
            let place =
                self.ca.as_deref().map_or("this machine".to_owned(), |path| path.display().to_string());
            return Err(Failure::usage(format!("{place} has no authority to trust; name one with --ca")));
        }
        let identity = self.identity.as_deref().map(identity).transpose()?;
        Ok(TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .client_cert(identity)
            .unversioned_rustls_crypto_provider(tls::provider())
            .build())
    }
}

/// What a PEM file holds.
struct Pem {
    certificates: Vec<Certificate<'static>>,
    key: Option<PrivateKey<'static>>,
}

impl Pem {
    fn read(path: &Path) -> Result<Self, Failure> {
        let unreadable = |cause: &dyn Display| {
            Failure::usage(format!("{} cannot be read: {cause}; nothing was sent", path.display()))
        };
        let text = std::fs::read(path).map_err(|error| unreadable(&error))?;
        let mut read = Self { certificates: Vec::new(), key: None };
        for item in parse_pem(&text) {
            match item.map_err(|error| unreadable(&error))? {
                PemItem::Certificate(certificate) => read.certificates.push(certificate),
                PemItem::PrivateKey(key) => read.key = Some(key),
                _ => {}
            }
        }
        Ok(read)
    }
}

fn identity(path: &Path) -> Result<ClientCert, Failure> {
    let Pem { certificates, key } = Pem::read(path)?;
    match key.filter(|_| !certificates.is_empty()) {
        Some(key) => Ok(ClientCert::new_with_certs(&certificates, key)),
        None => {
            let message = format!("{} does not hold both a certificate and its private key", path.display());
            Err(Failure::usage(message))
        }
    }
}
