//! Tells the linker to keep the module mapped: our threads and exit handler outlive a
//! `vcl.discard`, and code that is unmapped under a running thread is a crash.
//!
//! And says which Varnish this is, where its structs differ: `varnish_before_7_7` and so on, one
//! for each version that changed something, and `varnish_without_req_reset` for what its headers lack.
//! `src/vmod/version/` has what it was. Where nothing is found out, it is taken for the newest.

#[cfg(feature = "vmod")]
use std::path::{Path, PathBuf};

/// The versions in which something changed that the module sees.
const CHANGES: [(u32, u32); 6] = [(6, 2), (6, 4), (6, 6), (7, 1), (7, 3), (7, 7)];

/// What versions got in their lifetime, and distributions may have added to older ones, so that no number
/// tells: a header, and a word that it has then.
const ADDED: [(&str, &str); 3] = [
    ("tbl/req_flags.h", "req_reset"),
    ("cache/cache.h", "VSL_tag_is_masked"),
    ("cache/cache.h", "VSL_LOG_MAGIC"),
];

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rerun-if-changed=build.rs");
    for (major, minor) in CHANGES {
        println!("cargo::rustc-check-cfg=cfg(varnish_before_{major}_{minor})");
    }
    for (_, word) in ADDED {
        println!("cargo::rustc-check-cfg=cfg(varnish_without_{})", word.to_lowercase());
    }
    #[cfg(feature = "vmod")]
    varnish_version();
}

/// varnish-sys has found it already, and has complained if it is not there.
#[cfg(feature = "vmod")]
fn varnish_version() {
    let found = pkg_config::Config::new().cargo_metadata(false).probe("varnishapi");
    let Ok(library) = found else { return };
    // A Varnish may be upgraded where it is. varnish-sys looks for itself.
    let described = pkg_config::get_variable("varnishapi", "pcfiledir").unwrap_or_default();
    watch(&PathBuf::from(described).join("varnishapi.pc"));
    for (header, _) in ADDED {
        library.include_paths.iter().for_each(|folder| watch(&folder.join(header)));
    }
    let mut numbers = library.version.split('.').map_while(|part| part.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else { return };
    for change in CHANGES.into_iter().filter(|change| (major, minor) < *change) {
        println!("cargo::rustc-cfg=varnish_before_{}_{}", change.0, change.1);
    }
    for (header, word) in ADDED {
        let read = |folder: &PathBuf| std::fs::read_to_string(folder.join(header)).ok();
        let is_word = |one: &str| one == word;
        let lacks =
            |text: String| !text.split(|c: char| !c.is_alphanumeric() && c != '_').any(is_word);
        if library.include_paths.iter().find_map(read).is_some_and(lacks) {
            println!("cargo::rustc-cfg=varnish_without_{}", word.to_lowercase());
        }
    }
}

/// This program runs again where that file has changed. One that is not there has always changed, to
/// cargo.
#[cfg(feature = "vmod")]
fn watch(file: &Path) {
    if file.exists() {
        println!("cargo::rerun-if-changed={}", file.display());
    }
}
