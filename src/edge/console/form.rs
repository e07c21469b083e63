//! Forms: bounded in length and in time, sent from our own pages, with the token of their session.

use actix_web::HttpRequest;
use actix_web::http::header::{HOST, ORIGIN};
use actix_web::web::{self, Bytes};

use crate::edge::http::{Problem, State, media_type, with_body};
use crate::meter::ActorId;

const FORM: &str = "application/x-www-form-urlencoded";

/// The fields of a form, or of the query of a URL. Of several of one name the first counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form that a page of ours sent.
    ///
    /// # Errors
    /// When it came from elsewhere, or cannot be read.
    pub(super) async fn read(
        state: &State,
        most: u64,
        request: &HttpRequest,
        (key, payload): (ActorId, web::Payload),
    ) -> Result<Self, Problem> {
        if !is_of_our_origin(request) {
            return Err(Problem::foreign_form());
        }
        if media_type(request.headers()) != FORM {
            return Err(Problem::unsupported_media_type(FORM));
        }
        let most = state.limits.body_bytes_max.min(most);
        let parse = |body: Bytes| async move {
            let text = std::str::from_utf8(&body).map_err(|_| Problem::malformed_body("it is no text"))?;
            Self::parse(text)
        };
        with_body(state, most, request, (key, payload), parse).await
    }

    /// Reads the query of a URL.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let fields = web::Query::<Vec<(String, String)>>::from_query(text);
        fields.map(|fields| Self(fields.into_inner())).map_err(|_| Problem::malformed_body("it is no form"))
    }

    /// What stands in a field, without space around it; empty where there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.trim())
    }

    /// All that stands in fields of one name, without what is empty.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(field, value)| field == name && !value.is_empty());
        named.map(|(_, value)| value.as_str())
    }

    /// Whether a box is ticked.
    pub(super) fn is_ticked(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }
}

/// Whether a browser says that a page of ours sent this. Every browser says so of a form; a proxy has to leave `Host` as it is.
fn is_of_our_origin(request: &HttpRequest) -> bool {
    let header = |name| {
        let mut values = request.headers().get_all(name);
        let value = values.next().filter(|_| values.next().is_none())?;
        value.to_str().ok()
    };
    let (Some(origin), Some(host)) = (header(ORIGIN), header(HOST)) else { return false };
    let ours = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    ours.is_some_and(|ours| ours.eq_ignore_ascii_case(host))
}
