//! The public keys of one issuer: read from a file once, or fetched from an address and kept.
//!
//! Who asks for a key never waits: what is due is fetched by a thread of its own, at most one at a time and
//! not again within [`PAUSE`], whatever callers send. Keys that were fetched are replaced by those of the next answer that can be used, so an issuer
//! may rotate; where none comes they are believed for their longest age, and no longer. Deliberately absent: symmetric keys, and
//! redirects, which would let another address say what the keys are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::edge::tls;
use crate::telemetry::clock;

use super::settings::IssuerSettings;

/// How soon keys are fetched again after an attempt.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest set of keys, in bytes.
const SET_BYTES_MAX: u64 = 256 << 10;
/// Most keys of a set.
const KEYS_MAX: usize = 256;

/// Keys by their `kid`.
type Keys = BTreeMap<String, Arc<DecodingKey>>;

/// The public keys of one issuer.
#[derive(Debug)]
pub(super) struct Keyring {
    settings: IssuerSettings,
    /// How to fetch them; none when they are those of a file.
    agent: Option<Agent>,
    cached: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    keys: Option<(Arc<Keys>, Instant)>,
    attempted: Option<Instant>,
    fetching: Option<JoinHandle<()>>,
}

/// Why there is no such key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The issuer has none of this name.
    Unknown,
    /// The issuer's keys are on their way, or did not come: it cannot be told.
    Pending,
}

impl Keyring {
    /// The keys that a file holds, or those at an address, which are being fetched from now on.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub(super) fn open(settings: &IssuerSettings) -> Result<Arc<Self>, String> {
        let (address, now) = (&settings.jwks, clock::start());
        let mut keyring = Self { settings: settings.clone(), agent: None, cached: Mutex::default() };
        if address.starts_with("https://") || address.starts_with("http://") {
            keyring.agent = Some(agent(settings)?);
        } else {
            let read = std::fs::read(address).map_err(|error| error.to_string());
            let keys = read.and_then(|text| parse(&text, settings.algorithm));
            let keys = keys.map_err(|cause| format!("its `jwks`, {address}: {cause}"))?;
            keyring.lock().keys = Some((Arc::new(keys), now));
        }
        let keyring = Arc::new(keyring);
        keyring.refresh(&mut keyring.lock(), now);
        Ok(keyring)
    }

    /// The key of this name. Has keys fetched that are due.
    ///
    /// # Errors
    /// When there is none, or when that cannot be told now.
    pub(super) fn find(self: &Arc<Self>, kid: &str, now: Instant) -> Result<Arc<DecodingKey>, NoKey> {
        let mut cached = self.lock();
        let age = cached.keys.as_ref().map(|(_, fetched)| now.saturating_duration_since(*fetched));
        let is_within = |seconds| age.is_some_and(|age| age < Duration::from_secs(seconds));
        let is_believed = self.agent.is_none() || is_within(self.settings.max_age_s);
        let believed = cached.keys.as_ref().filter(|_| is_believed).map(|(keys, _)| keys.get(kid).cloned());
        let found = believed.as_ref().and_then(Option::as_ref);
        if found.is_none() || !is_within(self.settings.refresh_s) {
            self.refresh(&mut cached, now);
        }
        match found {
            Some(key) => Ok(Arc::clone(key)),
            None if believed.is_none() || cached.is_fetching() => Err(NoKey::Pending),
            None => Err(NoKey::Unknown),
        }
    }

    /// Takes over what was fetched before, where it is the keys of the same address.
    pub(super) fn inherit(&self, older: &Self) {
        let place = |settings: &IssuerSettings| (settings.jwks.clone(), settings.algorithm);
        if self.agent.is_some() && place(&self.settings) == place(&older.settings) {
            let known = older.lock().keys.clone();
            let mut cached = self.lock();
            cached.keys = cached.keys.take().or(known);
        }
    }

    /// Waits for the keys that are being fetched, if any are.
    pub(super) fn wait(&self) {
        let fetching = self.lock().fetching.take();
        if fetching.is_some_and(|fetching| fetching.join().is_err()) {
            tracing::error!("the fetching of keys from {} ended in a defect", self.settings.jwks);
        }
    }

    fn refresh(self: &Arc<Self>, cached: &mut Cached, now: Instant) {
        let is_soon = cached.attempted.is_some_and(|last| now.saturating_duration_since(last) < PAUSE);
        let Some(agent) = self.agent.clone().filter(|_| !is_soon && !cached.is_fetching()) else { return };
        cached.attempted = Some(now);
        let keyring = Arc::clone(self);
        let fetch = move || {
            let address = &keyring.settings.jwks;
            match fetch(&agent, address).and_then(|text| parse(&text, keyring.settings.algorithm)) {
                Ok(keys) => keyring.lock().keys = Some((Arc::new(keys), clock::start())),
                Err(cause) => {
                    tracing::warn!("no keys of a token issuer from {address}: {cause}; older ones are kept");
                }
            }
        };
        match std::thread::Builder::new().name("weir-jwks".to_owned()).spawn(fetch) {
            Ok(thread) => cached.fetching = Some(thread),
            Err(error) => tracing::warn!(%error, "no thread to fetch the keys of a token issuer"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cached {
    fn is_fetching(&self) -> bool {
        self.fetching.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

fn agent(settings: &IssuerSettings) -> Result<Agent, String> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_idle_connections(0)
        .timeout_global(Some(Duration::from_millis(settings.timeout_ms)));
    if settings.jwks.starts_with("http://") {
        return Ok(config.build().into());
    }
    let roots = match &settings.ca {
        Some(path) => tls::certificates("ca", path).map_err(|error| error.to_string())?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    let trust = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(tls::provider());
    Ok(config.tls_config(trust.build()).build().into())
}

fn fetch(agent: &Agent, address: &str) -> Result<Vec<u8>, String> {
    let mut answer = agent.get(address).call().map_err(|error| error.to_string())?;
    if answer.status() != 200 {
        return Err(format!("it answers with the status {}", answer.status()));
    }
    let body = answer.body_mut().with_config().limit(SET_BYTES_MAX).read_to_vec();
    body.map_err(|error| error.to_string())
}

/// The keys of a JSON Web Key Set that this algorithm can be checked with. Others are passed over: an issuer may have them for others.
fn parse(text: &[u8], algorithm: Algorithm) -> Result<Keys, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(text).map_err(|error| format!("it is no set of keys: {error}"))?;
    if set.keys.len() > KEYS_MAX {
        return Err(format!("it holds more than {KEYS_MAX} keys"));
    }
    let mut keys = Keys::new();
    for (kid, key) in set.keys.into_iter().filter_map(|key| usable(key, algorithm)) {
        if keys.insert(kid.clone(), Arc::new(key)).is_some() {
            return Err(format!("it holds two keys called `{kid}`"));
        }
    }
    if keys.is_empty() {
        return Err(format!("it holds no key with a `kid` for {algorithm:?}"));
    }
    Ok(keys)
}

fn usable(key: Value, algorithm: Algorithm) -> Option<(String, DecodingKey)> {
    let is_for = key.get("alg").is_none_or(|named| *named == format!("{algorithm:?}"));
    let jwk: Jwk = serde_json::from_value(key).ok().filter(|_| is_for)?;
    let signs = jwk.common.public_key_use.as_ref().is_none_or(|use_of| *use_of == PublicKeyUse::Signature);
    let operations = jwk.common.key_operations.as_ref();
    let verifies = operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    let fits = signs && verifies && decoding.family() == algorithm.family();
    Some((jwk.common.key_id.filter(|_| fits)?, decoding))
}
