//! API keys, for operators: which there are, making one, and revoking one.
//!
//! The form that makes a key bears its id, so that one that is sent twice makes one. The key itself is shown once, on the page that follows.

use actix_web::HttpResponse;
use askama::Template;

use crate::edge::http::Problem;
use crate::edge::http::route::Right;
use crate::meter::{ActorId, ApiKeyView, Invalid, Name, NewApiKey, OrgId, Refusal, Role};

use super::answer;
use super::route::{Route, form, page};
use super::session::{Notice, random_text};
use super::shell::Shell;
use super::text::{self, Count, Time};
use super::visit::{Visit, path_id};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    page(KEYS, Right::ManageApiKeys, |visit| Box::pin(list(visit))),
    form(KEYS, Right::ManageApiKeys, Some("create_api_key"), |visit| Box::pin(make(visit))),
    page("/console/keys/{key}", Right::ManageApiKeys, |visit| Box::pin(show(visit))),
    form("/console/keys/{key}/revoke", Right::ManageApiKeys, Some("revoke_api_key"), |visit| {
        Box::pin(revoke(visit))
    }),
];

const KEYS: &str = "/console/keys";
/// Keys on a page.
const ROWS: usize = 100;
const ROLES: [Role; 4] = [Role::Viewer, Role::Admin, Role::Gateway, Role::Operator];

#[derive(Template)]
#[template(path = "console/keys.html")]
struct KeysPage {
    shell: Shell,
    rows: Vec<Row>,
    all: Count,
    newer: Option<usize>,
    older: Option<usize>,
    roles: Vec<&'static str>,
    id: String,
}

#[derive(Template)]
#[template(path = "console/key.html")]
struct KeyPage {
    shell: Shell,
    key: Row,
    is_own: bool,
}

struct Row {
    id: String,
    label: String,
    role: &'static str,
    organizations: Vec<String>,
    by: String,
    created_at: Time,
    revoked_at: Option<Time>,
}

async fn list(visit: Visit) -> Result<HttpResponse, Problem> {
    let visitor = &visit.visitor;
    let mut keys = visitor.meter.api_keys(&visitor.principal)?;
    // Those that count come first, the newest of them at the top.
    keys.sort_by_key(|key| (key.revoked_at.is_some(), std::cmp::Reverse(key.created_at)));
    let (all, first) = (keys.len(), visit.form.text("from").parse().unwrap_or(0));
    let rows: Vec<_> = keys.into_iter().skip(first).take(ROWS).map(Row::from).collect();
    Ok(answer::page(&KeysPage {
        shell: Shell::of(visitor, &visit.request, "API keys"),
        all: Count(u64::try_from(all).unwrap_or(u64::MAX)),
        older: (first.saturating_add(rows.len()) < all && !rows.is_empty()).then(|| first + ROWS),
        newer: (first > 0).then(|| first.saturating_sub(ROWS)),
        rows,
        roles: ROLES.into_iter().map(text::role).collect(),
        id: random_text()[..16].to_owned(),
    }))
}

async fn make(visit: Visit) -> Result<HttpResponse, Problem> {
    let visitor = &visit.visitor;
    let asked = visit.form.text("role");
    let role =
        ROLES.into_iter().find(|role| text::role(*role) == asked).ok_or(Refusal::Invalid(Invalid::Role))?;
    let mut organizations: Vec<OrgId> = Vec::new();
    for id in visit.form.text("organizations").split([',', ' ', '\n', '\r']).filter(|id| !id.is_empty()) {
        let id = id.parse()?;
        if !organizations.contains(&id) {
            organizations.push(id);
        }
    }
    let label = Name::new(visit.form.text("label"))?;
    let id: ActorId = visit.form.text("id").parse()?;
    let new = NewApiKey { label: label.clone(), role, organizations };
    let (id, key) = match visitor.meter.create_api_key_as(&visitor.principal, id.clone(), new).await {
        Err(error) if error == Refusal::Conflict.into() => return Err(Problem::api_key_made(&id)),
        made => made?,
    };
    visitor.leave(Notice { text: format!("The key {id} for {label} was made."), secret: Some(key) });
    Ok(answer::see_other(KEYS))
}

async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let visitor = &visit.visitor;
    let id: ActorId = path_id(&visit.request, "key")?;
    let keys = visitor.meter.api_keys(&visitor.principal)?;
    let key = keys.into_iter().find(|key| key.id == id).ok_or(Refusal::UnknownKey)?;
    let shell = Shell::of(visitor, &visit.request, format!("API key {id}"));
    Ok(answer::page(&KeyPage { shell, key: key.into(), is_own: id == visitor.session.key }))
}

async fn revoke(visit: Visit) -> Result<HttpResponse, Problem> {
    let visitor = &visit.visitor;
    let id: ActorId = path_id(&visit.request, "key")?;
    visitor.meter.revoke_api_key(&visitor.principal, id.clone()).await?;
    visitor.leave(Notice::new(format!("The key {id} was revoked. It is refused from now on.")));
    Ok(answer::see_other(KEYS))
}

impl From<ApiKeyView> for Row {
    fn from(key: ApiKeyView) -> Self {
        Self {
            id: key.id.to_string(),
            label: key.label.to_string(),
            role: text::role(key.role),
            organizations: key.organizations.iter().map(ToString::to_string).collect(),
            by: key.by.to_string(),
            created_at: Time(key.created_at),
            revoked_at: key.revoked_at.map(Time),
        }
    }
}
