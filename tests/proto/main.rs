//! The `.proto` of the gRPC API: written by rule, and stable.
//!
//! `WEIR_WRITE_GOLDEN=1 cargo test --test proto` records what is new in `metering.frozen`; it never changes a line that is there.
//! Every checker takes a compiled schema and returns what is wrong with it, so that each is itself tested with planted faults.

mod frozen;
mod lint;

use std::path::Path;

use protox::Compiler;
use protox::prost_reflect::prost_types::FileDescriptorProto;

const FILE: &str = "tokenweir/v1/metering.proto";

/// A file below a folder, compiled with its comments.
fn compile(folder: &Path, file: &str) -> FileDescriptorProto {
    let mut compiler = Compiler::new([folder]).expect("a folder");
    let compiled = compiler.include_source_info(true).open_file(file).expect("it compiles");
    let files = compiled.file_descriptor_set().file;
    files.into_iter().find(|found| found.name() == file).expect("it is among them")
}

/// The schema of the API.
fn schema() -> FileDescriptorProto {
    compile(&Path::new(env!("CARGO_MANIFEST_DIR")).join("proto"), FILE)
}

/// A schema with planted faults, in a file of the same name.
fn planted(text: &str) -> FileDescriptorProto {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join(FILE);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(&path, text).expect("written");
    compile(folder.path(), FILE)
}

#[test]
fn the_schema_is_written_by_rule() {
    let faults = lint::check(&schema());
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn nothing_that_clients_rely_on_changed_and_what_is_new_is_recorded() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/tokenweir/v1/metering.frozen");
    let recorded = std::fs::read_to_string(&path).expect("it is part of the repository");
    let changes = frozen::compare(&recorded, &schema());
    assert!(
        changes.broken.is_empty(),
        "\nclients rely on these, and they are gone or otherwise now:\n{}\nundo it; what means something else gets a new \
         name and a new number\n",
        changes.broken.join("\n")
    );
    if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
        let more: String = changes.new.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, recorded + &more).expect("it can be written");
        return;
    }
    assert!(
        changes.new.is_empty(),
        "\nthese are new:\n{}\nrecord them with WEIR_WRITE_GOLDEN=1 cargo test --test proto; from then on they cannot change\n",
        changes.new.join("\n")
    );
}
