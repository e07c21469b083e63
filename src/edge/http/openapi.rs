//! The description of the interface (OpenAPI 3.1), made from the routes as they are registered.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use actix_web::http::Method;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref,
    Required, Response, ResponseBuilder, Type,
};

use crate::domain::limits;
use crate::edge::bearers::Stranger;
use crate::edge::token::TokenError;
use crate::meter::{Error, Invalid, Refusal, Role, Unavailable};

use super::audit;
use super::describe::{Answer, JSON, Shape, no_parameters, no_problems};
use super::problem::{self, Problem};
use super::route::{self, Right, Route};
use super::schemas::id;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[Route {
    method: Method::GET,
    path: "/openapi.json",
    right: Right::None,
    summary: "This description.",
    parameters: no_parameters,
    body: None,
    answers: &[Answer::json::<Description>(200, "OpenAPI 3.1.")],
    problems: no_problems,
    handler: || web::to(show),
}];

/// The name of the only way to say who calls.
const SECURITY: &str = "api_key";
const ROLES: [(Role, &str); 4] = [
    (Role::Operator, "operator"),
    (Role::Admin, "admin"),
    (Role::Viewer, "viewer"),
    (Role::Gateway, "gateway"),
];

/// An OpenAPI document.
#[derive(Serialize, ToSchema)]
struct Description {
    openapi: String,
    info: BTreeMap<String, serde_json::Value>,
}

async fn show() -> HttpResponse {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| document().to_json().expect("a document is JSON"));
    HttpResponse::Ok().insert_header((CONTENT_TYPE, HeaderValue::from_static(JSON))).body(text.as_str())
}

fn document() -> OpenApi {
    let info = InfoBuilder::new().title("Tokenweir").version(env!("CARGO_PKG_VERSION")).description(Some(
        "Meters the AI tokens that camera streams consume. Every answer that is no success is a problem document (RFC 9457) \
         with a stable code; each route lists the codes that it has.",
    ));
    let paths = route::all().fold(PathsBuilder::new(), |paths, route| {
        let item = utoipa::openapi::PathItem::new(method(route), operation(route));
        paths.path(route.path, item)
    });
    OpenApiBuilder::new().info(info.build()).paths(paths.build()).components(Some(components())).build()
}

fn components() -> Components {
    let mut schemas = Vec::new();
    let mut add = |shape: &Shape| {
        (shape.parts)(&mut schemas);
        schemas.push(((shape.name)().into_owned(), (shape.schema)()));
    };
    add(&Shape::of::<problem::Document<'_>>());
    for route in route::all() {
        route.body.iter().for_each(|body| add(&body.shape));
        route.answers.iter().filter_map(|answer| answer.body.as_ref()).for_each(|(_, shape)| add(shape));
    }
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some("An API key: `weir_<id>_<secret>`.".to_owned());
    let components = ComponentsBuilder::new().schemas_from_iter(schemas);
    components.security_scheme(SECURITY, SecurityScheme::Http(bearer)).build()
}

fn method(route: &Route) -> HttpMethod {
    match route.method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn operation(route: &Route) -> OperationBuilder {
    let parts: Vec<_> = route.path.split('/').filter(|part| !part.is_empty() && *part != "v1").collect();
    let plain = |part: &&str| part.trim_matches(['{', '}']).replace('.', "_");
    let id = parts.iter().map(plain).collect::<Vec<_>>().join("_");
    let roles: Vec<_> =
        ROLES.iter().filter(|(role, _)| route.right.is_of(*role)).map(|(_, name)| *name).collect();
    let told = if route.right == Right::None { "no API key".to_owned() } else { roles.join(", ") };
    let extensions =
        ExtensionsBuilder::new().add("x-right", format!("{:?}", route.right)).add("x-roles", roles);
    let operation = OperationBuilder::new()
        .operation_id(Some(format!("{}_{id}", route.method.as_str().to_lowercase())))
        .tag(tag(route))
        .summary(Some(route.summary))
        .description(Some(format!("Roles that may: {told}.")))
        .extensions(Some(extensions.build()))
        .parameters(Some(parameters(route)))
        .request_body(route.body.as_ref().map(|body| {
            let content = || ContentBuilder::new().schema(Some(reference(&body.shape))).build();
            let described = RequestBodyBuilder::new().required(Some(Required::True));
            body.media.iter().fold(described, |described, media| described.content(*media, content())).build()
        }));
    let operation = responses(route)
        .into_iter()
        .fold(operation, |operation, (status, response)| operation.response(status.to_string(), response));
    if route.right == Right::None {
        return operation;
    }
    operation.security(SecurityRequirement::new::<_, [&str; 0], &str>(SECURITY, []))
}

/// What the path is about: its last word.
fn tag(route: &Route) -> &'static str {
    let is_word = |part: &&str| !part.is_empty() && !part.starts_with('{');
    let word = route.path.rsplit('/').find(is_word).filter(|_| route.right != Right::None);
    word.unwrap_or("server")
}

fn parameters(route: &Route) -> Vec<Parameter> {
    let variable = |part: &'static str| part.strip_prefix('{')?.strip_suffix('}');
    let of_path = route.path.split('/').filter_map(variable).map(|name| {
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
        parameter.required(Required::True).schema(Some(id(&format!("The id of the {name}.")).build())).build()
    });
    let named = (route.method == Method::POST && route.right != Right::None).then(idempotency_key);
    of_path.chain((route.parameters)()).chain(named).collect()
}

fn idempotency_key() -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[!-~]+$"));
    let schema = schema.min_length(Some(1)).max_length(Some(limits::IDEMPOTENCY_KEY_BYTES_MAX));
    let text = "Names the request: the same request again is answered as the first time, as long as that answer is kept.";
    let parameter = ParameterBuilder::new().name("Idempotency-Key").parameter_in(ParameterIn::Header);
    parameter.description(Some(text)).schema(Some(schema)).build()
}

