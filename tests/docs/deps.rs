//! `make deps` takes the Varnish that is there, or says why it does not, and puts no other one in its place.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::scripts;

/// A machine with a copy of the script, on which nobody may install anything.
struct Machine {
    place: tempfile::TempDir,
}

/// What `make deps` said and did.
struct Deps {
    said: String,
    /// The `.deps/env` that it wrote.
    env: Option<String>,
    /// What it asked of apt-get.
    apt: String,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { place: tempfile::tempdir().unwrap() };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for file in ["tools/deps.sh", "tools/requirements.txt", "Cargo.toml"] {
            machine.file(file, &fs::read_to_string(root.join(file)).unwrap());
        }
        // The Python environment is there already.
        let requirements = fs::read_to_string(root.join("tools/requirements.txt")).unwrap();
        machine.file(".deps/venv/.requirements", &requirements);
        machine.scripts("tools", &[("cargo-config.sh", "")]);
        let programs = [
            ("cargo", ""),
            ("rustc", "echo rustc 1.99.0"),
            ("id", "echo 1000"),
            ("sudo", "exit 1"),
            ("apt-get", r#"echo "$*" >>"${0%/*}/../apt"; exit 1"#),
            // All but Varnish is installed.
            ("dpkg-query", r#"case "$*" in *varnish*) exit 1 ;; esac; echo install ok installed"#),
        ];
        machine.scripts("stubs", &programs);
        machine.candidate("7.1.1-1.1");
        machine
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn scripts(&self, folder: &str, all: &[(&str, &str)]) {
        scripts(&self.place.path().join(folder), all);
    }

    /// The version that apt would install.
    fn candidate(&self, version: &str) {
        self.scripts("stubs", &[("apt-cache", &format!("echo '  Candidate: {version}'"))]);
    }

    /// A Varnish that pkg-config finds in this prefix, which gives the prefix.
    fn varnish(&self, prefix: &str, version: &str) -> String {
        let at = match prefix {
            "/usr" => prefix.to_owned(),
            _ => self.place.path().join(prefix).display().to_string(),
        };
        self.file(
            "pkgconfig/varnishapi.pc",
            &format!(
                "prefix={at}\nexec_prefix=${{prefix}}\nlibdir=${{exec_prefix}}/lib\nName: VarnishAPI\n\
                 Description: Varnish API\nVersion: {version}\n"
            ),
        );
        if prefix != "/usr" {
            self.scripts(&format!("{prefix}/sbin"), &[("varnishd", "")]);
            self.scripts(&format!("{prefix}/bin"), &[("varnishtest", "")]);
        }
        at
    }

    fn deps(&self, asked: &str) -> Deps {
        let root = self.place.path();
        let output = Command::new("bash")
            .arg(root.join("tools/deps.sh"))
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", root.join("stubs").display()))
            .env("PKG_CONFIG_LIBDIR", root.join("pkgconfig"))
            .env("VARNISH", asked)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        Deps {
            said: String::from_utf8(said).unwrap(),
            env: fs::read_to_string(root.join(".deps/env")).ok(),
            apt: fs::read_to_string(root.join("apt")).unwrap_or_default(),
        }
    }
}

#[test]
fn a_varnish_of_each_version_that_is_supported_is_taken_as_it_is() {
    for version in ["6.0.16", "6.0.17", "6.6.1", "6.6.2", "7.1.1", "7.7.0", "9.0.2"] {
        for asked in ["", "system", "source"] {
            let machine = Machine::new();
            let prefix = machine.varnish("varnish", version);
            let Deps { said, env, apt } = machine.deps(asked);
            let env = env.unwrap_or_else(|| panic!("{version}, VARNISH={asked}: {said}"));
            assert!(env.starts_with(&format!("VARNISH_PREFIX={prefix}\n")), "{version}: {env}");
            assert!(env.contains(&format!("\nPKG_CONFIG_PATH={prefix}/lib/pkgconfig\n")), "{env}");
            assert!(said.contains(&format!("Varnish {version} ")), "{said}");
            assert_eq!(apt, "", "{version}: {said}");
        }
    }
}

#[test]
fn a_varnish_that_is_not_supported_is_refused_and_not_replaced() {
    for version in ["6.0.15", "6.1.1", "6.5.2", "7.0.3", "10.0.0", "trunk"] {
        for (prefix, asked) in
            [("varnish", ""), ("varnish", "source"), ("/usr", ""), ("/usr", "system")]
        {
            let machine = Machine::new();
            let at = machine.varnish(prefix, version);
            let Deps { said, env, apt } = machine.deps(asked);
            let wanted = format!(
                "pkg-config finds Varnish {version} in {at}; accepted are 6.0.16 and later 6.0, 6.6, and 7.1 to 9: "
            );
            assert!(said.contains(&wanted), "{version}, VARNISH={asked}: {said}");
            assert!(!said.contains("integer"), "{said}");
            assert_eq!((env, &*apt), (None, ""), "{version}, VARNISH={asked}: {said}");
        }
    }
}

#[test]
fn a_varnish_without_its_programs_is_refused_and_not_replaced() {
    let machine = Machine::new();
    let prefix = machine.varnish("varnish", "6.0.16");
    fs::remove_file(Path::new(&prefix).join("bin/varnishtest")).unwrap();
    let Deps { said, env, apt } = machine.deps("");
    let wanted = format!("Varnish 6.0.16 in {prefix} has no sbin/varnishd or no bin/varnishtest: ");
    assert!(said.contains(&wanted), "{said}");
    assert_eq!((env, &*apt), (None, ""), "{said}");
}

#[test]
fn varnish_source_leaves_that_of_the_system_alone_and_builds_one() {
    for version in ["6.0.13", "7.1.1"] {
        let machine = Machine::new();
        machine.varnish("/usr", version);
        let Deps { said, apt, .. } = machine.deps("source");
        assert!(said.contains("building Debian 13's Varnish from source"), "{said}");
        assert!(apt.starts_with("indextargets "), "{apt}");
    }
}

#[test]
fn where_there_is_no_varnish_that_of_debian_is_installed_from_7_1_up() {
    let machine = Machine::new();
    let Deps { said, .. } = machine.deps("");
    assert!(
        said.contains("packages are missing and this user is neither root nor has sudo: varnish ")
    );
    machine.candidate("6.6.1-1");
    let Deps { said, .. } = machine.deps("");
    assert!(said.contains("building Debian 13's Varnish from source"), "{said}");
    let Deps { said, .. } = machine.deps("system");
    assert!(said.contains("VARNISH=system: this Debian has no Varnish from 7.1 up"), "{said}");
}
