//! `s3log ship` as a process: it starts, waits, is told to stop, and there is one a folder.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::common::s3_server::S3Server;
use crate::common::stream::{Process, expected, lines, objects};

const SHORT: (&str, &str) = ("period", "100ms");
const EXTERNAL: (&str, &str) = ("upload", "external");

/// A shipper that is killed when the test ends.
struct Shipper {
    child: Child,
    said: Receiver<String>,
}

impl Drop for Shipper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Shipper {
    fn start(process: &Process, endpoint: &str) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_s3log")), process, endpoint)
    }

    /// One that may read no more than files' modes allow, also where the tests run as root.
    fn unprivileged(process: &Process, endpoint: &str) -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::start(process, endpoint);
        }
        let mut command = Command::new("/usr/bin/setpriv");
        command
            .args(["--bounding-set=-dac_override,-dac_read_search", env!("CARGO_BIN_EXE_s3log")]);
        Self::run(command, process, endpoint)
    }

    fn run(mut command: Command, process: &Process, endpoint: &str) -> Self {
        let spool = format!("spool={}", process.spool().display());
        let mut child = command
            .env_clear()
            .args(["ship", "--endpoint", endpoint, "--set", &spool, "--credentials"])
            .arg(process.directory.path().join("credentials"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, said) = channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        Self { child, said }
    }

    /// Reads messages until one has this text; that one.
    fn hear(&self, text: &str) -> String {
        let mut all = Vec::new();
        loop {
            let Ok(line) = self.said.recv_timeout(Duration::from_secs(60)) else {
                panic!("no {text:?} in {all:?}");
            };
            if line.contains(text) {
                return line;
            }
            all.push(line);
        }
    }

    /// The exit code after SIGTERM.
    fn stop(&mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }
}

#[test]
fn it_uploads_what_another_process_packs_until_sigterm_and_a_second_one_waits() {
    let server = S3Server::start();
    let process = Process::new();
    // Before there is anything to upload.
    let mut first = Shipper::start(&process, &server.endpoint());
    let holder = process.attach(&server.endpoint(), &[SHORT, EXTERNAL]);
    holder.push("line", 0..10);
    let line = first.hear("is uploaded to ");
    assert!(line.starts_with("s3log: info: ") && line.contains("/spool/access "), "{line}");
    holder.wait_stat("uploaded_records", 10);

    let mut second = Shipper::start(&process, &server.endpoint());
    let line = second.hear("is not uploaded: ");
    assert!(line.contains(&format!("process {} uploads from", first.child.id())), "{line}");
    let stats = Command::new(env!("CARGO_BIN_EXE_s3log"))
        .env_clear()
        .args(["stats", "--json", "--spool"])
        .arg(process.spool())
        .output()
        .unwrap();
    let stats: serde_json::Value = serde_json::from_slice(&stats.stdout).unwrap();
    assert_eq!(
        (&stats["upload"], &stats["uploader"]),
        (&"external".into(), &first.child.id().into())
    );
    assert_eq!(stats["shipper"]["pid"], first.child.id());

    assert_eq!(first.stop(), 0);
    holder.push("line", 10..20);
    second.hear("is uploaded to ");
    holder.wait_stat("uploaded_records", 20);
    assert_eq!(second.stop(), 0);
    holder.wait_balance();
    assert_eq!(lines(&server), expected(&[("line", 0..20)]));
    let stored: usize = objects(&server).iter().map(|(_, lines)| lines.len()).sum();
    assert_eq!(stored, 20);
}

#[test]
fn it_leaves_alone_what_its_module_uploads_and_shows_its_key_to_no_other_endpoint() {
    let (server, other) = (S3Server::start(), S3Server::start());
    let process = Process::new();
    let internal = process.attach(&server.endpoint(), &[SHORT]);
    let mut shipper = Shipper::start(&process, &server.endpoint());
    shipper.hear("/spool/access is not uploaded: the stream's upload is internal");
    let external = process.attach(&other.endpoint(), &[SHORT, EXTERNAL, ("path", "other/")]);
    internal.push("line", 0..10);
    external.push("other", 0..10);
    let line = shipper.hear("is not uploaded: stream access: endpoint: the route's is ");
    assert!(line.contains("/spool/access@"), "{line}");
    internal.wait_stat("uploaded_records", 10);
    external.wait_stat("blocks_sealed", 1);
    assert_eq!(shipper.stop(), 0);
    assert!(objects(&other).is_empty());
}

#[test]
fn it_lets_go_of_a_folder_whose_route_it_may_not_read_and_comes_back_when_it_may() {
    let server = S3Server::start();
    let process = Process::new();
    let holder = process.attach(&server.endpoint(), &[SHORT, EXTERNAL]);
    let mut shipper = Shipper::unprivileged(&process, &server.endpoint());
    shipper.hear("is uploaded to ");
    let route = process.spool().join("access/route");
    let set = |mode| std::fs::set_permissions(&route, Permissions::from_mode(mode)).unwrap();
    // Whether upload is internal by now is not to be known.
    set(0);
    shipper.hear("/spool/access is not uploaded: its file route cannot be read");
    set(0o640);
    shipper.hear("is uploaded to ");
    holder.push("line", 0..10);
    holder.wait_stat("uploaded_records", 10);
    assert_eq!(shipper.stop(), 0);
}

#[test]
fn settings_that_cannot_be_used_end_it_at_once() {
    let run = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_s3log")).env_clear().args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run(&["ship", "--set", "spool=/nowhere"]);
    assert_eq!(code, 2);
    assert!(said.contains("endpoint is missing"), "{said}");
    let (code, said) = run(&["ship", "--config", "/nowhere"]);
    assert_eq!(code, 2);
    assert!(said.contains("/nowhere"), "{said}");
}
