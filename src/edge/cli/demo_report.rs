//! The demo's figures: compared, and told.

use serde_json::{Value, json};

use crate::domain::ids::OrgId;

use super::demo_count::Seen;
use super::demo_setup::{NORTH, OFF, SOUTH, Scene, UNLIMITED, granted};
use super::output::{field, number, number_field, print_json_line, rows, table};
use super::replay_tally::{Count, Tally};
use super::verify::Verified;

/// What the demo counted, and what the server says.
#[derive(Debug)]
pub(super) struct Outcome {
    /// How recovery differs from what was acknowledged; empty when it does not.
    pub(super) recovery_faults: Vec<String>,
    /// The client's counts.
    pub(super) tally: Tally,
    /// The first organization's summary before the transfer.
    pub(super) replayed: Value,
    /// The transfer.
    pub(super) transfer: Value,
    /// The first organization's summary after it.
    pub(super) source: Value,
    /// The second organization's summary after it.
    pub(super) target: Value,
}

impl Outcome {
    /// Nothing but what recovery showed.
    pub(super) fn new(recovery_faults: Vec<String>) -> Self {
        Self {
            recovery_faults,
            tally: Tally::default(),
            replayed: Value::Null,
            transfer: Value::Null,
            source: Value::Null,
            target: Value::Null,
        }
    }

    /// Whether everything acknowledged was recovered, nothing else was, and what is served is what is stored.
    pub(super) fn recovered_equal(&self) -> bool {
        self.recovery_faults.is_empty()
    }
}

/// A count of a summary.
pub(super) fn count(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_default()
}

/// How what was recovered differs from what was acknowledged, and what is served from what is stored.
pub(super) fn recovery_faults(seen: &Seen, stored: &Verified, served: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if !stored.report.clean {
        faults.push("the directory that the crash left is damaged or breaks an invariant".to_owned());
    }
    let organization = OrgId::new(NORTH).expect("a valid id");
    let Some((available, totals)) = stored.totals_of(&organization) else {
        return vec![format!("the directory that the crash left has no organization {NORTH}")];
    };
    let charged = Count { debits: totals.debits_charged, tokens: totals.used.0 };
    let exempt = Count { debits: totals.debits_exempt, tokens: totals.exempt.0 };
    let lost = seen.lost();
    for (name, recovered, acknowledged) in
        [("charged", charged, seen.charged()), ("exempt", exempt, seen.exempt())]
    {
        for (unit, recovered, acknowledged, lost) in [
            ("debits", recovered.debits, acknowledged.debits, lost.debits),
            ("tokens", recovered.tokens, acknowledged.tokens, lost.tokens),
        ] {
            if recovered < acknowledged || recovered > acknowledged + lost {
                faults.push(format!(
                    "{acknowledged} {unit} were acknowledged as {name} and {lost} were in flight, {recovered} were recovered"
                ));
            }
        }
    }
    let stored_figures = [
        ("available", available.0),
        ("granted", totals.granted.0),
        ("used", totals.used.0),
        ("exempt", totals.exempt.0),
        ("debits_charged", totals.debits_charged),
        ("debits_exempt", totals.debits_exempt),
    ];
    for (name, stored) in stored_figures {
        expect(&mut faults, &format!("{name} after the crash, served"), count(served, name), stored);
    }
    faults
}

