//! What a server answers, held against its own description: schemathesis makes requests out of `/openapi.json`, and finds every
//! answer that is not described, and every fault of the server.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cargo::root;
use crate::packages;
use crate::server::Server;

const FOLDER: &str = "xtask/clients/schemathesis";
const TOKENS: u64 = 1_000_000;
/// How long the requests of one role may take, in seconds.
const SECONDS: &str = "25";
/// Requests for each route and kind of test, unless the time is over before.
const EXAMPLES: &str = "20";

/// Asks for everything as each role that changes anything.
///
/// # Errors
/// When an answer is not described, or the server failed.
pub(crate) fn check(weir: &Path) -> Result<(), String> {
    let wanted = root().join(FOLDER).join("requirements.txt");
    let python = match packages::python(weir, "clients-schemathesis", &wanted) {
        Ok(python) => python,
        Err(missing) => {
            println!("skipped: {missing}");
            return Ok(());
        }
    };
    let folder = std::env::temp_dir().join(format!("weir-described-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let outcome = run(weir, &python.with_file_name("schemathesis"), &folder);
    drop(fs::remove_dir_all(&folder));
    outcome
}

fn run(weir: &Path, schemathesis: &Path, folder: &Path) -> Result<(), String> {
    let server = Server::create(weir, folder)?;
    let gateway = server.set_up("acme", &["gate".to_owned()], TOKENS)?;
    let operator = server.operator()?;
    let admin = server.key(&operator, "admin", "acme")?;
    for (role, key) in [("operator", operator), ("admin", admin), ("gateway", gateway)] {
        println!("as {role}:");
        let mut command = Command::new(schemathesis);
        command.arg("--config-file").arg(root().join(FOLDER).join("schemathesis.toml"));
        command.arg("run").arg(format!("http://{}/openapi.json", server.http));
        command.arg("--header").arg(format!("Authorization: Bearer {key}"));
        command.args([
            "--phases",
            "examples,coverage,fuzzing",
            "--seed",
            "1",
            "--warnings",
            "off",
            "--no-color",
        ]);
        command.args(["--max-examples", EXAMPLES, "--max-time", SECONDS, "--max-failures", "5"]);
        let status = command.current_dir(folder).stdin(Stdio::null()).status();
        let status = status.map_err(|error| format!("schemathesis: {error}"))?;
        if !status.success() {
            return Err(format!("as {role} an answer is not as /openapi.json says; it is shown above"));
        }
    }
    Ok(())
}
