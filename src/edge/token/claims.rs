//! What a token says, once its signature holds: for how long, who, and which roles where.
//!
//! The roles are a list of texts, each `ORGANIZATION:ROLE`, or `operator` alone. What is no such text is passed over, because a list of groups
//! mostly serves other programs as well; so is what its issuer may not give. Nothing of it widens what a role may do.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::domain::hex::Hex;
use crate::domain::limits::API_KEY_ORGANIZATIONS_MAX;
use crate::meter::{ActorId, Bearer, OrgId, Role, RoleIn, Timestamp};

use super::TokenError;
use super::settings::IssuerSettings;

/// What a token says, beside its issuer and its audience.
#[derive(Debug)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// What stands in a token whose signature holds.
    pub(super) fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// Until when the token counts, with the skew of clocks.
    ///
    /// # Errors
    /// When it does not count at this time.
    pub(super) fn check_time(&self, now: Timestamp, skew_s: u64) -> Result<Timestamp, TokenError> {
        let now_s = now.ms() / 1_000;
        for name in ["nbf", "iat"] {
            let begins = self.0.get(name).map(|value| seconds(value).ok_or(unreadable())).transpose()?;
            if begins.is_some_and(|begins| begins > now_s.saturating_add(skew_s)) {
                return Err(TokenError::NotYetValid);
            }
        }
        let ends = self.0.get("exp").and_then(seconds).ok_or(unreadable())?.saturating_add(skew_s);
        if ends <= now_s {
            return Err(TokenError::Expired);
        }
        Ok(Timestamp::FIRST.plus_ms(ends.saturating_mul(1_000) - 1))
    }

    /// Who bears the token, with the roles that the issuer may give.
    ///
    /// # Errors
    /// When it names nobody, or was revoked.
    pub(super) fn bearer(&self, issuer: &IssuerSettings) -> Result<Bearer, TokenError> {
        let text = |name: &str| self.0.get(name).and_then(Value::as_str);
        let subject = text("sub").filter(|subject| !subject.is_empty() && subject.len() <= 255);
        let subject = subject.ok_or(TokenError::Invalid("it has no `sub` of 1 to 255 bytes"))?;
        let is_revoked = |list: &[String], found: Option<&str>| {
            found.is_some_and(|found| list.iter().any(|revoked| revoked == found))
        };
        if is_revoked(&issuer.revoked_subjects, Some(subject))
            || is_revoked(&issuer.revoked_tokens, text("jti"))
        {
            return Err(TokenError::Revoked);
        }
        Ok(Bearer {
            id: actor(&issuer.name, subject),
            issuer: issuer.issuer.clone(),
            subject: subject.to_owned(),
            roles: self.roles(issuer)?,
        })
    }

    fn roles(&self, issuer: &IssuerSettings) -> Result<Vec<RoleIn>, TokenError> {
        let claim = match self.0.get(&issuer.claim) {
            None if issuer.claim.starts_with('/') => pointed_at(&self.0, &issuer.claim),
            found => found,
        };
        let Some(claim) = claim else { return Ok(Vec::new()) };
        let listed = claim.as_array().ok_or(TokenError::Invalid("its roles are no list"))?;
        let may_give = |given: &RoleIn| {
            let among = |all: &Vec<OrgId>| given.organization.as_ref().is_none_or(|org| all.contains(org));
            issuer.roles.contains(&given.role) && issuer.organizations.as_ref().is_none_or(among)
        };
        let roles = listed.iter().filter_map(|text| role_in(text.as_str()?)).filter(may_give);
        let roles: Vec<_> = roles.take(API_KEY_ORGANIZATIONS_MAX + 1).collect();
        if roles.len() > API_KEY_ORGANIZATIONS_MAX {
            return Err(TokenError::Invalid("it has more than 256 roles"));
        }
        Ok(roles)
    }
}

/// The value that a pointer (RFC 6901) names.
fn pointed_at<'a>(claims: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let (first, rest) = match pointer[1..].split_once('/') {
        Some((first, _)) => (first, &pointer[1 + first.len()..]),
        None => (&pointer[1..], ""),
    };
    claims.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
}

fn role_in(text: &str) -> Option<RoleIn> {
    if text == "operator" {
        return Some(RoleIn { role: Role::Operator, organization: None });
    }
    let (organization, role) = text.rsplit_once(':')?;
    let role = match role {
        "admin" => Role::Admin,
        "viewer" => Role::Viewer,
        "gateway" => Role::Gateway,
        _ => return None,
    };
    Some(RoleIn { role, organization: Some(OrgId::new(organization).ok()?) })
}

/// The name under which acts are recorded: the subject where it can stand in an id, else a hash of it.
fn actor(issuer: &str, subject: &str) -> ActorId {
    ActorId::new(&format!("{issuer}:{subject}")).unwrap_or_else(|_| {
        let hash = Sha256::digest(subject.as_bytes());
        ActorId::new(&format!("{issuer}:{}", Hex(&hash[..16])))
            .expect("a short name, a colon and 32 digits are an id")
    })
}

/// Whole seconds of a number; a fraction is cut off.
fn seconds(value: &Value) -> Option<u64> {
    let number = value.as_number()?;
    number.as_u64().or_else(|| number.to_string().split('.').next()?.parse().ok())
}

fn unreadable() -> TokenError {
    TokenError::Invalid("its times are no numbers")
}
