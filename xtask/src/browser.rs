//! The console in a real browser, against a running server: `console.mjs` is the visitor, and says what it looked at.
//!
//! What the tests of Rust cannot see is tried here: what scripts and the Content-Security-Policy do to a page, whether it can be used by
//! keyboard and read by a screen reader, on a phone and in the dark. Screenshots stay beside the build.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cargo::{cargo, release_binary, root};
use crate::debian;
use crate::demo::TRACE;
use crate::packages;
use crate::server::Server;
use crate::step::{Failure, Step};

pub(crate) const NAME: &str = "browser";
pub(crate) const ABOUT: &str = "the console in a headless Chromium, with axe-core";

const SCRIPTS: &str = "xtask/browser";
/// More than the trace costs, so that the pool is not empty when it is moved.
const GRANTED: u64 = 30_000_000;

/// All of it.
///
/// # Errors
/// When this program is not in a target folder.
pub(crate) fn all() -> Result<Vec<Step>, Failure> {
    let weir = release_binary("weir")?;
    let build = cargo("build --release --bin weir");
    Ok(vec![build, Step::new("the console in Chromium", Box::new(move || check(&weir)))])
}

fn check(weir: &Path) -> Result<(), String> {
    let visitor = match visitor(weir) {
        Ok(visitor) => visitor,
        Err(missing) => {
            println!("skipped: {missing}");
            return Ok(());
        }
    };
    let folder = std::env::temp_dir().join(format!("weir-browser-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let outcome = visit(weir, visitor, &folder);
    drop(fs::remove_dir_all(&folder));
    outcome
}

fn visitor(weir: &Path) -> Result<Command, String> {
    if !debian::has("chromium", "chromium") {
        return Err("there is no chromium".to_owned());
    }
    let scripts = root().join(SCRIPTS);
    let folder = packages::node(weir, "browser", &scripts.join("package.json"))?;
    // A module finds its packages beside itself.
    let script = folder.join("console.mjs");
    for name in ["console.mjs", "visit.mjs"] {
        fs::copy(scripts.join(name), folder.join(name)).map_err(|error| error.to_string())?;
    }
    let shots = folder.join("screenshots");
    drop(fs::remove_dir_all(&shots));
    fs::create_dir_all(&shots).map_err(|error| error.to_string())?;
    println!("screenshots go to {}", shots.display());
    let mut command = Command::new("node");
    command.arg("--test").arg("--test-reporter=spec").arg(script).env("WEIR_SHOTS", shots);
    Ok(command)
}

/// A server with two organizations and a key of each role, and the visitor on its console.
fn visit(weir: &Path, mut visitor: Command, folder: &Path) -> Result<(), String> {
    let server = Server::create(weir, folder)?;
    let operator = server.operator()?;
    for (id, name) in [("acme", "Acme"), ("umbra", "Umbra")] {
        server.call(&operator, &format!("orgs create {id} --name {name}"))?;
    }
    let admin = server.key(&operator, "admin", "acme --org umbra")?;
    visitor
        .env("WEIR_SERVER", format!("http://{}", server.http))
        .env("WEIR_OPERATOR", &operator)
        .env("WEIR_ADMIN", &admin)
        .env("WEIR_VIEWER", server.key(&operator, "viewer", "acme")?)
        .env("WEIR_GATEWAY", server.key(&operator, "gateway", "acme")?)
        .env("WEIR_LICENSE", server.license_key(3, GRANTED / 3)?)
        .env("WEIR_SPARE_LICENSE", server.license_key(1, 5)?)
        .env("WEIR_PROGRAM", weir)
        .env("WEIR_TRACE", root().join(TRACE));
    let status = visitor.stdin(Stdio::null()).status().map_err(|error| format!("node: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{status}; what was found is above")) }
}
