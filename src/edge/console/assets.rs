//! The files of the pages, which are in the program.
//!
//! The name of each bears a hash of its content: a browser may keep it for ever, and asks for another name when it changed.

use std::sync::OnceLock;

use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, web};
use sha2::{Digest as _, Sha256};

use crate::domain::hex::Hex;
use crate::edge::http::Problem;
use crate::edge::http::route::Right;

use super::answer;
use super::route::{Handler, Route};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[Route {
    method: Method::GET,
    path: "/console/assets/{file}",
    right: Right::None,
    act: None,
    handler: Handler::Anybody(|| web::to(file)),
}];

/// Name, kind and content of each, in the order of [`paths`].
const FILES: [(&str, &str, &str, &str); 3] = [
    ("console", "css", "text/css; charset=utf-8", include_str!("assets/console.css")),
    ("console", "js", "text/javascript; charset=utf-8", include_str!("assets/console.js")),
    ("weir", "svg", "image/svg+xml", include_str!("assets/weir.svg")),
];

/// A file as it is found.
struct Asset {
    path: String,
    hash: String,
    media: &'static str,
    content: &'static str,
}

/// Where style, script and icon are.
pub(super) fn paths() -> [&'static str; 3] {
    let [style, script, icon] = assets();
    [&style.path, &script.path, &icon.path]
}

fn assets() -> &'static [Asset; 3] {
    static ASSETS: OnceLock<[Asset; 3]> = OnceLock::new();
    ASSETS.get_or_init(|| {
        FILES.map(|(name, kind, media, content)| {
            let digest = Sha256::digest(content.as_bytes());
            let hash = Hex(&digest[..8]).to_string();
            Asset { path: format!("/console/assets/{name}.{hash}.{kind}"), hash, media, content }
        })
    })
}

async fn file(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let found = assets().iter().find(|asset| asset.path == request.path()).ok_or_else(Problem::not_found)?;
    let tag = format!("\"{}\"", found.hash);
    let seen = request.headers().get(IF_NONE_MATCH).and_then(|header| header.to_str().ok());
    let mut response = if seen.is_some_and(|seen| seen.split(',').any(|seen| seen.trim() == tag)) {
        HttpResponse::NotModified().finish()
    } else {
        HttpResponse::Ok().insert_header((CONTENT_TYPE, found.media)).body(found.content)
    };
    answer::guard(response.headers_mut());
    let headers = response.headers_mut();
    headers.insert(ETAG, tag.parse().expect("hexadecimal fits a header"));
    headers.insert(CACHE_CONTROL, "public, max-age=31536000, immutable".parse().expect("it is plain text"));
    Ok(response)
}
