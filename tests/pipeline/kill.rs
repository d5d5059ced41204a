//! A process that is killed while its packer closes small blocks as fast as it can: what was
//! pushed is in the bucket once.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::gate::Gate;
use crate::common::s3_server::S3Server;
use crate::common::stream::{Process, lines, wait_for};

const KILLS: usize = 25;
const CHILD: &str = "S3LOG_TEST_PUSH_INTO";

/// Blocks of a kibibyte of a few compressed chunks: every few chunks one does not fit any more
/// and seals the block before it.
const SMALL: [(&str, &str); 4] =
    [("max_bytes", "1KB"), ("sync", "none"), ("on_full", "wait"), ("max_wait", "10s")];

/// Not a test of its own: the process that is killed.
#[test]
fn child_pushes_until_it_is_killed() {
    let Ok(run) = std::env::var(CHILD) else { return };
    let place = std::env::var("S3LOG_TEST_PLACE").unwrap();
    let (spool, credentials) = (format!("{place}/spool"), format!("{place}/credentials"));
    let mut settings = vec![("spool", spool.as_str()), ("credentials", &credentials)];
    settings.extend(SMALL);
    // Every other one makes blocks of one member.
    let odd = run.ends_with(['1', '3', '5', '7', '9']);
    settings.push(("members", if odd { "one" } else { "many" }));
    let process = Process::new();
    let endpoint = std::env::var("S3LOG_TEST_ENDPOINT").unwrap();
    let holder = process.attach(&endpoint, &settings);
    let mut out = std::io::stdout();
    for number in 0.. {
        holder.push(&run, number..number + 1);
        // What stands on the pipe was pushed before; the parent knows no more than that.
        writeln!(out, "pushed {number}").unwrap();
        if number % 50 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn each_record_is_there_once_however_often_the_packer_is_killed() {
    let process = Process::new();
    let gate = Gate::shut();
    let mut pushed = Vec::new();
    for run in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kill::child_pushes_until_it_is_killed", "--exact", "--nocapture"])
            .env(CHILD, format!("run{run}"))
            .env("S3LOG_TEST_PLACE", process.directory.path())
            .env("S3LOG_TEST_ENDPOINT", gate.endpoint())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let reader = std::thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            for _ in lines.filter(|line| line.starts_with("pushed ")) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        // Some way into its blocks, further each time.
        wait_for("the child to push", || count.load(Ordering::SeqCst) > 100 * run);
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        pushed.push(count.load(Ordering::SeqCst));
    }

    let server = S3Server::start();
    gate.open(&server);
    let holder = process.attach(&gate.endpoint(), &[("exit_timeout", "10m")]);
    drop(holder);
    process.wait_closed();
    let mut found: HashMap<String, usize> = HashMap::new();
    for line in lines(&server) {
        *found.entry(line).or_default() += 1;
    }
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{} lines are there more than once", twice.len());
    for (run, count) in pushed.iter().enumerate() {
        let missing =
            (0..*count).filter(|number| !found.contains_key(&format!("run{run} {number}")));
        assert_eq!(missing.count(), 0, "of {count} in run {run}");
    }
}
