//! The description of the interface for people: Swagger UI, without any network.
//!
//! Its files come out of the package that carries them, a zip archive. Browsers read gzip, which is the same compression with another
//! frame around it: a file is answered as it stands in the archive, and nothing is unpacked here. The page may load nothing
//! from elsewhere and run no script but these.

use actix_web::http::Method;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

use super::describe::{Answer, no_parameters, no_problems};
use super::problem::Problem;
use super::route::{Right, Route};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/docs",
        right: Right::None,
        summary: "This description as a page.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::of::<String>(200, "A page.", HTML)],
        problems: no_problems,
        handler: || web::to(page),
    },
    Route {
        method: Method::GET,
        path: "/docs/{file}",
        right: Right::None,
        summary: "A file of that page.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::of::<String>(200, "The file.", "*/*")],
        problems: || vec![Problem::not_found()],
        handler: || web::to(file),
    },
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Tokenweir: HTTP interface</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"#;
const START: &str =
    "SwaggerUIBundle({ url: \"openapi.json\", dom_id: \"#page\", deepLinking: true, validatorUrl: null });\n";
/// The files of the archive that the page needs, with their media types.
const FILES: [(&str, &str); 3] =
    [("swagger-ui.css", STYLE), ("swagger-ui-bundle.js", SCRIPT), ("favicon-32x32.png", "image/png")];

async fn page() -> HttpResponse {
    answer(HTML).body(PAGE)
}

async fn file(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let name = request.match_info().get("file").unwrap_or_default();
    if name == "start.js" {
        return Ok(answer(SCRIPT).body(START));
    }
    let (name, media) = FILES.into_iter().find(|(known, _)| *known == name).ok_or_else(Problem::not_found)?;
    let file = File::find(SWAGGER_UI_VENDORED, &format!("/dist/{name}")).ok_or_else(Problem::not_found)?;
    Ok(match file.method {
        Packing::Stored => answer(media).body(file.bytes),
        Packing::Deflated => answer(media).insert_header((CONTENT_ENCODING, "gzip")).body(file.gzip()),
    })
}

fn answer(media: &str) -> HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer
        .content_type(media)
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CACHE_CONTROL, "max-age=3600"));
    answer
}

/// A file of a zip archive.
#[derive(Debug)]
struct File<'a> {
    method: Packing,
    checksum: u32,
    length: u32,
    bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Stored,
    Deflated,
}

impl<'a> File<'a> {
    /// The first file whose path ends so.
    fn find(archive: &'a [u8], ending: &str) -> Option<Self> {
        let end = archive.windows(4).rposition(|at| at == b"PK\x05\x06")?;
        let mut entry = archive.get(usize::try_from(u32_at(archive, end + 16)?).ok()?..)?;
        while entry.starts_with(b"PK\x01\x02") {
            let name = 46..46 + usize::from(u16_at(entry, 28)?);
            if entry.get(name.clone())?.ends_with(ending.as_bytes()) {
                return Self::of_entry(archive, entry);
            }
            let rest = usize::from(u16_at(entry, 30)?) + usize::from(u16_at(entry, 32)?);
            entry = entry.get(name.end + rest..)?;
        }
        None
    }

    fn of_entry(archive: &'a [u8], entry: &[u8]) -> Option<Self> {
        let method = match u16_at(entry, 10)? {
            0 => Packing::Stored,
            8 => Packing::Deflated,
            _ => return None,
        };
        let (checksum, length) = (u32_at(entry, 16)?, u32_at(entry, 24)?);
        let local = archive.get(usize::try_from(u32_at(entry, 42)?).ok()?..)?;
        let start = 30 + usize::from(u16_at(local, 26)?) + usize::from(u16_at(local, 28)?);
        let bytes = local.get(start..start + usize::try_from(u32_at(entry, 20)?).ok()?)?;
        Some(Self { method, checksum, length, bytes })
    }

    /// The deflated bytes in the frame of gzip (RFC 1952): no name, no time, any system.
    fn gzip(&self) -> Vec<u8> {
        let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        [&head, self.bytes, &self.checksum.to_le_bytes(), &self.length.to_le_bytes()].concat()
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_in_the_archive() {
        for (name, _) in FILES {
            let file = File::find(SWAGGER_UI_VENDORED, &format!("/dist/{name}")).expect(name);
            assert!(file.length > 500 && !file.bytes.is_empty(), "{name}: {} bytes", file.length);
        }
        assert!(File::find(SWAGGER_UI_VENDORED, "/dist/none").is_none());
    }
}
