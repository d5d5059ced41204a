//! Every `tests/vtc/*.vtc` as a test of its own, run by Varnish's own varnishtest against the
//! S3 server in this process.
//!
//! What a test finds as macros: `${vmod}` the module, `${s3}` the server's endpoint, `${bucket}`
//! a bucket of its own, `${credentials}` a credentials file, `${spool}` a directory of its own,
//! `${vcl}` the folder of examples, `${closed}` an endpoint where nobody listens, `${lines}` a
//! script: `${lines} STREAM COUNT` waits until the bucket has COUNT lines and prints them,
//! `${until} COMMAND` runs a shell's command until it succeeds, `${counts} ${v1_name} COUNTER == 3`
//! waits for a counter (`varnish -expect` gives up after five seconds),
//! `${objects}` the folder with the bucket's objects, `${recipient}` an age key and `${identity}` the
//! file with its secret key, `${s3log}` the command.
//!
//! `S3LOG_VTC_SECONDS` is after how many seconds varnishtest ends a test, 600 without it: an emulated Varnish needs more.
//!
//! `S3LOG_PRELOAD` names a library that varnishd is run with, such as that of `tests/guard`.
//!
//! Of an installed Varnish, module and command when `S3LOG_VARNISHTEST`, `S3LOG_MODULE` and
//! `S3LOG_COMMAND` name them: `make compat` does so. Left out are tests that have a line
//! `# Not before Varnish X.Y: why`, where `varnishd -V` or `S3LOG_VARNISH_VERSION` says that this is
//! an older one, or `# Only before Varnish X.Y: why`, where it is not. `# Only with vcl_req_reset: why` and
//! `# Only without vcl_req_reset: why` ask whether Varnish has that feature, which 6.0.12, 7.3 and what
//! distributions make have. `${string,repeat,COUNT,TEXT}` is written out here, for varnishtest before 7.0 does not
//! know it.

#![allow(clippy::print_stdout, clippy::expect_used, clippy::unwrap_used, missing_docs)]

mod common;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use age::secrecy::ExposeSecret as _;
use common::s3_server::{ACCESS_KEY, S3Server, SECRET_KEY};
use libtest_mimic::{Arguments, Failed, Trial};

/// Longest run of one test, seconds, where `S3LOG_VTC_SECONDS` does not say it.
const TIMEOUT: &str = "600";

const UNTIL: &str = r#"#!/bin/sh
n=0
until sh -c "$1"; do
    n=$((n + 1))
    [ $n -lt 1200 ] || { echo "in vain: $1"; exit 1; }
    sleep 0.1
done
"#;

const COUNTS: &str = r#"#!/bin/sh
n=0
until varnishstat -n "$1" -1 -f "$2" | awk "\$2 $3 $4 { found = 1 } END { exit !found }"; do
    n=$((n + 1))
    [ $n -lt 1200 ] || { varnishstat -n "$1" -1 -f "S3LOG.*"; exit 1; }
    sleep 0.1
done
"#;

fn main() {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vtc");
    let server = Arc::new(S3Server::start());
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("tests/vtc is there")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "vtc"))
        .collect();
    files.sort();
    let (version, resets) = (version(), has_vcl_req_reset());
    let trials = files
        .into_iter()
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let server = Arc::clone(&server);
            let fits = fits(&path, &version, resets);
            Trial::test(name.clone(), move || run(&name, &path, &server)).with_ignored_flag(!fits)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

/// Whether a test is for this Varnish, as far as it says: its version, and whether it has `vcl_req_reset`.
fn fits(path: &Path, version: &[u32], resets: bool) -> bool {
    let text = fs::read_to_string(path).expect("a readable test");
    let older = |line: &str, mark: &str| {
        let named = line.strip_prefix(mark)?.split_once(':').expect("X.Y: why").0;
        Some(version < numbers(named).as_slice())
    };
    text.lines().all(|line| {
        older(line, "# Not before Varnish ") != Some(true)
            && older(line, "# Only before Varnish ") != Some(false)
            && (resets || !line.starts_with("# Only with vcl_req_reset: "))
            && !(resets && line.starts_with("# Only without vcl_req_reset: "))
    })
}

