//! Every role on every route of the console, made from its table: the page, or a refusal, and no word about organizations of others.

use tokenweir::edge::console::route::{self, Route};
use tokenweir::edge::http::route::Right;
use tokenweir::meter::Role;

use super::browser::{Browser, SIGN_IN};
use crate::fixture::{Answer, Fixture};

const ROLES: [(Role, &str); 4] = [
    (Role::Operator, "operator"),
    (Role::Admin, "admin"),
    (Role::Viewer, "viewer"),
    (Role::Gateway, "gateway"),
];

/// What a role may do, said here once more on purpose.
fn has(role: Role, right: Right) -> bool {
    match right {
        Right::None | Right::AnyKey | Right::ReadEither => true,
        Right::CreateOrganization | Right::ManageApiKeys => role == Role::Operator,
        Right::Administer | Right::AdministerBoth => role == Role::Admin,
        Right::Read => role != Role::Operator,
        Right::Debit | Right::DebitNamed | Right::DebitOrAdminister => role == Role::Gateway,
    }
}

fn is_in_path(route: &Route) -> bool {
    route.path.contains("{org}")
}

/// The answer of a route about an organization. Forms are empty, so that nothing comes of them.
fn ask(browser: &mut Browser<'_>, route: &Route, organization: &str) -> Answer {
    let segment = |part| match part {
        "{org}" => organization,
        part if str::starts_with(part, '{') => "x",
        part => part,
    };
    let path = route.path.split('/').map(segment).collect::<Vec<_>>().join("/");
    if route.method == "POST" { browser.submit(&path, &[]) } else { browser.send("HEAD", &path, &[], None) }
}

#[test]
fn r1_r11_every_role_gets_from_every_route_of_the_console_what_it_may_and_learns_of_no_other_organization() {
    let server = Fixture::populated();
    for (role, name) in ROLES {
        let key = if role == Role::Operator { server.operator.clone() } else { server.key(name, &["north"]) };
        for route in
            route::all().filter(|route| route.right != Right::None && route.path != "/console/sign-out")
        {
            let mut browser = Browser::signed_in(&server, &key);
            let own = ask(&mut browser, route, "north");
            assert_eq!(own.status == 403, !has(role, route.right), "{name} {route:?} {own:?}");
            if is_in_path(route) {
                let [other, none] = ["other", "nowhere"].map(|org| ask(&mut browser, route, org));
                assert_eq!((other.status, none.status), (403, 403), "{name} {route:?}");
            }
        }
    }
}

#[test]
fn every_route_that_changes_something_asks_for_more_than_to_read_and_for_a_session() {
    let server = Fixture::start();
    for route in route::all() {
        let changes = route.method == "POST" && !route.path.starts_with("/console/sign");
        let reads = matches!(route.right, Right::None | Right::AnyKey | Right::Read | Right::ReadEither);
        assert!(!(changes && reads), "{route:?}");
        assert!(route.act.is_none() || changes, "a page administers nothing: {route:?}");
        let in_path = matches!(route.right, Right::Administer | Right::Read);
        assert_eq!(is_in_path(route), in_path, "{route:?}");
        let answer = ask(&mut Browser::new(&server), route, "north");
        if route.right != Right::None {
            assert_eq!(answer.status, 303, "{route:?}");
            assert!(answer.header("location").starts_with(SIGN_IN), "{route:?}");
        }
    }
}

#[test]
fn every_path_of_the_console_answers_other_methods_with_those_that_it_has() {
    let server = Fixture::start();
    for route in route::all() {
        let path = route.path.replace(['{', '}'], "");
        let answer = server.call("PUT", &path, &server.admin, None);
        assert_eq!(answer.status, 405, "{route:?}");
        assert!(
            answer.header("allow").split(", ").any(|allowed| allowed == route.method.as_str()),
            "{route:?}"
        );
    }
}
