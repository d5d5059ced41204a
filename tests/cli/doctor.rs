//! `s3log doctor` on a node without a varnishd, and with one that was replaced: `make e2e T=doctor` has those that serve.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use vmod_s3log::built_for;

use crate::common::logs::{Logs, Ran};
use crate::common::s3_server::SECRET_KEY;
use crate::node::left_behind;

/// The findings that are not `ok`, and the exit code, of a varnishd that is not there.
fn doctor(logs: &Logs, more: &[&str]) -> (Vec<Value>, Ran) {
    let nobody = logs.path("no-varnishd").display().to_string();
    let ran = logs.s3log(&[&["doctor", "access", "--json", "-n", &nobody], more].concat());
    let all = ran.out.lines().map(|line| serde_json::from_str(line).unwrap());
    (all.filter(|one: &Value| one["result"] != "ok").collect(), ran)
}

fn about<'a>(findings: &'a [Value], what: &str) -> &'a Value {
    let found = findings.iter().find(|one| one["about"] == what && one["result"] == "fix");
    found.unwrap_or_else(|| panic!("nothing about {what}: {findings:#?}"))
}

#[test]
fn doctor_says_that_blocks_wait_because_nobody_uses_the_spool() {
    let logs = Logs::start();
    left_behind(&logs);
    let (found, ran) = doctor(&logs, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(about(&found, "varnish")["action"].as_str().unwrap().starts_with("Start Varnish"));
    let blocks = about(&found, "blocks");
    assert!(blocks["detail"].as_str().unwrap().starts_with("2 blocks with 4 records wait, "));
    let action = blocks["action"].as_str().unwrap();
    // What it says to run helps.
    let words =
        action.split_once("run s3log ").unwrap().1.split(" with the stream's").next().unwrap();
    let words: Vec<&str> = words.split_whitespace().collect();
    assert_eq!(words[..2], ["drain", "access"]);
    assert_eq!(logs.s3log(&words).code, 0, "{action}");
    let (found, _) = doctor(&logs, &[]);
    assert!(!found.iter().any(|one| one["about"] == "blocks"), "{found:#?}");
}

#[test]
fn doctor_tells_of_a_damaged_block_until_a_start_has_mended_it() {
    let logs = Logs::start();
    left_behind(&logs);
    std::fs::remove_file(logs.path("spool/access/0000000002.json")).unwrap();
    let text = "1 block is damaged and not mended yet";
    let tells = || doctor(&logs, &[]).0.iter().any(|one| one["detail"] == text);
    assert!(tells());
    assert_eq!(logs.s3log(&["drain", "access"]).code, 0);
    assert!(!tells());
}

#[test]
fn doctor_tells_of_a_link_by_which_the_spools_user_leads_elsewhere() {
    let logs = Logs::start();
    left_behind(&logs);
    let root = logs.path("spool/access");
    fs::rename(&root, logs.path("elsewhere")).unwrap();
    symlink(logs.path("elsewhere"), &root).unwrap();
    let tells = || {
        let found = doctor(&logs, &[]).0;
        found
            .into_iter()
            .find(|one| one["about"] == "spool")
            .map(|found| ["detail", "action"].map(|text| found[text].as_str().unwrap().to_owned()))
    };
    assert_eq!(tells(), None, "it is the operator's own");
    if lchown(&root, Some(54321), Some(54321)).is_err() {
        return;
    }
    let [what, action] = tells().unwrap();
    let link = format!("{}: it is a link to ", root.display());
    assert!(what.starts_with(&link) && what.contains("the user with id 54321"), "{what}");
    assert!(action.starts_with("Remove it, or give it to root (chown -h root) "), "{action}");
}

#[test]
fn doctor_leads_to_the_wrong_key_and_to_what_waits_for_it() {
    let logs = Logs::start();
    left_behind(&logs);
    logs.credentials("wrong-secret");
    let (found, ran) = doctor(&logs, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let gateway = about(&found, "gateway");
    assert!(gateway["detail"].as_str().unwrap().contains("the gateway refuses the credentials"));
    assert!(gateway["action"].as_str().unwrap().starts_with("Correct the key"), "{gateway}");
    assert!(!ran.out.contains("wrong-secret") && !ran.out.contains(SECRET_KEY), "{ran:?}");
    logs.credentials(SECRET_KEY);
    let (found, _) = doctor(&logs, &[]);
    assert!(found.iter().all(|one| one["action"] != gateway["action"]), "{found:#?}");
}

#[test]
fn doctor_offline_asks_no_gateway_and_names_a_spool_that_is_missing() {
    let logs = Logs::start();
    let before = std::fs::read_dir(logs.server.root().join("logs")).unwrap().count();
    let (found, ran) = doctor(&logs, &["--offline"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let spool = about(&found, "spool");
    // The user that varnishd takes for the cache process.
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let is_there = |name: &&str| users.lines().any(|line| line.starts_with(&format!("{name}:")));
    let user = ["vcache", "varnish"].into_iter().find(is_there).unwrap_or("vcache");
    let make = format!(
        "Make it: install -d -m 700 -o {user} -g varnish {}.",
        logs.path("spool").display()
    );
    assert_eq!(spool["action"], make.as_str());
    assert!(!ran.out.contains("\"gateway\""), "{ran:?}");
    assert_eq!(std::fs::read_dir(logs.server.root().join("logs")).unwrap().count(), before);
}

#[test]
fn doctor_names_the_setting_that_cannot_be_used() {
    let logs = Logs::start();
    let (found, ran) = doctor(&logs, &["--offline", "--set", "period=never"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let settings = about(&found, "settings");
    assert!(settings["detail"].as_str().unwrap().contains("period is \"never\"; expected"));
}

#[test]
fn doctor_takes_streams_and_settings_from_the_spool_where_there_is_no_settings_file() {
    let logs = Logs::start();
    left_behind(&logs);
    let folder = logs.path("spool/access");
    let saved = serde_json::json!({
        "route": "0123456789abcdef", "stream": "access", "readers": [], "signer": "",
        "arguments": {
            "endpoint": "http://127.0.0.1:1", "bucket": "logs",
            "credentials": logs.path("credentials"),
        },
    });
    std::fs::write(folder.join("route"), saved.to_string()).unwrap();
    std::fs::set_permissions(folder.join("route"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let (spool, nobody) = (logs.path("spool"), logs.path("no-varnishd"));
    let given = ["doctor", "-n", nobody.to_str().unwrap(), "--spool", spool.to_str().unwrap()];
    let mut command = logs.command(&given);
    let ran = crate::common::logs::run(command.env_remove("S3LOG_CONFIG"));
    assert_eq!(ran.code, 1, "{ran:?}");
    let action =
        "-> Open the way to that address and port in the firewall, or correct `endpoint` or";
    assert!(ran.out.contains(action), "{}", ran.out);
    assert!(ran.out.contains("things to fix"), "{}", ran.out);
}

/// A process that is called varnishd, in `work`.
struct Running(Child);

impl Running {
    /// It runs a copy of the first program of this name on PATH.
    fn start(logs: &Logs, program: &str, arguments: &[&str]) -> Self {
        let path = std::env::var_os("PATH").unwrap();
        let mut files = std::env::split_paths(&path).map(|folder| folder.join(program));
        let original = files.find(|file| file.exists()).expect("the program on PATH");
        let file = logs.path("varnishd");
        // Copied by another process: what one of this process's threads writes while another one starts a
        // program cannot be executed.
        assert!(Command::new("cp").arg(original).arg(&file).status().unwrap().success());
        let mut command = Command::new(file);
        command.args(arguments).arg("-n").arg(logs.path("work"));
        let running = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(running.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What doctor says of a module's file that was built for `abi`, beside the varnishd in `work`.
fn of_module(logs: &Logs, abi: &str) -> Value {
    let file = logs.path("libvmod_s3log.so");
    std::fs::write(&file, format!("s3log is built for\x02{abi}\x03")).unwrap();
    let (file, work) = (file.display().to_string(), logs.path("work").display().to_string());
    let given = ["doctor", "access", "--json", "--offline", "-n", &work, "--module", &file];
    let ran = logs.s3log(&given);
    let mut all = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.find(|one| one["about"] == "module").unwrap_or_else(|| panic!("no module: {ran:?}"))
}

#[test]
fn doctor_asks_for_a_restart_where_varnish_was_upgraded_together_with_the_module() {
    let logs = Logs::start();
    let module = Path::new(env!("CARGO_BIN_EXE_s3log")).with_file_name("libvmod_s3log.so");
    let old = built_for::of(&module).unwrap().abi().to_owned();
    let file = logs.path("varnishd");
    // Without a VCL it has no cache process, and without -T nobody but its file says which Varnish it is.
    let given =
        ["-F", "-f", "", "-a", "127.0.0.1:0", "-j", "none", "-T", "none", "-s", "malloc,1m"];
    let _running = Running::start(&logs, "varnishd", &given);
    let found = of_module(&logs, &old);
    assert_eq!(found["result"], "ok", "{found}");
    // As long as the old one, so that it fits into the file.
    let new = format!("{}~", &old[..old.len() - 1]);
    let found = of_module(&logs, &new);
    let action = format!("Install the module that was built for {old}: ");
    assert!(found["action"].as_str().unwrap().starts_with(&action), "{found}");

    // Both are upgraded.
    let mut program = std::fs::read(&file).unwrap();
    let at = program.windows(old.len()).position(|bytes| bytes == old.as_bytes()).unwrap();
    program[at..at + old.len()].copy_from_slice(new.as_bytes());
    let upgraded = logs.path("upgraded");
    std::fs::write(&upgraded, program).unwrap();
    std::fs::rename(upgraded, &file).unwrap();
    let found = of_module(&logs, &new);
    assert_eq!(found["result"], "fix", "{found}");
    let action = "Restart Varnish, so that the installed one runs: systemctl restart varnish.";
    assert_eq!(found["action"], action, "{found}");
    let detail = format!("was built for {new}, which is installed, and {old} still runs");
    assert!(found["detail"].as_str().unwrap().contains(&detail), "{found}");

    // Varnish alone, or with a module for a third one: what runs does not say for which it is to be.
    for abi in [old, new.replace('~', "^")] {
        let found = of_module(&logs, &abi);
        assert_eq!(found["result"], "fix", "{found}");
        let action = "Install the module for the Varnish that is installed: ";
        assert!(found["action"].as_str().unwrap().starts_with(action), "{found}");
    }
}

#[test]
fn doctor_runs_no_program_that_somebody_has_called_varnishd() {
    let logs = Logs::start();
    // Any perl that is run from here leaves a file.
    let ran = logs.path("ran");
    let trace = format!("package Trace; open(my $file, '>', '{}'); 1;\n", ran.display());
    std::fs::write(logs.path("Trace.pm"), trace).unwrap();
    let _running = Running::start(&logs, "perl", &["-e", "sleep 60", "--"]);
    let work = logs.path("work").display().to_string();
    let mut command = logs.command(&["doctor", "access", "--json", "--offline", "-n", &work]);
    command.env("PERL5OPT", "-MTrace").env("PERL5LIB", logs.directory.path());
    let doctor = crate::common::logs::run(&mut command);
    assert!(doctor.out.contains("its file says no version"), "{doctor:?}");
    assert!(!ran.exists(), "{doctor:?}");
}
