//! API keys: random secrets of which only a hash is kept.
//!
//! A key reads `weir_<id>_<secret>`: the id finds it, the secret (256 random bits in hexadecimal) proves it. SHA-256 without
//! salt is enough for a secret that nobody can guess; it is compared in constant time.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::domain::hex::Hex;
use crate::domain::ids::{ActorId, Name, OrgId};
use crate::domain::refusal::Invalid;
use crate::domain::registry::{ApiKey, Role};
use crate::domain::time::Timestamp;
use crate::protocol::coordinator::{ApiKeyOrder, Order};

use super::access::{Action, Principal};
use super::audit::Deed;
use super::error::Error;
use super::open::{Meter, fill_random};

const PREFIX: &str = "weir_";

/// An API key that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApiKey {
    /// What it is for.
    pub label: Name,
    /// What it may do.
    pub role: Role,
    /// For which organizations; none for an operator.
    pub organizations: Vec<OrgId>,
}

/// An API key as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiKeyView {
    /// Its id.
    pub id: ActorId,
    /// What it is for.
    pub label: Name,
    /// What it may do.
    pub role: Role,
    /// For which organizations.
    pub organizations: Vec<OrgId>,
    /// Who made it.
    pub by: ActorId,
    /// When.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKeyView {
    fn new(id: &ActorId, key: &ApiKey) -> Self {
        let ApiKey { label, role, organizations, by, created_at, revoked_at, .. } = key.clone();
        Self { id: id.clone(), label, role, organizations, by, created_at, revoked_at }
    }
}

impl Meter {
    /// Makes an API key; answers, when it is durable, with its id and the key itself, which is shown this once.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`](super::Refusal::Forbidden) unless `who` is an operator or the host, [`Refusal::UnknownOrganization`](super::Refusal::UnknownOrganization), or a role whose
    /// organizations do not fit it.
    pub async fn create_api_key(&self, who: &Principal, new: NewApiKey) -> Result<(ActorId, String), Error> {
        let mut short = [0; 8];
        fill_random(&mut short);
        self.create_api_key_as(who, ActorId::new(&Hex(&short).to_string())?, new).await
    }

    /// Makes an API key of this id: at most once, because what is made is never forgotten. An id has no `_`.
    ///
    /// # Errors
    /// As [`Self::create_api_key`], and [`Refusal::Conflict`](super::Refusal::Conflict) when there is a key of this id.
    pub async fn create_api_key_as(
        &self,
        who: &Principal,
        id: ActorId,
        new: NewApiKey,
    ) -> Result<(ActorId, String), Error> {
        who.authorize(Action::ManageApiKeys)?;
        self.check_known(&new.organizations.iter().collect::<Vec<_>>()).await?;
        if id.as_str().contains('_') {
            return Err(Invalid::ActorId.into());
        }
        let mut long = [0; 32];
        fill_random(&mut long);
        let secret = Hex(&long).to_string();
        let NewApiKey { label, role, organizations } = new;
        let (key_id, by, hash) = (id.clone(), who.actor(), hash(&secret));
        let deed = Deed {
            act: "create_api_key",
            organizations: organizations.clone(),
            target: Some(id.to_string()),
        };
        let order = ApiKeyOrder { id: key_id, hash, label, role, organizations, by };
        self.witnessed(who, deed, self.order(Order::CreateApiKey(order))).await?;
        let key = format!("{PREFIX}{id}_{secret}");
        Ok((id, key))
    }

    /// Revokes an API key; it is refused from the answer on.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`](super::Refusal::Forbidden) unless `who` is an operator or the host, [`Refusal::UnknownKey`](super::Refusal::UnknownKey).
    pub async fn revoke_api_key(&self, who: &Principal, id: ActorId) -> Result<(), Error> {
        who.authorize(Action::ManageApiKeys)?;
        let organizations = {
            let keys = self.engine.directory.api_keys.read().expect("api keys never panic");
            keys.get(&id).map(|key| key.organizations.clone()).unwrap_or_default()
        };
        let deed = Deed { act: "revoke_api_key", organizations, target: Some(id.to_string()) };
        self.witnessed(who, deed, self.order(Order::RevokeApiKey(id))).await?;
        Ok(())
    }

    /// All API keys, revoked ones included.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`](super::Refusal::Forbidden) unless `who` is an operator or the host.
    pub fn api_keys(&self, who: &Principal) -> Result<Vec<ApiKeyView>, Error> {
        who.authorize(Action::ManageApiKeys)?;
        let keys = self.engine.directory.api_keys.read().expect("api keys never panic");
        Ok(keys.iter().map(|(id, key)| ApiKeyView::new(id, key)).collect())
    }

    /// Whom an API key stands for; none when it is not known, not right, or revoked.
    #[must_use]
    pub fn authenticate(&self, key: &str) -> Option<Principal> {
        let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
        let id = ActorId::new(id).ok()?;
        let keys = self.engine.directory.api_keys.read().expect("api keys never panic");
        let known = keys.get(&id)?;
        let same = bool::from(known.hash.ct_eq(&hash(secret)));
        if !same || known.revoked_at.is_some() {
            return None;
        }
        Some(Principal::Key { id, role: known.role, organizations: known.organizations.clone() })
    }

    /// Whom the API key of this id stands for now; none when it is not known, or revoked. For callers that showed the key before.
    #[must_use]
    pub fn principal_of_key(&self, id: &ActorId) -> Option<Principal> {
        let keys = self.engine.directory.api_keys.read().expect("api keys never panic");
        let known = keys.get(id).filter(|key| key.revoked_at.is_none())?;
        Some(Principal::Key { id: id.clone(), role: known.role, organizations: known.organizations.clone() })
    }
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}
