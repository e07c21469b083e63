//! Secrets of webhooks, and signatures as Standard Webhooks has them (specification 1.0: <https://www.standardwebhooks.com>).
//!
//! A secret is derived from the server's key and from what it is for, so that no secret is stored: neither the journal nor a backup
//! holds one. The server's key is a file of its own that never changes; whoever moves the server takes it along, or every secret is
//! another one.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::meter::{OrgId, Timestamp, Webhook, WebhookId};

/// The file of a data directory that secrets are derived from, unless another one is configured.
pub const KEY_FILE: &str = "webhooks.key";

const KEY_BYTES: usize = 32;
/// What a secret is derived for, so that the key could be used for something else too.
const PURPOSE: &[u8] = b"tokenweir webhook secret 1";

/// The key that the secrets of webhooks are derived from.
pub struct WebhookKey(Key);

/// Why there is no such key.
#[derive(Debug, thiserror::Error)]
#[error("the key of webhooks {} cannot be used: {cause}; no webhook is called until that is mended", path.display())]
pub struct WebhookKeyError {
    path: PathBuf,
    cause: String,
}

/// A secret of one webhook.
#[derive(Clone)]
pub struct Secret([u8; 32]);

/// The secrets of a webhook that count at a time.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// The newest.
    pub current: Secret,
    /// The one before, and until when it counts beside it.
    pub previous: Option<(Secret, Timestamp)>,
}

impl WebhookKey {
    /// Reads the key from a file; makes it where there is none, readable by its owner alone.
    ///
    /// # Errors
    /// When it cannot be read or made, or holds something else.
    pub fn load_or_make(path: &Path) -> Result<Self, WebhookKeyError> {
        if let Err(error) = fs::metadata(path)
            && error.kind() == ErrorKind::NotFound
        {
            make(path)
                .map_err(|error| WebhookKeyError { path: path.to_owned(), cause: error.to_string() })?;
        }
        Self::load(path)
    }

    /// Reads the key from a file.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub fn load(path: &Path) -> Result<Self, WebhookKeyError> {
        let failed = |cause: String| WebhookKeyError { path: path.to_owned(), cause };
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let bytes = STANDARD.decode(text.trim()).ok().filter(|bytes| bytes.len() == KEY_BYTES);
        let bytes = bytes.ok_or_else(|| failed("it does not hold 32 bytes in base64".to_owned()))?;
        Ok(Self(Key::new(HMAC_SHA256, &bytes)))
    }

    /// The secrets of a webhook that count at `now`.
    #[must_use]
    pub fn secrets(&self, organization: &OrgId, webhook: &Webhook, now: Timestamp) -> Secrets {
        let previous = webhook.previous.filter(|previous| now < previous.until);
        let secret = |version| self.secret(organization, &webhook.id, version);
        let previous = previous.map(|previous| (secret(previous.secret), previous.until));
        Secrets { current: secret(webhook.secret), previous }
    }

    fn secret(&self, organization: &OrgId, webhook: &WebhookId, version: u32) -> Secret {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [PURPOSE, organization.as_str().as_bytes(), webhook.as_str().as_bytes()] {
            context.update(part);
            context.update(&[0xff]); // no part has this byte
        }
        context.update(&version.to_le_bytes());
        let mut secret = [0; 32];
        secret.copy_from_slice(context.sign().as_ref());
        Secret(secret)
    }
}

impl Secret {
    /// The secret as receivers are given it.
    #[must_use]
    pub fn text(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }
}

fn signature(secret: &[u8], (id, seconds, message): (&str, u64, &str)) -> String {
    let signed = hmac::sign(&Key::new(HMAC_SHA256, secret), format!("{id}.{seconds}.{message}").as_bytes());
    format!("v1,{}", STANDARD.encode(signed.as_ref()))
}

impl Secrets {
    /// The header `webhook-signature` of a message: one signature for each secret.
    #[must_use]
    pub fn signatures(&self, id: &str, seconds: u64, message: &str) -> String {
        let previous = self.previous.as_ref().map(|(secret, _)| secret);
        let all = std::iter::once(&self.current).chain(previous);
        all.map(|Secret(secret)| signature(secret, (id, seconds, message))).collect::<Vec<_>>().join(" ")
    }
}

/// Makes the file of a new key under another name first, so that it is there whole or not at all.
fn make(path: &Path) -> std::io::Result<()> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    let text = STANDARD.encode(bytes);
    let new = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

impl std::fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookKey(..)")
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::meter::{PreviousSecret, WebhookUrl};

    fn webhook(secret: u32, previous: Option<PreviousSecret>) -> Webhook {
        let (id, url) = (WebhookId::new("w").expect("valid"), WebhookUrl::new("https://a.example"));
        Webhook { id, url: url.expect("valid"), topics: Vec::new(), set: 1, secret, previous }
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms).expect("in range")
    }

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the specification's own test vectors.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let message = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signature(&secret, message), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone_and_what_is_no_key_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(KEY_FILE);
        let org = OrgId::new("acme").expect("valid");
        let secret = |key: &WebhookKey| key.secrets(&org, &webhook(3, None), at(1)).current.text();
        assert!(WebhookKey::load(&path).is_err(), "it is not made by itself");
        let first = secret(&WebhookKey::load_or_make(&path).expect("made"));
        assert_eq!(secret(&WebhookKey::load(&path).expect("read")), first);
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for bad in ["", "short", &STANDARD.encode([0; 31])] {
            fs::write(&path, bad).expect("written");
            assert!(WebhookKey::load(&path).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_webhook_and_every_rotation_has_its_own_secret() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = WebhookKey::load_or_make(&directory.path().join("k")).expect("made");
        let mut all = Vec::new();
        for org in ["a", "ab"] {
            let org = OrgId::new(org).expect("valid");
            for version in [1, 2, 256] {
                all.push(key.secrets(&org, &webhook(version, None), at(1)).current.text());
            }
        }
        assert!(all.iter().all(|secret| secret.starts_with("whsec_")));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn a_replaced_secret_signs_too_until_its_time_is_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = WebhookKey::load_or_make(&directory.path().join("k")).expect("made");
        let org = OrgId::new("acme").expect("valid");
        let old = key.secrets(&org, &webhook(1, None), at(1));
        let rotated = webhook(2, Some(PreviousSecret { secret: 1, until: at(1_000) }));
        let both = key.secrets(&org, &rotated, at(999)).signatures("id", 1, "{}");
        let parts: Vec<_> = both.split(' ').collect();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[1], old.signatures("id", 1, "{}"));
        let after = key.secrets(&org, &rotated, at(1_000)).signatures("id", 1, "{}");
        assert_eq!(after, parts[0]);
    }
}
