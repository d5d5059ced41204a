//! `make install` puts everything where it belongs, below DESTDIR, and nothing elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn command(settings: &[String]) -> Command {
    let mut install =
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/install.sh"));
    install.args(settings).env_remove("CARGO_TARGET_DIR");
    install
}

fn install(settings: &[String]) -> Output {
    command(settings).output().unwrap()
}

/// Where cargo has put the command, and the module beside it.
fn built() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_s3log")).parent().unwrap().to_owned()
}

fn files(at: &Path, root: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, root, found);
        } else {
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn everything_is_below_destdir_and_where_each_program_looks() {
    let place = tempfile::tempdir().unwrap();
    let settings = [
        format!("DESTDIR={}", place.path().display()),
        format!("TARGET={}", built().display()),
        "PREFIX=/usr".to_owned(),
        "VMODDIR=/usr/lib/varnish/vmods".to_owned(),
    ];
    let output = install(&settings);
    assert!(output.status.success(), "{output:?}");
    let mut found = BTreeSet::new();
    files(place.path(), place.path(), &mut found);
    let mut wanted = vec![
        "usr/bin/s3log".to_owned(),
        "usr/lib/systemd/system/s3log-ship.service".to_owned(),
        "usr/lib/systemd/system/varnish.service.d/vmod-s3log.conf".to_owned(),
        "usr/lib/sysusers.d/s3log-ship.conf".to_owned(),
        "usr/lib/tmpfiles.d/vmod-s3log.conf".to_owned(),
        "usr/lib/varnish/vmods/libvmod_s3log.so".to_owned(),
        "usr/share/bash-completion/completions/s3log".to_owned(),
        "usr/share/doc/vmod-s3log/API.md".to_owned(),
        "usr/share/doc/vmod-s3log/docs/install.md".to_owned(),
        "usr/share/doc/vmod-s3log/examples/example.vcl".to_owned(),
        "usr/share/doc/vmod-s3log/examples/iceberg.py".to_owned(),
        "usr/share/doc/vmod-s3log/examples/s3log-compact.service".to_owned(),
        "usr/share/doc/vmod-s3log/examples/varnish-mask.conf".to_owned(),
        "usr/share/fish/vendor_completions.d/s3log.fish".to_owned(),
        "usr/share/man/man1/s3log.1".to_owned(),
        "usr/share/zsh/site-functions/_s3log".to_owned(),
    ];
    // One page for each command that --help names.
    let help = Command::new(env!("CARGO_BIN_EXE_s3log")).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<_> = commands
        .take_while(|line| line.starts_with("  "))
        // What is indented further goes on with a description.
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.contains(&"cat"), "{help}");
    wanted.extend(commands.iter().map(|command| format!("usr/share/man/man1/s3log-{command}.1")));
    for file in &wanted {
        assert!(found.contains(file), "{file} is not among {found:#?}");
    }
    let mode =
        |file: &str| fs::metadata(place.path().join(file)).unwrap().permissions().mode() & 0o777;
    for file in &found {
        let executable = file == "usr/bin/s3log";
        assert_eq!(mode(file), if executable { 0o755 } else { 0o644 }, "{file}");
    }
    let pages = found.iter().filter(|file| file.ends_with(".md"));
    let links: Vec<_> = pages
        .flat_map(|file| {
            let page = place.path().join(file);
            let text = fs::read_to_string(&page).unwrap();
            let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
            let links = links.filter(|link| !link.is_empty() && !link.contains(':'));
            links.map(|link| page.with_file_name(link)).collect::<Vec<_>>()
        })
        .collect();
    for name in ["top.svg", "example.vcl", "vmod_s3log.te", "kubernetes.yaml", "SECURITY.md"] {
        assert!(links.iter().any(|link| link.ends_with(name)), "{name} is in no link: {links:#?}");
    }
    for link in &links {
        assert!(link.exists(), "{} is linked to and not installed", link.display());
    }
    let completion = place.path().join("usr/share/bash-completion/completions/s3log");
    assert!(Command::new("bash").arg("-n").arg(completion).status().unwrap().success());
}

#[test]
fn the_spool_that_the_package_makes_is_the_default_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let reference = fs::read_to_string(root.join("API.md")).unwrap();
    assert!(reference.contains("Default: `/var/lib/vmod-s3log`."));
    let made = fs::read_to_string(root.join("packaging/tmpfiles.conf")).unwrap();
    // With the colons an owner and a mode that an operator gave it are kept.
    assert!(made.contains("\nd /var/lib/vmod-s3log :0700 :vcache :varnish -"), "{made}");
    let unit = fs::read_to_string(root.join("packaging/varnish.service.conf")).unwrap();
    assert!(unit.contains("\nReadWritePaths=-/var/lib/vmod-s3log\n"), "{unit}");
    let rpm = fs::read_to_string(root.join("packaging/vmod-s3log.spec")).unwrap();
    assert!(rpm.contains("\n%global spool /var/lib/vmod-s3log\n"), "{rpm}");
}

