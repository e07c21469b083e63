//! The demo as a check: it must end well, and its report must add up and agree with the file it replayed.
//!
//! The sums are computed here again from the report and from the trace; the demo's own verdict is only one of them.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::cargo::root;
use crate::json::{boolean, integer};
use crate::trace::{Sums, sums_of};

/// The trace that the demo replays, from the root of the workspace.
pub(crate) const TRACE: &str = "data/azure-llm/AzureLLMInferenceTrace_conv.csv";

/// How long the demo may take: minutes more than it needs, so that only a demo that hangs is ended.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Runs the demo and checks its report.
///
/// # Errors
/// When the demo fails or hangs, and when its report does not add up.
pub(crate) fn check(weir: &Path) -> Result<(), String> {
    let trace = sums_of(&root().join(TRACE))?;
    let output = run(weir)?;
    let report = output.trim_end().lines().next_back().unwrap_or_default();
    println!("{report}");
    check_report(report, &trace)
}

fn run(weir: &Path) -> Result<String, String> {
    let mut child = Command::new(weir)
        .args(["demo", "--exit", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .current_dir(root())
        .spawn()
        .map_err(|error| format!("{} did not start: {error}", weir.display()))?;
    let output = output_of(&mut child)?;
    let status = child.wait().map_err(|error| format!("the end of the demo is unknown: {error}"))?;
    if status.success() {
        Ok(output)
    } else {
        Err(format!("the demo ended with {status}, having printed:\n{output}"))
    }
}

/// All of the child's output; a child that does not close it in time is killed.
fn output_of(child: &mut Child) -> Result<String, String> {
    let mut pipe = child.stdout.take().ok_or("the demo has no standard output")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let outcome = pipe.read_to_string(&mut text).map(|_| text);
        // The receiver is gone only when the time is over, and then nobody wants the text.
        let _ = sender.send(outcome);
    });
    match receiver.recv_timeout(TIME_MAX) {
        Ok(outcome) => outcome.map_err(|error| format!("the output of the demo cannot be read: {error}")),
        Err(_) => {
            let killed = child.kill().and_then(|()| child.wait());
            let end = killed.map_or_else(
                |error| format!("and cannot be ended: {error}"),
                |_| "and was killed".to_owned(),
            );
            Err(format!("the demo did not finish in {} s {end}", TIME_MAX.as_secs()))
        }
    }
}

fn check_report(report: &str, trace: &Sums) -> Result<(), String> {
    let field = |key| integer(report, key).map_err(|error| format!("the report of the demo: {error}"));
    let (charged, exempt, refused) = (field("charged")?, field("exempt")?, field("refused_tokens")?);
    let (source, target) = (field("available_source")?, field("available_target")?);
    for key in ["duplicates", "licenses_source", "licenses_target"] {
        field(key)?;
    }
    equal("rows", field("rows")?, "the rows of the trace", u128::from(trace.rows))?;
    equal("tokens_in_file", field("tokens_in_file")?, "the tokens of the trace", u128::from(trace.tokens))?;
    let judged = sum(&[charged, exempt, refused]);
    equal("tokens_in_file", field("tokens_in_file")?, "charged + exempt + refused_tokens", judged)?;
    let kept = sum(&[charged, source, target]);
    equal("granted", field("granted")?, "charged + available_source + available_target", kept)?;
    for key in ["recovered_equal", "conserved"] {
        if !boolean(report, key)? {
            return Err(format!("the demo reports {key}: false"));
        }
    }
    Ok(())
}

/// Wide enough that no report can overflow it.
fn sum(parts: &[u64]) -> u128 {
    parts.iter().copied().map(u128::from).sum()
}

fn equal(name: &str, reported: u64, of: &str, expected: u128) -> Result<(), String> {
    if u128::from(reported) == expected {
        return Ok(());
    }
    Err(format!("the demo reports {name} = {reported}, but {of} = {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE_SUMS: Sums = Sums { rows: 4, tokens: 100 };
    const GOOD: &str = r#"{"rows":4,"tokens_in_file":100,"charged":70,"exempt":20,"refused_tokens":10,"duplicates":2,"granted":500,"available_source":0,"available_target":430,"licenses_source":0,"licenses_target":3,"recovered_equal":true,"conserved":true}"#;

    fn check_fails(from: &str, to: &str, message: &str) {
        assert!(GOOD.contains(from), "the planted fault must change the report: {from}");
        let error = check_report(&GOOD.replace(from, to), &TRACE_SUMS).expect_err("the report is wrong");
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn a_report_that_adds_up_passes() {
        assert_eq!(check_report(GOOD, &TRACE_SUMS), Ok(()));
    }

    #[test]
    fn tokens_that_are_neither_charged_nor_exempt_nor_refused_fail() {
        check_fails(r#""exempt":20"#, r#""exempt":19"#, "charged + exempt + refused_tokens = 99");
    }

    #[test]
    fn tokens_that_vanish_in_the_transfer_fail() {
        check_fails(r#""available_target":430"#, r#""available_target":429"#, "granted = 500");
    }

    #[test]
    fn a_report_about_another_file_fails() {
        check_fails(r#""rows":4"#, r#""rows":5"#, "the rows of the trace = 4");
    }

    #[test]
    fn a_false_verdict_of_the_demo_fails() {
        check_fails(r#""recovered_equal":true"#, r#""recovered_equal":false"#, "recovered_equal: false");
        check_fails(r#""conserved":true"#, r#""conserved":false"#, "conserved: false");
    }

    #[test]
    fn a_report_without_one_of_its_fields_fails() {
        check_fails(r#""duplicates":2,"#, "", "`duplicates` is missing");
    }

    #[cfg(unix)]
    #[test]
    fn a_demo_that_fails_or_says_nothing_or_does_not_exist_fails() {
        let error = |program| check(Path::new(program)).expect_err("this is no demo");
        assert!(error("false").contains("ended with exit status: 1"));
        assert!(error("true").contains("not a JSON object"));
        assert!(error("no-such-program-at-all").contains("did not start"));
    }
}
