//! Reports over HTTP: usage, the history of the balance, the AI event log; who may read them; CSV.

use serde_json::{Value, json};
use tokenweir::config::Config;

use crate::fixture::{Answer, DEBITS, Fixture, JSON, NORTH};

/// The answer when all that is durable is reported.
fn settled(fixture: &Fixture, path: &str) -> Value {
    fixture.report();
    let value = fixture.get(path, &fixture.viewer).expect(200);
    assert_eq!(value["lag_frames"], 0, "{value}");
    value
}

fn charged() -> Fixture {
    let fixture = Fixture::start().populate();
    let body = json!({"network": "yard, \"north\"", "cloud_ai": true});
    fixture.put(&format!("{NORTH}/cameras/gate"), &fixture.admin, &body).expect(200);
    for (seq, camera, tokens, kind) in [
        (1, "cam", 100, "contextual_video_analytics"),
        (2, "cam", 20, "video_search"),
        (3, "gate", 7, "contextual_video_analytics"),
    ] {
        let debit = json!({"camera": camera, "epoch": 1, "seq": seq, "tokens": tokens, "kind": kind});
        fixture.post(DEBITS, &fixture.gateway, &debit).expect(200);
    }
    fixture
}

fn csv(fixture: &Fixture, path: &str) -> Answer {
    fixture.get_as(path, &fixture.viewer, "text/csv")
}

#[test]
fn usage_adds_up_to_what_the_summary_says_by_whatever_it_is_told_apart() {
    let fixture = charged();
    let summary = fixture.get(&format!("{NORTH}/summary"), &fixture.viewer).expect(200);
    for query in [
        "",
        "?by=network",
        "?by=camera,kind&interval=minute&zone=Asia/Kolkata",
        "?interval=month&top=1&by=camera",
        "?by=outcome",
        "?by=kind,outcome,camera,network",
    ] {
        let usage = settled(&fixture, &format!("{NORTH}/usage{query}"));
        assert_eq!(usage["total"]["charged"], summary["used"], "{usage}");
        let rows = usage["rows"].as_array().expect("rows");
        let sum: u64 = rows.iter().filter_map(|row| row["charged"].as_u64()).sum();
        assert_eq!(Some(sum), summary["used"].as_u64(), "{usage}");
        assert_eq!((&usage["complete"], &usage["exact"]), (&json!(true), &json!(true)), "{usage}");
        assert_eq!(usage["available"], summary["available"]);
        assert_eq!(usage["burn_rate"]["window_ms"].as_u64().map(|ms| ms >= 60_000), Some(true));
    }
    let top = settled(&fixture, &format!("{NORTH}/usage?by=camera&top=1"));
    assert_eq!((&top["rows"][0]["camera"], &top["rows"][0]["charged"]), (&json!("cam"), &json!(120)));
    assert_eq!((&top["rows"][1]["rest"], &top["rows"][1]["charged"]), (&json!(true), &json!(7)));
    let one = settled(&fixture, &format!("{NORTH}/usage?kind=video_search&camera=cam&by=network"));
    assert_eq!((&one["total"]["charged"], &one["rows"][0]["network"]), (&json!(20), &json!("lobby")));
}

#[test]
fn csv_has_its_head_and_quotes_what_needs_it() {
    let fixture = charged();
    settled(&fixture, &format!("{NORTH}/usage"));
    let usage = csv(&fixture, &format!("{NORTH}/usage?by=network,kind"));
    assert_eq!(
        (usage.status, usage.header("content-type")),
        (200, "text/csv; charset=utf-8; header=present")
    );
    let lines: Vec<_> = usage.text.split("\r\n").collect();
    assert_eq!(
        lines[0],
        "from,until,network,camera,kind,outcome,rest,charged,exempt,debits_charged,debits_exempt"
    );
    assert!(lines[1].ends_with("lobby,,contextual_video_analytics,,false,100,0,1,0"), "{lines:?}");
    assert!(lines[3].contains("\"yard, \"\"north\"\"\",,contextual_video_analytics"), "{lines:?}");
    assert_eq!((lines.len(), lines[4]), (5, ""));
    let log = csv(&fixture, &format!("{NORTH}/event-log?limit=1")).text;
    assert!(log.starts_with("number,at,time,") && log.contains("\r\n3,"), "{log}");
}

