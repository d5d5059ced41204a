//! Which Varnish a module's file was compiled against, compared with what that Varnish says itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use vmod_s3log::built_for;

/// The module that cargo has built beside the command; `S3LOG_MODULE` names another one.
fn module() -> PathBuf {
    let module = std::env::var_os("S3LOG_MODULE").map(PathBuf::from).unwrap_or_else(|| {
        Path::new(env!("CARGO_BIN_EXE_s3log")).with_file_name("libvmod_s3log.so")
    });
    assert!(module.exists(), "{} is not there: run cargo build first", module.display());
    module
}

/// `varnish-7.7.0` and the revision that varnishd says it is.
fn varnishd() -> (String, String) {
    let said = Command::new("varnishd").arg("-V").output().expect("varnishd on PATH").stderr;
    let said = String::from_utf8(said).unwrap();
    let inside = said.split_once('(').unwrap().1.split_once(')').unwrap().0;
    let (version, revision) = inside.split_once(" revision ").unwrap();
    (version.to_owned(), revision.to_owned())
}

#[test]
fn the_module_says_which_varnish_it_was_built_for() {
    let found = built_for::of(&module()).unwrap();
    let (version, revision) = varnishd();
    assert_eq!(format!("varnish-{}", found.version()), version, "{}", found.abi());
    assert_eq!(found.commit(), revision, "{}", found.abi());
}

#[test]
fn the_command_says_the_same_as_the_module_beside_it() {
    let said = Command::new(env!("CARGO_BIN_EXE_s3log")).arg("--version").output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    let found = built_for::of(&module()).unwrap();
    let wanted = format!("s3log {}\nbuilt for {}\n", env!("CARGO_PKG_VERSION"), found.abi());
    assert_eq!(said, wanted);
    let short = Command::new(env!("CARGO_BIN_EXE_s3log")).arg("-V").output().unwrap().stdout;
    assert_eq!(short, format!("s3log {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}

#[test]
fn what_is_no_module_of_ours_is_an_error_that_says_so() {
    let place = tempfile::tempdir().unwrap();
    let other = place.path().join("libvmod_other.so");
    std::fs::copy("/bin/true", &other).unwrap();
    let said = built_for::of(&other).unwrap_err().to_string();
    assert!(said.contains("not the module s3log"), "{said}");
    let said = built_for::of(place.path()).unwrap_err().to_string();
    assert!(said.contains("it is a directory"), "{said}");
    assert!(built_for::of(&place.path().join("none")).is_err());
}

#[test]
fn what_only_the_command_needs_is_not_in_the_module() {
    // The functions and constants that are linked; what debugging needs names more.
    let symbols = |path: &Path| {
        let said = Command::new("nm").arg("--defined-only").arg(path).output().expect("binutils");
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).unwrap()
    };
    let command = symbols(Path::new(env!("CARGO_BIN_EXE_s3log")));
    let module = symbols(&module());
    assert!(module.contains("vmod_s3log"), "the module has symbols");
    for name in ["ratatui", "crossterm", "clap_builder", "indicatif", "parquet"] {
        assert!(command.contains(name), "{name} is what this test looks for");
        let linked: Vec<&str> = module.lines().filter(|line| line.contains(name)).collect();
        assert!(linked.is_empty(), "the module links {name}: {linked:#?}");
    }
}