#[test]
fn without_a_build_it_says_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let output = install(&[
        format!("DESTDIR={}", place.path().display()),
        format!("TARGET={}", place.path().join("nothing").display()),
        "VMODDIR=/vmods".to_owned(),
    ]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        told.contains(
            "libvmod_s3log.so is not there: run 'make build' first, or packaging/build.sh "
        ),
        "{told}"
    );
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn an_empty_folder_for_the_module_ends_it() {
    let place = tempfile::tempdir().unwrap();
    let output = install(&[
        format!("DESTDIR={}", place.path().display()),
        format!("TARGET={}", built().display()),
        // Of a pkg-config that failed.
        "VMODDIR=".to_owned(),
    ]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(told.contains("VMODDIR= is empty"), "{told}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn the_examples_run_one_image_and_its_version_is_cargos() {
    let image = concat!("image: varnish-s3log:", env!("CARGO_PKG_VERSION"));
    let mut seen = 0;
    for file in ["containers/compose.yaml", "containers/kubernetes.yaml", "s3log-compact.yaml"] {
        let text =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file))
                .unwrap();
        for line in text.lines().map(str::trim).filter(|line| line.starts_with("image: ")) {
            // The origin and the gateway of compose.yaml are others'.
            if line.contains("s3log") {
                assert_eq!(line, image, "{file}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 3);
}

#[test]
fn the_packages_version_is_cargos() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let changelog = fs::read_to_string(root.join("debian/changelog")).unwrap();
    let wanted = format!("vmod-s3log ({}-", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&wanted), "{}", changelog.lines().next().unwrap());
}

/// What the build asked of Varnish's headers is asked again when they change: cargo would take what the
/// headers of an older Varnish said otherwise, and compile for it.
#[cfg(feature = "vmod")]
#[test]
fn the_build_looks_again_at_a_varnish_that_is_upgraded_where_it_is() {
    // Beside OUT_DIR, cargo keeps what the build script has told it.
    let told = Path::new(env!("OUT_DIR")).with_file_name("output");
    let told = fs::read_to_string(&told).unwrap();
    for name in ["/varnishapi.pc", "/tbl/req_flags.h", "/cache/cache.h"] {
        let watched = told.lines().any(|line| {
            line.strip_prefix("cargo::rerun-if-changed=")
                .is_some_and(|file| file.ends_with(name) && Path::new(file).is_file())
        });
        assert!(watched, "{name}:\n{told}");
    }
}

#[test]
fn the_debian_package_has_what_was_just_built_wherever_cargo_builds() {
    for (set, built) in [(None, "target/release"), (Some("/srv/cargo"), "/srv/cargo/release")] {
        let mut make = Command::new("make");
        make.args([
            "-n",
            "-f",
            "debian/rules",
            "override_dh_auto_build",
            "override_dh_auto_install",
        ]);
        make.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("CARGO_TARGET_DIR");
        let output = make.envs(set.map(|folder| ("CARGO_TARGET_DIR", folder))).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8(output.stdout).unwrap();
        let removed = format!("rm -f {built}/libvmod_s3log.so {built}/s3log\npackaging/build.sh\n");
        assert!(told.contains(&removed), "{told}");
        assert!(told.contains(&format!("TARGET={built} ")), "{told}");
    }
}

#[test]
fn the_spool_is_made_for_the_user_that_this_machine_has_for_the_cache_process() {
    // Who there is; owner and group, and whether the installation says that they are not known.
    for (users, owner, told) in [
        ("*vcache | *varnish", "vcache :group-of-vcache", false),
        ("*varnish", "varnish :group-of-varnish", false),
        ("nobody", "varnish :varnish", true),
    ] {
        let place = tempfile::tempdir().unwrap();
        let text = format!("case $* in {users}) echo group-of-${{2-}} ;; *) exit 1 ;; esac");
        crate::scripts(place.path(), &[("id", &text)]);
        let prefix = place.path().join("usr");
        let mut install = command(&[
            format!("PREFIX={}", prefix.display()),
            format!("VMODDIR={}", place.path().join("vmods").display()),
            format!("TARGET={}", built().display()),
        ]);
        let path = std::env::var("PATH").unwrap();
        install.env("PATH", format!("{}:{path}", place.path().display()));
        let output = install.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let line = fs::read_to_string(prefix.join("lib/tmpfiles.d/vmod-s3log.conf")).unwrap();
        let wanted = format!("\nd /var/lib/vmod-s3log :0700 :{owner} -\n");
        assert!(line.ends_with(&wanted), "{users}: {line}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.contains("no user vcache or varnish here: write that of"), told, "{said}");
    }
}