/// The Varnish of these tests; one that does not say its number is the newest.
fn version() -> Vec<u32> {
    let said = || {
        let said = Command::new("varnishd").arg("-V").output().ok()?.stderr;
        let text = String::from_utf8(said).ok()?;
        let number = text.split_once("(varnish-")?.1.split_whitespace().next()?;
        number.starts_with(|first: char| first.is_ascii_digit()).then(|| number.to_owned())
    };
    let named = std::env::var("S3LOG_VARNISH_VERSION").ok().or_else(said);
    named.map_or_else(|| vec![u32::MAX], |text| numbers(&text))
}

/// Whether Varnish has the feature `vcl_req_reset`; one that does not say is the newest.
fn has_vcl_req_reset() -> bool {
    let said = Command::new("varnishd").args(["-x", "parameter"]).output();
    said.map_or(true, |said| String::from_utf8_lossy(&said.stdout).contains("vcl_req_reset"))
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().expect("a version like 7.1.1")).collect()
}

fn run(name: &str, path: &Path, server: &S3Server) -> Result<(), Failed> {
    let place = tempfile::tempdir()?;
    let at = |file: &str| place.path().join(file).display().to_string();
    let bucket = name.replace('_', "-");
    fs::create_dir(server.root().join(&bucket))?;
    fs::create_dir(at("spool"))?;
    let file = format!("{name}.vtc");
    fs::write(at(&file), written_out(&fs::read_to_string(path)?))?;
    let credentials = format!(
        "[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    );
    fs::write(at("credentials"), credentials)?;
    let command = or("S3LOG_COMMAND", || env!("CARGO_BIN_EXE_s3log").into());
    let lines = format!(
        r#"#!/bin/sh
# Waits until the stream $1 has $2 lines in the bucket, and prints them. Before its first block
# arrives, the command fails.
n=0
while :; do
    "{command}" cat --endpoint {endpoint} --bucket {bucket} --credentials {credentials} "$1" >"{place}/lines.$1" 2>"{place}/said" || :
    found=$(wc -l <"{place}/lines.$1")
    [ "$found" -lt "$2" ] || break
    n=$((n + 1))
    [ $n -lt 1200 ] || break
    sleep 0.1
done
cat "{place}/lines.$1"
[ "$found" -eq "$2" ] || {{ cat "{place}/said"; echo "wanted $2 lines, found $found"; exit 1; }}
"#,
        command = command.display(),
        endpoint = server.endpoint(),
        credentials = at("credentials"),
        place = place.path().display(),
    );
    fs::write(at("lines"), lines)?;
    fs::write(at("until"), UNTIL)?;
    fs::write(at("counts"), COUNTS)?;
    let identity = age::x25519::Identity::generate();
    fs::write(at("identity"), identity.to_string().expose_secret())?;
    for script in ["lines", "until", "counts"] {
        fs::set_permissions(at(script), fs::Permissions::from_mode(0o755))?;
    }
    let define = |name: &str, value: &str| ["-D".to_owned(), format!("{name}={value}")];
    let output = Command::new(or("S3LOG_VARNISHTEST", || "varnishtest".into()))
        .env("PATH", with_own_varnishd(place.path())?)
        // Varnish before 6.6 ends where a test says more than the buffer holds, which is 1 MiB otherwise.
        .args(["-v", "-b", "16M", "-t"])
        .arg(std::env::var("S3LOG_VTC_SECONDS").as_deref().unwrap_or(TIMEOUT))
        // What is freed reads as garbage, so that a value taken from it shows.
        .env("MALLOC_PERTURB_", "165")
        .envs(std::env::var_os("S3LOG_PRELOAD").map(|library| ("LD_PRELOAD", library)))
        .env("GUARD_PROGRAM", "varnishd")
        .args(define("vmod", &or("S3LOG_MODULE", module).display().to_string()))
        .args(define("s3", &server.endpoint()))
        .args(define("bucket", &bucket))
        .args(define("credentials", &at("credentials")))
        .args(define("spool", &at("spool")))
        .args(define("vcl", concat!(env!("CARGO_MANIFEST_DIR"), "/vcl")))
        .args(define("closed", "http://127.0.0.1:1"))
        .args(define("lines", &at("lines")))
        .args(define("until", &at("until")))
        .args(define("counts", &at("counts")))
        .args(define("objects", &server.root().join(&bucket).display().to_string()))
        .args(define("recipient", &identity.to_public().to_string()))
        .args(define("identity", &at("identity")))
        .args(define("s3log", &command.display().to_string()))
        .arg(at(&file))
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let skipped = text.lines().count().saturating_sub(120);
    // A panic's reason stands above its dump, which is longer than that.
    let panic = text.lines().take(skipped).skip_while(|line| !line.contains("Panic at: ")).take(3);
    let told: Vec<&str> = panic.chain(text.lines().skip(skipped)).collect();
    Err(format!("{}\n{}", told.join("\n"), output.status).into())
}

/// A test with its `${string,repeat,COUNT,TEXT}` written out.
fn written_out(test: &str) -> String {
    let mut parts = test.split("${string,repeat,");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (macro_of, rest) = part.split_once('}').expect("the macro has an end");
        let (count, what) = macro_of.split_once(',').expect("COUNT,TEXT");
        text.push_str(&what.repeat(count.parse().expect("a number")));
        text.push_str(rest);
    }
    text
}

