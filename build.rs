//! Tells the linker to keep the module mapped: our threads and exit handler outlive a
//! `vcl.discard`, and code that is unmapped under a running thread is a crash.
//!
//! And says which Varnish this is, where its structs differ: `varnish_before_7_7`.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(varnish_before_7_7)");
    #[cfg(feature = "vmod")]
    varnish_version();
}

/// varnish-sys has found it already, and has complained if it is not there.
#[cfg(feature = "vmod")]
fn varnish_version() {
    let found = pkg_config::Config::new().cargo_metadata(false).probe("varnishapi");
    let Ok(library) = found else { return };
    let mut numbers = library.version.split('.').map_while(|part| part.parse::<u32>().ok());
    if let (Some(major), Some(minor)) = (numbers.next(), numbers.next())
        && (major, minor) < (7, 7)
    {
        println!("cargo::rustc-cfg=varnish_before_7_7");
    }
}
