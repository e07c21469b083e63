//! Every caller on every declared route and in every kind of organization: the whole table, made from the router's own routes.
//!
//! What a role may do is said here once more, on purpose: a right that is widened by mistake is widened in one of two places.

use tokenweir::edge::http::route::{self, Right, Route};
use tokenweir::meter::Role;

use crate::fixture::{Answer, Fixture};
use crate::signer::Signer;

const ROLES: [(Role, &str); 4] = [
    (Role::Operator, "operator"),
    (Role::Admin, "admin"),
    (Role::Viewer, "viewer"),
    (Role::Gateway, "gateway"),
];

/// Somebody who calls, and the roles that he has in organizations; an operator's is in none.
struct Caller {
    name: String,
    bearer: String,
    roles: Vec<(Role, &'static str)>,
}

/// Whether a role has a right in an organization that is its own.
fn has(role: Role, right: Right) -> bool {
    let allowed: &[Role] = match right {
        Right::None | Right::AnyKey => &[Role::Operator, Role::Admin, Role::Viewer, Role::Gateway],
        Right::CreateOrganization | Right::ManageApiKeys => &[Role::Operator],
        Right::Administer | Right::AdministerBoth => &[Role::Admin],
        Right::Read | Right::ReadEither => &[Role::Admin, Role::Viewer, Role::Gateway],
        Right::Debit | Right::DebitNamed => &[Role::Gateway],
        Right::DebitOrAdminister => &[Role::Gateway, Role::Admin],
    };
    allowed.contains(&role)
}

/// Whether a caller may have what a route answers about an organization.
fn may(caller: &Caller, route: &Route, organization: &str) -> bool {
    let is_here = |place: &str| !is_in_path(route) || place == organization;
    caller.roles.iter().any(|(role, place)| has(*role, route.right) && is_here(place))
}

fn is_in_path(route: &Route) -> bool {
    route.path.contains("{org}")
}

/// A key of each role, a token of each role, and a token of two roles in two organizations.
fn callers(server: &Fixture, signer: &Signer) -> Vec<Caller> {
    let mut callers = Vec::new();
    for (role, name) in ROLES {
        let (place, key, claim) = match role {
            Role::Operator => ("", server.operator.clone(), "operator".to_owned()),
            _ => ("north", server.key(name, &["north"]), format!("north:{name}")),
        };
        let token = signer.token(&[&claim], 600);
        for (kind, bearer) in [("key", key), ("token", token)] {
            callers.push(Caller { name: format!("{name} by {kind}"), bearer, roles: vec![(role, place)] });
        }
    }
    let bearer = signer.token(&["north:admin", "south:gateway"], 600);
    let roles = vec![(Role::Admin, "north"), (Role::Gateway, "south")];
    callers.push(Caller { name: "admin there and gateway here".to_owned(), bearer, roles });
    callers
}

/// The answer of a route about an organization; whatever else it names does not exist, and there is no body.
fn ask(server: &Fixture, route: &Route, organization: &str, bearer: &str) -> Answer {
    let segment = |part| match part {
        "{org}" => organization,
        part if str::starts_with(part, '{') => "x",
        part => part,
    };
    let path = route.path.split('/').map(segment).collect::<Vec<_>>().join("/");
    server.call(route.method.as_str(), &path, bearer, None)
}

#[test]
fn r1_r11_every_caller_gets_from_every_route_what_his_roles_may_and_learns_of_no_other_organization() {
    let directory = tempfile::tempdir().expect("a directory");
    let signer = Signer::trusted(directory.path(), "k1");
    let list = Signer::list(directory.path());
    let server = Fixture::start_with(|config| config.token_issuers = Some(list)).populate();
    for caller in callers(&server, &signer) {
        for route in route::all() {
            let organizations: &[&str] =
                if is_in_path(route) { &["north", "south", "other", "nowhere"] } else { &["north"] };
            let answers: Vec<_> =
                organizations.iter().map(|org| ask(&server, route, org, &caller.bearer)).collect();
            for (organization, answer) in organizations.iter().zip(&answers) {
                let what = format!("{} on {route:?} of {organization}: {answer:?}", caller.name);
                assert_ne!(answer.status, 401, "{what}");
                // For whom a transfer is none of his, there is none.
                let is_refused = answer.status == 403;
                let is_hidden = route.right == Right::ReadEither && answer.status == 404;
                assert_eq!(may(&caller, route, organization) || is_hidden, !is_refused, "{what}");
                if is_refused {
                    answer.check_problem(403, "forbidden");
                }
            }
            if let [.., foreign, missing] = &answers[..] {
                assert_eq!((foreign.status, &foreign.text), (missing.status, &missing.text), "{route:?}");
            }
        }
    }
}

#[test]
fn nobody_gets_anything_but_what_needs_no_caller() {
    let server = Fixture::start();
    for route in route::all() {
        let answer = ask(&server, route, "north", "");
        assert_eq!(answer.status == 401, route.right != Right::None, "{route:?} {answer:?}");
    }
}

#[test]
fn every_route_of_an_organization_asks_for_a_right_in_it_and_none_that_changes_anything_for_less_than_to_change()
 {
    for route in route::all() {
        let in_path =
            matches!(route.right, Right::Administer | Right::Read | Right::Debit | Right::DebitOrAdminister);
        assert_eq!(is_in_path(route), in_path, "{route:?}");
        let changes = route.method.as_str() != "GET";
        let reads = matches!(route.right, Right::None | Right::AnyKey | Right::Read | Right::ReadEither);
        assert!(!(changes && reads), "{route:?}");
    }
}