/// What the variable names, or our own.
fn or(variable: &str, own: impl FnOnce() -> PathBuf) -> PathBuf {
    std::env::var_os(variable).map_or_else(own, PathBuf::from)
}

/// How long varnishd waits for a client, a backend and its own child, seconds, where a test does not say it: most of an
/// hour, for these parameters are 5 or 60 seconds otherwise. A connection that Varnish closes ends a test whose server
/// waits on it for the next request, however right the lines are, and an emulated varnishd takes more than a minute
/// between two. With a whole hour Varnish 7.2 panics where HTTP/2's window holds a delivery
/// (`Lck_CondWaitTimeout`).
const PATIENCE: u32 = 3_000;

const PATIENT: [&str; 6] = [
    "backend_idle_timeout",
    "between_bytes_timeout",
    "cli_timeout",
    "first_byte_timeout",
    "idle_send_timeout",
    "timeout_idle",
];

/// PATH for varnishtest, with a varnishd that does three things more than Varnish's own. It has patience. Its VCL is
/// compiled without optimisation, which is most of what a test costs otherwise, by the compiler that Debian 13's Varnish
/// comes with where there is no `gcc`. Started by root, it would give its child
/// to the user `vcache` where there is one, as Debian's package makes it, and the child could not use what a test has
/// made: it is told not to.
fn with_own_varnishd(place: &Path) -> std::io::Result<OsString> {
    let first = place.join("bin");
    fs::create_dir(&first)?;
    let jail = if fs::metadata(place)?.uid() == 0 { "-j none " } else { "" };
    let patience = PATIENT.map(|parameter| format!("-p {parameter}={PATIENCE} ")).concat();
    let script = format!(
        r#"#!/bin/sh
PATH=${{PATH#*:}}
cc=$(command -v gcc || command -v "$(uname -m)-linux-gnu-gcc")
exec varnishd {jail}{patience}-p cc_command="exec $cc -O0 -fpic -shared -Wl,-x -o %o %s" "$@"
"#
    );
    fs::write(first.join("varnishd"), script)?;
    fs::set_permissions(first.join("varnishd"), fs::Permissions::from_mode(0o755))?;
    let mut joined = first.into_os_string();
    joined.push(":");
    joined.push(std::env::var_os("PATH").unwrap_or_default());
    Ok(joined)
}

/// The module beside the command: cargo puts both into one folder.
fn module() -> PathBuf {
    let command = Path::new(env!("CARGO_BIN_EXE_s3log"));
    let module = command.with_file_name("libvmod_s3log.so");
    assert!(module.exists(), "{} is not there: run cargo build first", module.display());
    module
}
