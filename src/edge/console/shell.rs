//! What surrounds every page: who is signed in, where to go, what is to be told.

use actix_web::HttpRequest;

use crate::meter::{Action, OrgId, Principal, Role};

use super::assets;
use super::session::Notice;
use super::text;
use super::visit::{Visitor, path_id};

/// What surrounds a page.
pub(super) struct Shell {
    pub(super) title: String,
    pub(super) css: &'static str,
    pub(super) js: &'static str,
    pub(super) icon: &'static str,
    pub(super) who: Option<Who>,
    pub(super) groups: Vec<Group>,
    pub(super) notice: Option<Notice>,
}

/// Who is signed in.
pub(super) struct Who {
    pub(super) key: String,
    pub(super) is_token: bool,
    pub(super) role: String,
    pub(super) csrf: String,
}

/// Links that belong together.
pub(super) struct Group {
    pub(super) heading: String,
    pub(super) links: Vec<Link>,
}

/// Where to go.
pub(super) struct Link {
    pub(super) path: String,
    pub(super) label: &'static str,
    pub(super) is_here: bool,
}

/// The pages of an organization: below which path, how they are called, and whether they are for administrators alone.
const OF_ORGANIZATION: [(&str, &str, bool); 7] = [
    ("summary", "AI Token Summary", false),
    ("licenses", "Cloud AI licenses", false),
    ("cameras", "Cameras", false),
    ("rates", "Rate cards", false),
    ("events", "AI event log", false),
    ("alerts", "Alerts", false),
    ("audit", "Audit log", true),
];
/// The pages of operators.
const OF_OPERATORS: [(&str, &str); 3] =
    [("keys", "API keys"), ("audit", "Audit log of operators"), ("server", "Server")];

impl Shell {
    /// Around a page of this title, for a visitor.
    pub(super) fn of(visitor: &Visitor, request: &HttpRequest, title: impl Into<String>) -> Self {
        // A page that looks again by itself shows nobody what is told once.
        let notice =
            if visitor.is_by_hand { visitor.console.sessions.take_notice(&visitor.session) } else { None };
        let who = Who {
            key: visitor.session.key.to_string(),
            is_token: visitor.session.token.is_some(),
            role: role_of(&visitor.principal),
            csrf: visitor.session.csrf.clone(),
        };
        let groups = groups(visitor, request, path_id(request, "org").ok());
        Self { who: Some(who), groups, notice, ..Self::alone(title) }
    }

    /// The same, around a page that belongs to this organization though its path does not name it.
    pub(super) fn within(self, visitor: &Visitor, request: &HttpRequest, organization: &OrgId) -> Self {
        Self { groups: groups(visitor, request, Some(organization.clone())), ..self }
    }

    /// Around a page for nobody in particular.
    pub(super) fn alone(title: impl Into<String>) -> Self {
        let (title, [css, js, icon]) = (title.into(), assets::paths());
        Self { title, css, js, icon, who: None, groups: Vec::new(), notice: None }
    }

    /// What a form of this page bears.
    pub(super) fn csrf(&self) -> &str {
        self.who.as_ref().map_or("", |who| &who.csrf)
    }
}

/// The role of a key; those of a token, which may have several.
fn role_of(principal: &Principal) -> String {
    const ALL: [Role; 4] = [Role::Operator, Role::Admin, Role::Viewer, Role::Gateway];
    let has = |role: &Role| match principal {
        Principal::Key { role: own, .. } => own == role,
        Principal::Token(bearer) => bearer.roles.iter().any(|given| given.role == *role),
        Principal::Host => false,
    };
    ALL.into_iter().filter(has).map(text::role).collect::<Vec<_>>().join(", ")
}

fn groups(visitor: &Visitor, request: &HttpRequest, organization: Option<OrgId>) -> Vec<Group> {
    let here = request.path();
    let is_at =
        |path: &str| here.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let link = |path: String, label| Link { is_here: is_at(&path), path, label };
    let mut groups = Vec::new();
    // Of the page's own organization where it has one; else of the only one that there is.
    let named = organization.filter(|id| visitor.may(Action::Read(id)));
    let only = || visitor.principal.only_organization().cloned();
    if let Some(id) = named.or_else(only) {
        let is_admin = visitor.may(Action::Administer(&id));
        let pages = OF_ORGANIZATION.into_iter().filter(|(_, _, for_admins)| is_admin || !for_admins);
        let links = pages.map(|(page, label, _)| {
            let path = format!("/console/organizations/{id}/{page}");
            let is_below = is_at(&path);
            let is_here = is_below
                || (page == "licenses" && here.ends_with("/transfer"))
                || (page == "alerts" && here.ends_with("/deliveries"));
            Link { path, label, is_here }
        });
        groups.push(Group { heading: id.to_string(), links: links.collect() });
    }
    let all = "/console/organizations".to_owned();
    let mut links = vec![Link { is_here: here == all, path: all, label: "Organizations" }];
    if visitor.may(Action::ManageApiKeys) {
        links.extend(OF_OPERATORS.into_iter().map(|(path, label)| link(format!("/console/{path}"), label)));
    }
    groups.push(Group { heading: "Server".to_owned(), links });
    groups
}
