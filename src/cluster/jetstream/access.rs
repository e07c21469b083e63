//! How the servers are reached: addresses, who one is, and TLS.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;

use super::PATIENCE;

/// A server that does not answer for two of these is given up for another one.
const PING: Duration = Duration::from_secs(1);
/// How long a connection may take to be made, before the next server is tried.
const CONNECTING: Duration = Duration::from_secs(2);

/// Tells that a connection was lost: what was under way on it may or may not have arrived.
pub(super) type Lost = watch::Receiver<()>;

/// Who one is.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Identity {
    /// Nobody, or whoever the certificate or the address names.
    #[default]
    Nobody,
    /// A user and the password.
    User(String, String),
    /// A file with the seed of an nkey.
    Nkey(PathBuf),
    /// A credentials file, of a JWT and an nkey.
    Credentials(PathBuf),
}

/// How servers are reached, as one user.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Addresses: `nats://` or `tls://`.
    pub servers: Vec<String>,
    /// Who one is.
    pub identity: Identity,
    /// Certificates of authorities, in addition to those that this machine trusts.
    pub authorities: Option<PathBuf>,
    /// The certificate and key of this client.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl std::fmt::Debug for Identity {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nobody => f.write_str("Nobody"),
            Self::User(user, _) => f.debug_tuple("User").field(user).finish_non_exhaustive(),
            Self::Nkey(path) => f.debug_tuple("Nkey").field(path).finish(),
            Self::Credentials(path) => f.debug_tuple("Credentials").field(path).finish(),
        }
    }
}

impl std::fmt::Debug for Access {
    /// Without a password, also in an address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { identity, authorities, certificate, .. } = self;
        f.debug_struct("Access")
            .field("servers", &self.shown())
            .field("identity", identity)
            .field("authorities", authorities)
            .field("certificate", certificate)
            .finish()
    }
}

impl Access {
    /// The addresses for people: without what stands before an `@`.
    #[must_use]
    pub fn shown(&self) -> String {
        let bare = |address: &String| match (address.find("://"), address.rfind('@')) {
            (Some(scheme), Some(at)) if at > scheme => {
                format!("{}{}", &address[..scheme + 3], &address[at + 1..])
            }
            _ => address.clone(),
        };
        self.servers.iter().map(bare).collect::<Vec<_>>().join(", ")
    }

    pub(super) async fn connect(&self, name: &str) -> Result<(Client, Lost), String> {
        let (losing, lost) = watch::channel(());
        let mut options = ConnectOptions::new()
            .name(name)
            .request_timeout(Some(PATIENCE))
            .ping_interval(PING)
            .connection_timeout(CONNECTING)
            .event_callback(move |event| {
                if matches!(event, Event::Disconnected) {
                    losing.send_replace(());
                }
                std::future::ready(())
            });
        options = match &self.identity {
            Identity::Nobody => options,
            Identity::User(user, password) => options.user_and_password(user.clone(), password.clone()),
            Identity::Nkey(path) => {
                let seed = tokio::fs::read_to_string(path).await;
                let told = |error| format!("the nkey file {} cannot be read: {error}", path.display());
                options.nkey(seed.map_err(told)?.trim().to_owned())
            }
            Identity::Credentials(path) => {
                let told = |error| format!("the credentials file {} cannot be read: {error}", path.display());
                options.credentials_file(path).await.map_err(told)?
            }
        };
        if let Some(path) = &self.authorities {
            options = options.add_root_certificates(path.clone()).require_tls(true);
        }
        if let Some((certificate, key)) = &self.certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
        }
        let client = options.connect(self.servers.clone()).await.map_err(|error| super::told(&error))?;
        Ok((client, lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let access = Access {
            servers: vec!["nats://u:secret@a:4222".to_owned(), "tls://b".to_owned()],
            identity: Identity::User("u".to_owned(), "secret".to_owned()),
            ..Access::default()
        };
        assert_eq!(access.shown(), "nats://a:4222, tls://b");
        assert!(!format!("{access:?}").contains("secret"));
    }
}
