//! `packaging/vinyl.sh` shows Vinyl Cache to cargo under Varnish's name, or says that there is none.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Sources it in a folder of its own, with the `.pc` files in `pc` alone.
fn sourced(place: &Path, then: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/vinyl.sh");
    Command::new("sh")
        .args(["-c", &format!(". {}; {then}", script.display())])
        .current_dir(place)
        .env("PKG_CONFIG_LIBDIR", place.join("none"))
        .env("PKG_CONFIG_PATH", place.join("pc"))
        .output()
        .unwrap()
}

#[test]
fn vinyl_cache_is_found_under_both_names_also_in_a_prefix_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("pc")).unwrap();
    let text = "vmoddir=/usr/lib/vinyl-cache/vmods\nName: VinylAPI\nDescription: Vinyl API\n\
                Version: 9.0.1\nLibs: -lvinylapi\n";
    fs::write(place.path().join("pc/vinylapi.pc"), text).unwrap();
    let then = "pkg-config --modversion varnishapi && pkg-config --variable=vmoddir vinylapi";
    let output = sourced(place.path(), then);
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(said, "9.0.1\n/usr/lib/vinyl-cache/vmods\n", "{output:?}");
    let file = fs::read_to_string(place.path().join("target/vinyl/varnishapi.pc")).unwrap();
    assert!(file.contains("\nName: VarnishAPI\n"), "{file}");
}

#[test]
fn without_vinyl_cache_it_says_so_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let output = sourced(place.path(), "echo $? $PKG_CONFIG_PATH");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("pkg-config knows no vinylapi: install Vinyl Cache's"), "{said}");
    let then = String::from_utf8(output.stdout).unwrap();
    assert_eq!(then, format!("1 {}\n", place.path().join("pc").display()));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