/// The sums that do not hold; empty when client and server agree to the token.
pub(super) fn broken_sums(outcome: &Outcome) -> Vec<String> {
    let (tally, before, transfer) = (&outcome.tally, &outcome.replayed, &outcome.transfer);
    let (charged, exempt) = (tally.all_charged(), tally.all_exempt());
    let (source, target) = (&outcome.source, &outcome.target);
    let judged = charged.tokens + exempt.tokens + tally.refused().tokens;
    let by_network =
        |name: &str| rows(before, "networks").iter().map(|network| count(network, name)).sum::<u64>();
    let left = granted() - charged.tokens.min(granted());
    let mut broken = Vec::new();
    for (what, found, expected) in [
        ("tokens charged, exempt and refused", judged, tally.rows().tokens),
        ("tokens used", count(before, "used"), charged.tokens),
        ("debits charged", count(before, "debits_charged"), charged.debits),
        ("tokens exempt", count(before, "exempt"), exempt.tokens),
        ("debits exempt", count(before, "debits_exempt"), exempt.debits),
        ("tokens used by network", by_network("used"), charged.tokens),
        ("tokens exempt by network", by_network("exempt"), exempt.tokens),
        ("tokens granted", count(before, "granted"), granted()),
        ("tokens available before the transfer", count(before, "available"), left),
        ("tokens transferred", count(transfer, "tokens"), left),
        ("licenses transferred", count(transfer, "licenses"), 3),
        ("tokens available at the source", count(source, "available"), 0),
        ("licenses of the source", count(source, "licenses"), 0),
        ("tokens available at the target", count(target, "available"), left),
        ("licenses of the target", count(target, "licenses"), 3),
    ] {
        expect(&mut broken, what, found, expected);
    }
    broken
}

/// The report as one JSON object on one line.
pub(super) fn print_report(outcome: &Outcome, broken: &[String]) {
    let (tally, source, target) = (&outcome.tally, &outcome.source, &outcome.target);
    print_json_line(&json!({
        "rows": tally.rows().debits,
        "tokens_in_file": tally.rows().tokens,
        "charged": tally.all_charged().tokens,
        "exempt": tally.all_exempt().tokens,
        "refused_tokens": tally.refused().tokens,
        "duplicates": tally.duplicates().debits,
        "granted": count(source, "granted") + count(target, "granted"),
        "available_source": count(source, "available"),
        "available_target": count(target, "available"),
        "licenses_source": count(source, "licenses"),
        "licenses_target": count(target, "licenses"),
        "recovered_equal": outcome.recovered_equal(),
        "conserved": broken.is_empty(),
    }));
}

/// The figures for people.
pub(super) fn text(outcome: &Outcome) -> String {
    let row = |summary: &Value| {
        ["organization", "granted", "used", "exempt", "available", "licenses"]
            .map(|name| number_field(summary, name))
    };
    let organizations = [row(&outcome.source), row(&outcome.target)];
    let network = |network: &Value| {
        [field(network, "name"), number_field(network, "used"), number_field(network, "exempt")]
    };
    let networks: Vec<_> = rows(&outcome.replayed, "networks").iter().map(network).collect();
    let tally = &outcome.tally;
    let line = |name: &str, count: Count| [name.to_owned(), number(count.debits), number(count.tokens)];
    let counts = [
        line("in the trace", tally.rows()),
        line("charged to the pool", tally.all_charged()),
        line(&format!("exempt (cam-{UNLIMITED} has an unlimited ai license)"), tally.all_exempt()),
        line(&format!("refused (cam-{OFF} has its cloud ai off)"), tally.refused()),
        line("of these sent twice around the crash, charged once", tally.duplicates()),
    ];
    format!(
        "\n{}\n\n{}\n\n{}\n",
        table(["", "debits", "tokens"], &counts),
        table(["network", "used", "exempt"], &networks),
        table(["organization", "granted", "used", "exempt", "available", "licenses"], &organizations)
    )
}

/// Where to look next.
pub(super) fn urls(url: &str, scene: &Scene) -> String {
    let curl = |path: &str| format!("curl -H 'Authorization: Bearer {}' {url}{path}", scene.admin_key);
    format!(
        "serving on {url} until you press ctrl-c\n\n{}\n{}\n{}\n\noperator key: {}\nadmin key: {}\ngateway key: {}",
        curl(&format!("/v1/organizations/{SOUTH}/summary")),
        curl(&format!("/v1/organizations/{SOUTH}/licenses")),
        curl("/v1/transfers/demo-transfer"),
        scene.operator_key,
        scene.admin_key,
        scene.gateway_key
    )
}

fn expect(faults: &mut Vec<String>, what: &str, found: u64, expected: u64) {
    if found != expected {
        faults.push(format!("{what}: {found}, expected {expected}"));
    }
}
