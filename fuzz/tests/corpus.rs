//! The kept corpus, through every target: seeds made by the encoders that ship, and what found a fault once.
//!
//! `WEIR_WRITE_CORPUS=1 cargo test --package fuzz` writes the seeds that are missing; it never changes a file that is there.

use std::fs;
use std::path::PathBuf;

use fuzz::{TARGETS, seeds};

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

#[test]
fn every_kept_input_passes_its_target() {
    for target in TARGETS {
        let folder = corpus(target.name);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut replayed = 0;
        for file in files {
            let path = file.expect("it can be listed").path();
            println!("{}", path.display());
            (target.fuzz)(&fs::read(path).expect("it can be read"));
            replayed += 1;
        }
        assert!(replayed > 0, "{} holds no input", folder.display());
    }
}

#[test]
fn what_the_encoders_write_today_passes_every_target() {
    for target in TARGETS {
        let folder = corpus(target.name);
        let made = seeds::of(target.name);
        assert!(!made.is_empty(), "{} has no seed", target.name);
        for (name, seed) in made {
            println!("{} {name}", target.name);
            (target.fuzz)(&seed);
            let path = folder.join(&name);
            if std::env::var_os("WEIR_WRITE_CORPUS").is_some() && !path.exists() {
                fs::create_dir_all(&folder).expect("the folder can be made");
                fs::write(&path, seed).expect("the seed can be written");
            }
        }
    }
}

#[test]
fn every_target_is_a_program_of_its_own_and_every_folder_of_the_corpus_is_one_of_a_target() {
    let names = |folder: &str| {
        let files =
            fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)).expect("it can be listed");
        let mut names: Vec<_> = files.map(|file| file.expect("it can be listed").path()).collect();
        names.sort();
        names
            .iter()
            .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
            .collect::<Vec<_>>()
    };
    let mut targets: Vec<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    targets.sort();
    assert_eq!((names("fuzz_targets"), names("corpus")), (targets.clone(), targets));
}
