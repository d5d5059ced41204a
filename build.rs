//! Tells the linker to keep the module mapped: our threads and exit handler outlive a
//! `vcl.discard`, and code that is unmapped under a running thread is a crash.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rerun-if-changed=build.rs");
}
