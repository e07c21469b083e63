//! An operator of NATS, as servers in operator mode have one: accounts and users are what JSON Web Tokens say, each signed by whoever stands above it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// An operator with an account that may keep streams, and the system account.
pub(crate) struct Operator {
    key: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

impl Operator {
    pub(crate) fn new() -> Self {
        Self { key: KeyPair::new_operator(), account: KeyPair::new_account(), system: KeyPair::new_account() }
    }

    /// What a server is told of it.
    pub(crate) fn configuration(&self) -> String {
        let operator = token(&self.key, &self.key, &json!({ "type": "operator", "version": 2 }));
        let [account, system] = [(&self.account, -1), (&self.system, 0)].map(|(account, stored)| {
            let limits = json!({
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
                "mem_storage": stored, "disk_storage": stored, "streams": stored, "consumer": stored,
            });
            let claims = json!({ "type": "account", "version": 2, "limits": limits });
            format!("{}: {}", account.public_key(), token(&self.key, account, &claims))
        });
        format!(
            "operator: {operator}\nresolver: MEMORY\nresolver_preload: {{\n{account}\n{system}\n}}\nsystem_account: {}\n",
            self.system.public_key()
        )
    }

    /// Credentials of a user of the account, in a file of this folder.
    pub(crate) fn user(&self, folder: &Path) -> PathBuf {
        credentials(&self.account, &folder.join("user.creds"))
    }

    /// Credentials of a user of the system account.
    pub(crate) fn system_user(&self, folder: &Path) -> PathBuf {
        credentials(&self.system, &folder.join("system.creds"))
    }
}

fn credentials(account: &KeyPair, path: &Path) -> PathBuf {
    let user = KeyPair::new_user();
    let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    let (token, seed) = (token(account, &user, &claims), user.seed().expect("it has one"));
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    std::fs::write(path, text).expect("written");
    path.to_owned()
}

/// What `issuer` says of `subject`.
fn token(issuer: &KeyPair, subject: &KeyPair, claims: &Value) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let subject = subject.public_key();
    let body = json!({
        "jti": subject, "iat": now, "iss": issuer.public_key(), "name": "test", "sub": subject, "nats": claims,
    });
    let [header, body] = [header, body].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{header}.{body}");
    let signature = issuer.sign(signed.as_bytes()).expect("it has a seed");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
