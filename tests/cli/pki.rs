//! Authorities and certificates, made anew for each test.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority, with its own certificate in `ca.pem` of its directory.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Authority {
    /// A new authority that keeps its files here.
    pub(crate) fn new(directory: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("a certificate");
        std::fs::create_dir_all(directory).expect("a directory");
        std::fs::write(directory.join("ca.pem"), issuer.pem()).expect("written");
        Self { issuer, directory: directory.to_owned() }
    }

    /// The file of its own certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// A certificate for the loopback, and its key, written to two files.
    pub(crate) fn certify(&self, certificate: &Path, key_file: &Path) {
        let (signed, key) = self.sign();
        std::fs::write(certificate, signed).expect("written");
        std::fs::write(key_file, key).expect("written");
    }

    /// A certificate and its key in one file.
    pub(crate) fn identity(&self) -> PathBuf {
        let (signed, key) = self.sign();
        let path = self.directory.join("identity.pem");
        std::fs::write(&path, signed + &key).expect("written");
        path
    }

    fn sign(&self) -> (String, String) {
        let key = key();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("random bytes")
}
