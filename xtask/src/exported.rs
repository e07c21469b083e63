//! `weir export --format parquet`, read by a library that nobody here wrote: pyarrow, beside a server that is running.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cargo::root;
use crate::packages;
use crate::server::{Server, weir_command};

const FOLDER: &str = "xtask/clients/parquet";
const TOKENS: u64 = 1_000_000;

/// Exports some debits of a trace both ways, and has them compared.
///
/// # Errors
/// When pyarrow cannot read the file, or reads something else.
pub(crate) fn check(weir: &Path) -> Result<(), String> {
    let scripts = root().join(FOLDER);
    let python = match packages::python(weir, "clients-parquet", &scripts.join("requirements.txt")) {
        Ok(python) => python,
        Err(missing) => {
            println!("skipped: {missing}");
            return Ok(());
        }
    };
    let folder = std::env::temp_dir().join(format!("weir-exported-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let outcome = run(weir, Command::new(python).arg(scripts.join("parquet.py")), &folder);
    drop(fs::remove_dir_all(&folder));
    outcome
}

fn run(weir: &Path, reader: &mut Command, folder: &Path) -> Result<(), String> {
    let server = Server::create(weir, folder)?;
    let cameras = ["cam-0", "cam-1", "cam-2"].map(str::to_owned);
    let key = server.set_up("acme", &cameras, TOKENS)?;
    let trace = folder.join("trace.csv");
    let rows = (0..59).map(|second| format!("2023-11-16 18:00:{second:02}.0000000,{},5\n", 100 + second));
    let head = "TIMESTAMP,ContextTokens,GeneratedTokens\n".to_owned();
    fs::write(&trace, head + &rows.collect::<String>()).map_err(|error| error.to_string())?;
    server.call(&key, &format!("replay {} --org acme --cameras 3 --flat-out", trace.display()))?;
    for format in ["parquet", "ndjson"] {
        let mut export = weir_command(weir);
        export.args(["export", "data", "--format", format, "--out", format]).current_dir(folder);
        let status = export.status().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("{export:?} failed, {status}"));
        }
    }
    let status = reader.args(["parquet", "ndjson"]).current_dir(folder).stdin(Stdio::null()).status();
    let status = status.map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{reader:?} failed, {status}; what it said is above")) }
}
