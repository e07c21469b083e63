//! Transfers: begun once under their id, then polled or waited for.

use serde_json::{Value, json};

use crate::fixture::{Fixture, NORTH};

fn poll_until_ended(server: &Fixture, path: &str) -> Value {
    loop {
        let transfer = server.get(path, &server.admin).expect(200);
        if !transfer["ended_at"].is_null() {
            return transfer;
        }
    }
}

#[test]
fn r11_a_transfer_is_begun_then_polled_to_its_end() {
    let server = Fixture::populated();
    let body = json!({"id": "t-1", "source": "north", "target": "south"});
    let begun = server.post("/v1/transfers", &server.admin, &body);
    if begun.status != 200 {
        begun.expect(202);
        assert_eq!(begun.header("location"), "/v1/transfers/t-1");
    }
    let ended = poll_until_ended(&server, "/v1/transfers/t-1");
    let shown = json!([
        ended["id"],
        ended["source"],
        ended["target"],
        ended["state"],
        ended["tokens"],
        ended["refusal"]
    ]);
    assert_eq!(shown, json!(["t-1", "north", "south", "finished", 1_500, null]));
    let south = server.get("/v1/organizations/south/licenses", &server.admin).expect(200);
    assert_eq!((&south["available"], south["licenses"].as_array().map(Vec::len)), (&json!(1_500), Some(2)));
    assert_eq!(south["licenses"][0]["history"][1]["transfer"], "t-1");
    assert_eq!(server.get(&format!("{NORTH}/licenses"), &server.viewer).expect(200)["licenses"], json!([]));
}

#[test]
fn r11_the_same_transfer_again_moves_nothing_again() {
    let server = Fixture::populated();
    let body = json!({"id": "t", "source": "north", "target": "south"});
    let first = server.post("/v1/transfers?wait=true", &server.admin, &body).expect(200);
    let license = json!({"key": server.license_key("KEY-2", &[7])});
    server.post(&format!("{NORTH}/licenses"), &server.admin, &license).expect(201);
    assert_eq!(server.post("/v1/transfers?wait=true", &server.admin, &body).expect(200), first);
    assert_eq!(server.post("/v1/transfers", &server.admin, &body).expect(200), first);
    assert_eq!(server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200)["available"], 7);
    let other = json!({"id": "t", "source": "south", "target": "north"});
    server.post("/v1/transfers", &server.admin, &other).check_problem(409, "conflict");
}

#[test]
fn a_transfer_that_cannot_be_carried_out_says_why() {
    let server = Fixture::start();
    let body = json!({"id": "t", "source": "north", "target": "south"});
    let aborted = server.post("/v1/transfers?wait=true", &server.admin, &body).expect(200);
    assert_eq!((&aborted["state"], &aborted["refusal"]), (&json!("aborted"), &json!("nothing_to_transfer")));
    let to_itself = json!({"id": "u", "source": "north", "target": "north"});
    server.post("/v1/transfers", &server.admin, &to_itself).check_problem(400, "invalid");
    server.get("/v1/transfers/none", &server.admin).check_problem(404, "unknown_transfer");
}
