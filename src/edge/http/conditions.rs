//! `ETag`, `If-Match` and `If-None-Match` (RFC 9110, section 13): whoever changes a camera or the prices may say which configuration they saw.
//!
//! The tag names the configuration alone, so what is charged for a camera between reading and changing it is no conflict. The condition
//! is checked with the change, by whoever carries it out; here it is only read.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Type};

use crate::meter::{Expected, Organization, Precondition, Subject, Tag};

use super::problem::Problem;

/// What stands in the answers of routes that show a configuration.
pub(super) const TAGGED: &[(&str, &str)] = &[("ETag", "Names the configuration.")];

/// What a request expects, in the order of its headers.
#[derive(Debug)]
pub(super) struct Conditions(Vec<Expected>);

impl FromRequest for Conditions {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::read(request))
    }
}

impl Conditions {
    fn read(request: &HttpRequest) -> Result<Self, Problem> {
        let mut expected = Vec::new();
        if let Some(list) = list(request, &IF_MATCH)? {
            let strong = |tag: &&str| !tag.starts_with("W/");
            let tags = || list.split(',').map(str::trim).filter(strong).filter_map(tag).collect();
            expected.push(if list == "*" { Expected::Present } else { Expected::OneOf(tags()) });
        }
        if let Some(list) = list(request, &IF_NONE_MATCH)? {
            let tags =
                || list.split(',').map(|tag| tag.trim().trim_start_matches("W/")).filter_map(tag).collect();
            expected.push(if list == "*" { Expected::Absent } else { Expected::NoneOf(tags()) });
        }
        Ok(Self(expected))
    }

    /// The organization, in which the subject is changed only as expected.
    pub(super) fn apply(self, organization: Organization, subject: Subject) -> Organization {
        if self.0.is_empty() {
            return organization;
        }
        organization.provided(Precondition { subject, expected: self.0 })
    }

    /// Whether a reader who sent these has seen the configuration already.
    ///
    /// # Errors
    /// When it is not as the reader expects.
    pub(super) fn have_seen(&self, tag: Option<Tag>) -> Result<bool, Problem> {
        let holds = |expected: &Expected| expected.holds(tag);
        match self.0.iter().find(|expected| !holds(expected)) {
            None => Ok(false),
            Some(Expected::NoneOf(_) | Expected::Absent) => Ok(true),
            Some(_) => Err(crate::meter::Refusal::PreconditionFailed.into()),
        }
    }
}

/// The same answer with the tag of what it shows.
pub(super) fn tagged(mut answer: HttpResponse, tag: Tag) -> HttpResponse {
    let text = HeaderValue::from_str(&format!("\"{:016x}\"", tag.0)).expect("hexadecimal fits a header");
    answer.headers_mut().insert(ETAG, text);
    answer
}

/// The headers, for the description of a route.
pub(super) fn condition_headers() -> Vec<Parameter> {
    let header = |name: &str, text: &str| {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header);
        parameter.description(Some(text)).schema(Some(schema)).build()
    };
    vec![
        header("If-Match", "Only if it has the configuration of this tag; `*`: only if there is one."),
        header("If-None-Match", "Only if it has not; `*`: only if there is none."),
    ]
}

fn list<'a>(request: &'a HttpRequest, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = request.headers().get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none()).map(str::trim);
    text.map(Some)
        .ok_or_else(|| Problem::invalid(format!("the header {name} stands once, as a list of tags or `*`")))
}

fn tag(text: &str) -> Option<Tag> {
    let digits = text.strip_prefix('"')?.strip_suffix('"').filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().map(Tag)
}
