//! Who may do what: the one place that decides it (R1, R11).
//!
//! | role | may |
//! |---|---|
//! | operator | create and list organizations, make and revoke API keys |
//! | admin | administer and read its organizations; transfer between two that it administers both |
//! | viewer | read its organizations |
//! | gateway | send debits for its organizations, and read them |
//!
//! No role reaches an organization that its key does not name, and none learns whether there is such an organization. The
//! operator adds no license and reads no pool. The embedding host is trusted with everything.

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
        let Self::Key { role, organizations, .. } = self else { return true };
        match action {
            Action::CreateOrganization | Action::ListOrganizations | Action::ManageApiKeys => {
                *role == Role::Operator
            }
            Action::Administer(org) => *role == Role::Admin && organizations.contains(org),
            Action::Read(org) => *role != Role::Operator && organizations.contains(org),
            Action::Debit(org) => *role == Role::Gateway && organizations.contains(org),
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
}