#[test]
fn the_event_log_is_paged_newest_first_and_says_why_a_debit_was_exempt() {
    let fixture = charged();
    let license = json!({"kind": "contextual_video_analytics", "from": "2020-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z"});
    fixture.put(&format!("{NORTH}/cameras/gate/unlimited/u-1"), &fixture.admin, &license).expect(200);
    let debit =
        json!({"camera": "gate", "epoch": 1, "seq": 4, "tokens": 50, "kind": "contextual_video_analytics"});
    fixture.post(DEBITS, &fixture.gateway, &debit).expect(200);
    let usage = settled(&fixture, &format!("{NORTH}/usage?by=outcome"));
    let of = |row: &Value| {
        ["outcome", "charged", "exempt", "debits_charged", "debits_exempt"].map(|name| row[name].clone())
    };
    let rows = usage["rows"].as_array().expect("rows");
    assert_eq!(
        rows.iter().map(of).collect::<Vec<_>>(),
        [
            [json!("charged"), json!(127), json!(0), json!(3), json!(0)],
            [json!("exempt"), json!(0), json!(50), json!(0), json!(1)],
        ]
    );
    let lines = csv(&fixture, &format!("{NORTH}/usage?by=outcome")).text;
    assert!(lines.contains(",,,,exempt,false,0,50,0,1\r\n"), "{lines}");
    let first = settled(&fixture, &format!("{NORTH}/event-log?limit=2"));
    let events = first["events"].as_array().expect("rows");
    assert_eq!((&events[0]["outcome"], &events[0]["license"]), (&json!("exempt"), &json!("u-1")), "{first}");
    assert_eq!((&events[0]["balance"], &events[1]["balance"]), (&json!(1_373), &json!(1_373)));
    let next = first["next"].as_u64().expect("more follow");
    let second = settled(&fixture, &format!("{NORTH}/event-log?limit=2&before={next}"));
    let numbers: Vec<_> =
        second["events"].as_array().expect("rows").iter().map(|row| row["number"].clone()).collect();
    assert_eq!((numbers, &second["next"]), (vec![json!(2), json!(1)], &Value::Null));
    for beyond in [1 << 63, u64::MAX] {
        let all = settled(&fixture, &format!("{NORTH}/event-log?before={beyond}"));
        assert_eq!(all["events"].as_array().map(Vec::len), Some(4), "no number lies beyond {beyond}");
    }
    let exempt = settled(&fixture, &format!("{NORTH}/event-log?outcome=exempt&network=lobby"));
    assert_eq!(exempt["events"], json!([]));
    let history = settled(&fixture, &format!("{NORTH}/balance-history?interval=day&zone=America/New_York"));
    let last = history["rows"].as_array().and_then(|rows| rows.last().cloned()).expect("today");
    assert_eq!(
        (&last["balance"], &last["granted"], &last["charged"]),
        (&json!(1_373), &json!(1_500), &json!(127))
    );
}

#[test]
fn only_who_may_read_the_organization_reads_its_reports_and_what_makes_no_sense_is_told() {
    let fixture = charged();
    settled(&fixture, &format!("{NORTH}/usage"));
    for path in ["usage", "balance-history", "event-log"] {
        let path = format!("{NORTH}/{path}");
        for key in [&fixture.viewer, &fixture.gateway, &fixture.admin] {
            fixture.get(&path, key).expect(200);
        }
        fixture.get(&path, &fixture.operator).check_problem(403, "forbidden");
        fixture.get(&path.replace("north", "other"), &fixture.viewer).check_problem(403, "forbidden");
        fixture
            .call("POST", &path, &fixture.admin, Some((JSON, b"{}")))
            .check_problem(405, "method_not_allowed");
    }
    for query in [
        "usage?zone=Mars/Base",
        "usage?interval=year",
        "usage?by=color",
        "usage?kind=x",
        "usage?top=0",
        "usage?from=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z",
        "usage?from=yesterday",
        "usage?from=2026-01-01T00:00:00Z&until=2026-02-01T00:00:00Z&interval=minute",
        "event-log?outcome=refused",
    ] {
        fixture.get(&format!("{NORTH}/{query}"), &fixture.viewer).check_problem(400, "invalid");
    }
}

#[test]
fn a_server_that_keeps_no_reports_says_so_and_serves() {
    let fixture = Fixture::start_with(|config: &mut Config| config.reports = false).populate();
    fixture.get(&format!("{NORTH}/usage"), &fixture.viewer).check_problem(404, "reports_are_off");
    fixture.get(&format!("{NORTH}/summary"), &fixture.viewer).expect(200);
}
