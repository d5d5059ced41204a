//! Tells the linker to keep the module mapped: our threads and exit handler outlive a
//! `vcl.discard`, and code that is unmapped under a running thread is a crash.
//!
//! And says which Varnish this is, where its structs differ: `varnish_before_7_7` and so on, one
//! for each version that changed something. `src/vmod/version.rs` has what it was.

/// The versions in which something changed that the module sees.
const CHANGES: [(u32, u32); 2] = [(7, 3), (7, 7)];

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rerun-if-changed=build.rs");
    for (major, minor) in CHANGES {
        println!("cargo::rustc-check-cfg=cfg(varnish_before_{major}_{minor})");
    }
    #[cfg(feature = "vmod")]
    varnish_version();
}

/// varnish-sys has found it already, and has complained if it is not there.
#[cfg(feature = "vmod")]
fn varnish_version() {
    let found = pkg_config::Config::new().cargo_metadata(false).probe("varnishapi");
    let Ok(library) = found else { return };
    let mut numbers = library.version.split('.').map_while(|part| part.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else { return };
    for change in CHANGES.into_iter().filter(|change| (major, minor) < *change) {
        println!("cargo::rustc-cfg=varnish_before_{}_{}", change.0, change.1);
    }
}
