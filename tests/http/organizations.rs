//! Organizations: created once, whoever asks again, and listed with what is not known of them.

use std::fs;

use serde_json::{Value, json};
use tokenweir::domain::hash;
use tokenweir::meter::OrgId;

use crate::console::browser::Browser;
use crate::fixture::Fixture;

const ORGANIZATIONS: &str = "/v1/organizations";

/// The first id of this partition of two.
fn id_in(partition: u16) -> String {
    let mut ids = (0..).map(|number| OrgId::new(&format!("org-{number}")).expect("valid"));
    ids.find(|id| hash::partition(id, 2) == partition).expect("there is no end of them").to_string()
}

/// A server on the data of the one that ran before, whose operator has this key.
fn again(operator: &str, directory: &std::path::Path) -> Fixture {
    let mut server = Fixture::bound(|config| config.data_dir = directory.join("data"));
    operator.clone_into(&mut server.operator);
    server.open();
    server
}

#[test]
fn the_same_creation_again_is_answered_as_the_first_time_also_after_a_restart() {
    let server = Fixture::start();
    let create = |server: &Fixture, body: &Value| server.post(ORGANIZATIONS, &server.operator, body);
    let (west, east) = (
        json!({"id": "west", "name": "West"}),
        json!({"id": "east", "name": "East", "retention_ms": 60_000}),
    );
    let first = [create(&server, &west).expect(201), create(&server, &east).expect(201)];
    let same = |server: &Fixture| {
        assert_eq!([create(server, &west).expect(201), create(server, &east).expect(201)], first);
        // Who leaves the retention to the server has no other one in mind.
        assert_eq!(create(server, &json!({"id": "east", "name": "East"})).expect(201), first[1]);
        for other in [
            json!({"id": "west", "name": "Wild West"}),
            json!({"id": "west", "name": "West", "retention_ms": 60_000}),
            json!({"id": "east", "name": "East", "retention_ms": 60_001}),
        ] {
            create(server, &other).check_problem(409, "organization_exists");
        }
        let listed = server.get(ORGANIZATIONS, &server.operator).expect(200);
        assert_eq!(listed["organizations"], json!(["east", "north", "other", "south", "west"]));
    };
    same(&server);
    let operator = server.operator.clone();
    let directory = server.stop();
    same(&again(&operator, directory.path()));
}

#[test]
fn a_list_says_that_a_damaged_partition_has_organizations_that_it_leaves_out() {
    let server = Fixture::start();
    let (whole, lost) = (id_in(0), id_in(1));
    for id in [&whole, &lost] {
        server.post(ORGANIZATIONS, &server.operator, &json!({"id": id, "name": "One"})).expect(201);
    }
    let (of_whole, of_lost) = (server.key("viewer", &[&whole]), server.key("viewer", &[&lost]));
    let list = |server: &Fixture, key: &str| server.get(ORGANIZATIONS, key).expect(200);
    assert_eq!(list(&server, &server.operator)["incomplete"], json!([]));
    let operator = server.operator.clone();
    let directory = server.stop();
    fs::remove_dir_all(directory.path().join("data/p001/journal")).expect("it is there");
    let server = again(&operator, directory.path());
    let all = list(&server, &operator);
    let listed = all["organizations"].as_array().expect("a list");
    assert!(listed.contains(&json!(whole)) && !listed.contains(&json!(lost)), "{all}");
    assert_eq!(all["incomplete"], json!([1]));
    let paged = server.get("/v1/organizations?limit=1", &operator).expect(200);
    assert_eq!(paged["incomplete"], json!([1]), "on every page");
    let own = |key: &str| list(&server, key);
    assert_eq!(own(&of_whole), json!({"organizations": [whole], "next": null, "incomplete": []}));
    assert_eq!(own(&of_lost), json!({"organizations": [], "next": null, "incomplete": [1]}));
    let page = Browser::signed_in(&server, &of_lost).page("/console/organizations");
    assert!(page.contains("This list is incomplete") && page.contains("Partition 1 is damaged"), "{page}");
    let page = Browser::signed_in(&server, &of_whole).page("/console/organizations");
    assert!(!page.contains("incomplete"), "{page}");
}
