//! What a route's description is made of: shapes of bodies, answers, problems.
//!
//! A shape is taken from the very type that is read or written, so that it cannot differ from it. What is read by hand (debits)
//! has a shape of its own, which a test holds against the reader.

use std::borrow::Cow;

use utoipa::ToSchema;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{RefOr, Schema};

use super::problem::Problem;

pub(super) const JSON: &str = "application/json";

/// Collects the schemas that another one refers to, by name.
type Collect = fn(&mut Vec<(String, RefOr<Schema>)>);

/// What a body looks like.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) name: fn() -> Cow<'static, str>,
    pub(super) schema: fn() -> RefOr<Schema>,
    pub(super) parts: Collect,
}

impl Shape {
    /// The shape of a type.
    pub(super) const fn of<T: ToSchema>() -> Self {
        Self { name: T::name, schema: T::schema, parts: T::schemas }
    }
}

/// A body that a route reads.
pub(super) struct Body {
    /// The media types that it may have.
    pub(super) media: &'static [&'static str],
    pub(super) shape: Shape,
}

impl Body {
    /// One object of JSON.
    pub(super) const fn json<T: ToSchema>() -> Option<Self> {
        Some(Self { media: &[JSON], shape: Shape::of::<T>() })
    }
}

/// An answer of a route that is no problem.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: &'static str,
    pub(super) body: Option<(&'static str, Shape)>,
    /// Headers that it has, each with what it says.
    pub(super) headers: &'static [(&'static str, &'static str)],
}

impl Answer {
    /// An answer of JSON.
    pub(super) const fn json<T: ToSchema>(status: u16, text: &'static str) -> Self {
        Self::of::<T>(status, text, JSON)
    }

    /// An answer of this media type.
    pub(super) const fn of<T: ToSchema>(status: u16, text: &'static str, media: &'static str) -> Self {
        Self { status, text, body: Some((media, Shape::of::<T>())), headers: &[] }
    }

    /// An answer without a body.
    pub(super) const fn empty(status: u16, text: &'static str) -> Self {
        Self { status, text, body: None, headers: &[] }
    }

    /// The same answer with these headers.
    pub(super) const fn with(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }
}

/// The parameters of a query of this type.
pub(super) fn query<T: utoipa::IntoParams>() -> Vec<Parameter> {
    T::into_params(|| Some(ParameterIn::Query))
}

/// No parameters.
pub(super) fn no_parameters() -> Vec<Parameter> {
    Vec::new()
}

/// No problems but those that every route of its kind has.
pub(super) fn no_problems() -> Vec<Problem> {
    Vec::new()
}
