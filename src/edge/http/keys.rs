//! API keys: made, listed and revoked by an operator.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::meter::{Action, ActorId, ApiKeyView, Limit, Name, NewApiKey, OrgId, Refusal, Role};

use super::auth::{Caller, path_id};
use super::body::{Asks, Json, created, ok};
use super::describe::{Answer, Body, no_parameters, no_problems};
use super::idempotency::{self, Secret};
use super::problem::Problem;
use super::route::{Right, Route};
use super::time_text::TimeText;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/v1/keys",
        right: Right::ManageApiKeys,
        summary: "List the API keys.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<List>(200, "The keys, without their secrets.")],
        problems: no_problems,
        handler: || web::to(list),
    },
    Route {
        method: Method::POST,
        path: "/v1/keys",
        right: Right::ManageApiKeys,
        summary: "Make an API key; it is shown once.",
        parameters: no_parameters,
        body: Body::json::<ToMake>(),
        answers: &[Answer::json::<Made>(201, "It was made.")],
        problems: || {
            vec![
                Refusal::UnknownOrganization.into(),
                Problem::api_key_made(&ActorId::new("key").expect("valid")),
                Refusal::LimitReached(Limit::ApiKeys).into(),
            ]
        },
        handler: || web::to(make),
    },
    Route {
        method: Method::DELETE,
        path: "/v1/keys/{key}",
        right: Right::ManageApiKeys,
        summary: "Revoke an API key.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::empty(204, "It was revoked, now or before.")],
        problems: || vec![Refusal::UnknownKey.into()],
        handler: || web::to(revoke),
    },
];

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewApiKey)]
pub(super) struct ToMake {
    label: Name,
    role: Role,
    #[serde(default)]
    organizations: Vec<OrgId>,
}

impl Asks for ToMake {
    fn allow(caller: &Caller, _: &HttpRequest) -> Result<(), Problem> {
        Ok(caller.principal.authorize(Action::ManageApiKeys)?)
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = MadeApiKey)]
struct Made {
    id: ActorId,
    key: String,
    label: Name,
    role: Role,
    organizations: Vec<OrgId>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ApiKeyList)]
struct List {
    keys: Vec<KeyBody>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
struct KeyBody {
    id: ActorId,
    label: Name,
    role: Role,
    organizations: Vec<OrgId>,
    by: ActorId,
    created_at: TimeText,
    revoked_at: Option<TimeText>,
}

pub(super) async fn make(
    request: HttpRequest,
    caller: Caller,
    body: Json<ToMake>,
) -> Result<HttpResponse, Problem> {
    let ToMake { label, role, organizations } = body.0;
    if (1..organizations.len()).any(|next| organizations[..next].contains(&organizations[next])) {
        return Err(Problem::invalid("an organization stands twice; name each once"));
    }
    let new = NewApiKey { label: label.clone(), role, organizations: organizations.clone() };
    let (id, key) = match idempotency::named(&request) {
        None => caller.meter.create_api_key(&caller.principal, new).await?,
        Some(named) => make_once(&caller, new, named.derived_id()).await?,
    };
    let mut answer = created(Made { id, key, label, role, organizations });
    answer.extensions_mut().insert(Secret);
    Ok(answer)
}

/// Makes the key of a request that may have made it before.
async fn make_once(caller: &Caller, new: NewApiKey, id: ActorId) -> Result<(ActorId, String), Problem> {
    let made = caller.meter.create_api_key_as(&caller.principal, id.clone(), new.clone()).await;
    if made != Err(Refusal::Conflict.into()) {
        return Ok(made?);
    }
    let keys = caller.meter.api_keys(&caller.principal)?;
    let is_same = |key: &ApiKeyView| {
        key.id == id
            && key.label == new.label
            && key.role == new.role
            && key.organizations == new.organizations
    };
    let same = keys.iter().any(is_same);
    Err(if same { Problem::api_key_made(&id) } else { Problem::idempotency_key_reused() })
}

pub(super) async fn list(caller: Caller) -> Result<HttpResponse, Problem> {
    let keys = caller.meter.api_keys(&caller.principal)?;
    Ok(ok(List { keys: keys.into_iter().map(KeyBody::from).collect() }))
}

pub(super) async fn revoke(request: HttpRequest, caller: Caller) -> Result<HttpResponse, Problem> {
    caller.meter.revoke_api_key(&caller.principal, path_id(&request, "key")?).await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<ApiKeyView> for KeyBody {
    fn from(key: ApiKeyView) -> Self {
        let ApiKeyView { id, label, role, organizations, by, created_at, revoked_at } = key;
        let (created_at, revoked_at) = (created_at.into(), revoked_at.map(TimeText::from));
        Self { id, label, role, organizations, by, created_at, revoked_at }
    }
}
