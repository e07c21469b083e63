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
        assert!(!matches!(answer.status, 401 | 405) && !answer.text.contains("\"not_found\""), "{route:?}");
    }
}
