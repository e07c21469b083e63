//! Who may do what: the one place that decides it (R1, R11).
//!
//! | role | may |
//! |---|---|
//! | operator | create and list organizations, make and revoke API keys |
//! | admin | administer and read its organizations; transfer between two that it administers both |
//! | viewer | read its organizations |
//! | gateway | send debits for its organizations, and read them |
//!
//! A key has one role, in the organizations that it names; a token has a role in each that it names, and may have several. No role reaches
//! an organization that is not named with it, and none learns whether there is such an organization. The operator adds no license and reads
//! no pool. The embedding host is trusted with everything.

use std::sync::Arc;

use crate::domain::ids::{ActorId, OrgId};
use crate::domain::refusal::Refusal;
use crate::domain::registry::Role;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The program that embeds the meter: trusted.
    Host,
    /// The bearer of an API key.
    Key {
        /// The key's id.
        id: ActorId,
        /// Its role.
        role: Role,
        /// The organizations that it names.
        organizations: Vec<OrgId>,
    },
    /// The bearer of a token.
    Token(Arc<Bearer>),
}

/// The bearer of a token that an issuer signed. Whoever makes one has looked at the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The name under which acts are recorded.
    pub id: ActorId,
    /// Who signed the token.
    pub issuer: String,
    /// Whom the issuer names.
    pub subject: String,
    /// What he may do.
    pub roles: Vec<RoleIn>,
}

/// A role in an organization; that of an operator is in none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleIn {
    /// The role.
    pub role: Role,
    /// Where.
    pub organization: Option<OrgId>,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Create an organization.
    CreateOrganization,
    /// List all organizations.
    ListOrganizations,
    /// Make, list and revoke API keys.
    ManageApiKeys,
    /// Change cameras, add licenses, move the pool of this organization.
    Administer(&'a OrgId),
    /// Read this organization.
    Read(&'a OrgId),
    /// Send debits for this organization.
    Debit(&'a OrgId),
}

impl Principal {
    /// The name under which acts are recorded.
    #[must_use]
    pub fn actor(&self) -> ActorId {
        match self {
            Self::Host => ActorId::new("host").expect("a valid id"),
            Self::Key { id, .. } => id.clone(),
            Self::Token(bearer) => bearer.id.clone(),
        }
    }

    /// Allows an action.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`].
    pub fn authorize(&self, action: Action<'_>) -> Result<(), Refusal> {
        if self.may(action) { Ok(()) } else { Err(Refusal::Forbidden) }
    }

    /// Whether an action is allowed.
    #[must_use]
    pub fn may(&self, action: Action<'_>) -> bool {
        if *self == Self::Host {
            return true;
        }
        let is_any_of = |roles: &[Role], org| roles.iter().any(|role| self.has(*role, Some(org)));
        match action {
            Action::CreateOrganization | Action::ListOrganizations | Action::ManageApiKeys => {
                self.has(Role::Operator, None)
            }
            Action::Administer(org) => self.has(Role::Admin, Some(org)),
            Action::Read(org) => is_any_of(&[Role::Admin, Role::Viewer, Role::Gateway], org),
            Action::Debit(org) => self.has(Role::Gateway, Some(org)),
        }
    }

    /// Whether it has a role in any organization.
    #[must_use]
    pub fn has_somewhere(&self, wanted: Role) -> bool {
        match self {
            Self::Host => true,
            Self::Key { role, organizations, .. } => *role == wanted && !organizations.is_empty(),
            Self::Token(bearer) => bearer.roles.iter().any(|given| given.role == wanted),
        }
    }

    /// Whether it names an organization of which this holds; the host names none.
    pub(super) fn names_one(&self, holds: impl Fn(&OrgId) -> bool) -> bool {
        self.named().into_iter().any(holds)
    }

    /// The organizations that it names; the host names none.
    pub(super) fn named(&self) -> Vec<&OrgId> {
        match self {
            Self::Host => Vec::new(),
            Self::Key { organizations, .. } => organizations.iter().collect(),
            Self::Token(bearer) => {
                bearer.roles.iter().filter_map(|given| given.organization.as_ref()).collect()
            }
        }
    }

    /// The organization that it has roles in, where that is one alone.
    #[must_use]
    pub fn only_organization(&self) -> Option<&OrgId> {
        match self {
            Self::Host => None,
            Self::Key { organizations, .. } => organizations.first().filter(|_| organizations.len() == 1),
            Self::Token(bearer) => {
                let mut all = bearer.roles.iter().filter_map(|given| given.organization.as_ref());
                let first = all.next()?;
                all.all(|other| other == first).then_some(first)
            }
        }
    }

    /// Whether it has a role in an organization, or in none.
    fn has(&self, wanted: Role, organization: Option<&OrgId>) -> bool {
        match self {
            Self::Host => true,
            Self::Key { role, organizations, .. } => {
                *role == wanted && organization.is_none_or(|org| organizations.contains(org))
            }
            Self::Token(bearer) => bearer
                .roles
                .iter()
                .any(|given| given.role == wanted && given.organization.as_ref() == organization),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(role: Role) -> Principal {
        let own = OrgId::new("own").expect("valid");
        Principal::Key { id: ActorId::new("k").expect("valid"), role, organizations: vec![own] }
    }

    #[test]
    fn r1_r11_each_role_may_do_what_the_table_says_and_only_in_its_organizations() {
        let (own, other) = (OrgId::new("own").expect("valid"), OrgId::new("other").expect("valid"));
        let of_own = [Action::Administer(&own), Action::Read(&own), Action::Debit(&own)];
        let of_other = [Action::Administer(&other), Action::Read(&other), Action::Debit(&other)];
        let of_all = [Action::CreateOrganization, Action::ListOrganizations, Action::ManageApiKeys];
        for (role, global, owned) in [
            (Role::Operator, true, [false, false, false]),
            (Role::Admin, false, [true, true, false]),
            (Role::Viewer, false, [false, true, false]),
            (Role::Gateway, false, [false, true, true]),
        ] {
            let who = key(role);
            assert!(of_all.iter().all(|action| who.may(*action) == global), "{role:?}");
            assert_eq!(of_own.map(|action| who.may(action)), owned, "{role:?}");
            assert_eq!(of_other.map(|action| who.may(action)), [false; 3], "{role:?}");
        }
        assert!(of_other.iter().all(|action| Principal::Host.may(*action)));
    }

    #[test]
    fn r1_r11_a_token_may_do_in_each_organization_what_its_roles_there_may_and_nothing_elsewhere() {
        let org = |id: &str| OrgId::new(id).expect("valid");
        let (first, second, third) = (org("first"), org("second"), org("third"));
        let roles = [(Role::Admin, &first), (Role::Viewer, &second), (Role::Gateway, &first)];
        let given = |(role, org): (Role, &OrgId)| RoleIn { role, organization: Some(org.clone()) };
        let who = Principal::Token(Arc::new(Bearer {
            id: ActorId::new("corp:ann").expect("valid"),
            issuer: "https://id.example".to_owned(),
            subject: "ann".to_owned(),
            roles: roles.map(given).to_vec(),
        }));
        let rights = |org| {
            [Action::Administer(org), Action::Read(org), Action::Debit(org)].map(|action| who.may(action))
        };
        assert_eq!(rights(&first), [true, true, true]);
        assert_eq!(rights(&second), [false, true, false]);
        assert_eq!(rights(&third), [false; 3]);
        assert!(!who.may(Action::ManageApiKeys) && who.has_somewhere(Role::Admin));
    }
}
