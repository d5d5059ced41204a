//! What the documentation, the make targets and the packaging files say is true.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

mod counters;
mod deps;
mod format;
#[cfg(feature = "vmod")]
mod gateways;
mod install;
mod names;
mod vinyl;

/// Makes shell scripts in a folder. Another process writes them: what one of this process's threads has open for
/// writing while another one starts a program cannot be executed.
fn scripts(folder: &Path, all: &[(&str, &str)]) {
    let plain = tempfile::tempdir().unwrap();
    let mut install = Command::new("install");
    install.args(["-D", "-m", "755", "-t"]).arg(folder);
    for (name, text) in all {
        let file = plain.path().join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        install.arg(file);
    }
    assert!(install.status().unwrap().success());
}
