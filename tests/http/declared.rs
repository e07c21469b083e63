//! The declared routes, held against what the server does.

use std::collections::BTreeMap;

use tokenweir::edge::http::route::{self, Right};

use crate::fixture::Fixture;

/// A path of this template; nothing that it names exists.
fn path(template: &str) -> String {
    let segments = template.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    segments.collect::<Vec<_>>().join("/")
}

#[test]
fn every_path_answers_other_methods_with_those_that_are_declared() {
    let server = Fixture::start();
    let mut declared: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for route in route::all() {
        declared.entry(route.path).or_default().push(route.method.as_str());
    }
    for (template, mut methods) in declared {
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        let answer = server.call("PATCH", &path(template), &server.admin, None);
        answer.check_problem(405, "method_not_allowed");
        let mut allowed: Vec<_> = answer.header("allow").split(", ").collect();
        allowed.sort_unstable();
        methods.sort_unstable();
        assert_eq!(allowed, methods, "{template}");
    }
}

#[test]
fn every_declared_route_is_reached_and_asks_for_a_key_exactly_where_it_says_so() {
    let server = Fixture::start();
    for route in route::all() {
        let answer = server.call(route.method.as_str(), &path(route.path), "", None);
        let needs_key = route.right != Right::None;
        assert_eq!(needs_key, answer.status == 401, "{route:?} {answer:?}");
        let answer = server.call(route.method.as_str(), &path(route.path), &server.admin, None);
        assert!(!matches!(answer.status, 401 | 405), "{route:?}");
        let is_file = route.path == "/docs/{file}";
        assert!(is_file || !answer.text.contains("\"not_found\""), "{route:?}");
    }
}

#[test]
fn the_description_has_every_route_with_its_right_and_refers_to_nothing_that_it_lacks() {
    let server = Fixture::start();
    let described = server.get("/openapi.json", "").expect(200);
    assert_eq!(described["openapi"], "3.1.0");
    let mut operations = 0;
    for (path, item) in described["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let declared = route::all()
                .find(|route| route.path == path && route.method.as_str().eq_ignore_ascii_case(method));
            let declared = declared.unwrap_or_else(|| panic!("{method} {path} is registered nowhere"));
            assert_eq!(operation["x-right"], format!("{:?}", declared.right), "{method} {path}");
            assert_eq!(operation["security"].is_array(), declared.right != Right::None, "{method} {path}");
            assert!(operation["responses"].as_object().is_some_and(|all| !all.is_empty()), "{method} {path}");
            operations += 1;
        }
    }
    assert_eq!(operations, route::all().count());
    let text = described.to_string();
    for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(described["components"]["schemas"][name].is_object(), "{name} is not described");
    }
}

#[test]
fn the_page_of_the_description_needs_nothing_from_elsewhere() {
    let server = Fixture::start();
    let page = server.get("/docs", "");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(!page.text.contains("http"), "{}", page.text);
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
    for file in page.text.split('"').filter(|text| text.starts_with("docs/")) {
        let raw = format!("GET /{file} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = server.raw(raw.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200") && answer.len() > 100, "{file}: {:.200}", answer);
    }
    server.get("/docs/none", "").check_problem(404, "not_found");
}