fn reference(shape: &Shape) -> Ref {
    Ref::from_schema_name((shape.name)())
}

/// All answers, by status: those of the route, then its problems.
fn responses(route: &Route) -> BTreeMap<u16, Response> {
    let mut responses = BTreeMap::new();
    for answer in route.answers {
        let mut response = ResponseBuilder::new().description(answer.text);
        if let Some((media, shape)) = &answer.body {
            response = response.content(*media, ContentBuilder::new().schema(Some(reference(shape))).build());
        }
        for (name, text) in answer.headers {
            response = response.header(*name, header(text));
        }
        responses.insert(answer.status, response.build());
    }
    for (status, codes) in problems(route) {
        responses.entry(status).or_insert_with(|| problem_response(status, &codes));
    }
    responses
}

fn header(text: &str) -> utoipa::openapi::header::Header {
    let schema = ObjectBuilder::new().schema_type(Type::String);
    HeaderBuilder::new().schema(Some(schema)).description(Some(text)).build()
}

fn problem_response(status: u16, codes: &[String]) -> Response {
    let document = Ref::from_schema_name(problem::Document::name());
    let content = ContentBuilder::new().schema(Some(document)).build();
    let response = ResponseBuilder::new()
        .description(format!("Problems: {}.", codes.join(", ")))
        .content(problem::MEDIA_TYPE, content);
    match status {
        401 => response.header("WWW-Authenticate", header("Bearer.")).build(),
        429 | 503 => {
            response.header("Retry-After", header("Seconds to wait, where a repetition may succeed.")).build()
        }
        _ => response.build(),
    }
}

/// The codes of all problems that a route may answer with, by status.
fn problems(route: &Route) -> BTreeMap<u16, Vec<String>> {
    let mut codes: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for problem in (route.problems)().into_iter().chain(common(route)) {
        let codes = codes.entry(problem.status()).or_default();
        if !codes.iter().any(|code| code == problem.code()) {
            codes.push(problem.code().to_owned());
        }
    }
    codes
}

/// What every route of its kind may answer with.
fn common(route: &Route) -> Vec<Problem> {
    let mut problems = vec![Problem::too_many_connections(0)];
    if route.right != Right::None {
        problems.extend([Problem::unauthenticated(), Problem::too_many_guesses(1), Problem::recovering()]);
        let stopped = Unavailable::Poisoned { cause: "".into() };
        let elsewhere = Unavailable::Elsewhere { partition: 0 };
        let unavailable = [Unavailable::Rebuilding, Unavailable::Closing, elsewhere, stopped];
        problems.extend(unavailable.map(|unavailable| Problem::from(Error::from(unavailable))));
        problems.extend(TokenError::ALL.map(|error| Problem::from(Stranger::Token(error))));
    }
    if audit::act(&route.method, route.path).is_some() || route.path.ends_with("/audit") {
        problems.push(Error::from(Unavailable::Unaudited { cause: "".into() }).into());
    }
    if !matches!(route.right, Right::None | Right::AnyKey | Right::ReadEither) {
        problems.push(Refusal::Forbidden.into());
    }
    if route.path.contains("{org}") {
        problems.extend([Refusal::UnknownOrganization.into(), Refusal::Busy.into()]);
    }
    if route.path.contains('{') || !(route.parameters)().is_empty() || route.body.is_some() {
        problems.push(Refusal::Invalid(Invalid::Syntax).into());
    }
    if route.method == Method::POST && route.right != Right::None {
        problems.extend([Problem::idempotency_key_reused(), Problem::idempotency_key_in_use()]);
    }
    if route.body.is_some() {
        problems.extend([
            Problem::malformed_body(""),
            Problem::request_timeout(0),
            Problem::body_too_large(0),
            Problem::unsupported_media_type(JSON),
            Refusal::Busy.into(),
        ]);
    }
    problems
}
