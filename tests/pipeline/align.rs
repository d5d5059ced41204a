//! Blocks that are aligned to the clock: a folder of a day, or of an hour, has that day's lines, across
//! changes of the clock, a kill, and a disk that holds the packer up.
//!
//! The wall clock is the test's. What it shows in a zone is asked of date(1). One upload is made at a
//! time: the gateway's clock is another one, which the first upload learns.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vmod_s3log::clock::Clock;
use vmod_s3log::pipeline::Observer;
use vmod_s3log::stats::Stats;

use crate::common::gate::Gate;
use crate::common::s3_server::S3Server;
use crate::common::stream::{DEAD, Process, objects, wait_for};
use crate::panics::Trouble;

/// A wall clock that stands where it was set. Monotonic time is the machine's.
struct Wall {
    /// The machine's clock, which can hold the packer when it asks for the time.
    packer: Arc<Trouble>,
    seconds: AtomicU64,
}

impl Wall {
    fn at(time: &str) -> Arc<Self> {
        let wall = Self { packer: Trouble::of("s3log-pack"), seconds: AtomicU64::new(0) };
        wall.set(time);
        Arc::new(wall)
    }

    fn set(&self, time: &str) {
        self.seconds.store(seconds(time), Ordering::SeqCst);
    }
}

impl Clock for Wall {
    fn unix(&self) -> Duration {
        self.packer.ask();
        Duration::from_secs(self.seconds.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.packer.monotonic()
    }

    fn sleep(&self, duration: Duration) {
        self.packer.sleep(duration);
    }
}

fn seconds(time: &str) -> u64 {
    time.parse::<jiff::Timestamp>().unwrap().as_second().try_into().unwrap()
}

/// The time as date(1) shows it.
fn date(zone: &str, time: &str, format: &str) -> String {
    let output = Command::new("date")
        .env("TZ", zone)
        .args(["-d", &format!("@{}", seconds(time)), &format!("+{format}")])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn process(clock: &Arc<Wall>) -> Process {
    let mut process = Process::new();
    process.environment.clock = Arc::clone(clock) as Arc<dyn Clock>;
    process
}

fn aligned<'a>(period: &'a str, path: &'a str) -> [(&'static str, &'a str); 4] {
    [("period", period), ("align", "true"), ("path", path), ("upload_threads", "1")]
}

/// The folder of each object, and its lines, in the order of the objects' times.
fn folders(server: &S3Server) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<_> = objects(server)
        .into_iter()
        .map(|(key, lines)| {
            let (folder, name) = key.rsplit_once('/').unwrap();
            (name.to_owned(), (folder.to_owned(), lines))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, block)| block).collect()
}

#[test]
fn a_folder_of_an_hour_has_that_hours_lines_across_both_changes_of_the_clock() {
    let zone = "Europe/Berlin";
    for times in [
        // Put back at 01:00 UTC: 02:59:59 is followed by 02:00:00.
        [
            "2026-10-24T23:59:59Z",
            "2026-10-25T00:00:00Z",
            "2026-10-25T00:59:59Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:59:59Z",
            "2026-10-25T02:00:00Z",
        ],
        // Put forward at 01:00 UTC: 01:59:59 is followed by 03:00:00.
        [
            "2026-03-28T22:59:59Z",
            "2026-03-28T23:00:00Z",
            "2026-03-28T23:59:59Z",
            "2026-03-29T00:59:59Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T02:00:00Z",
        ],
    ] {
        let server = S3Server::start();
        let clock = Wall::at(times[0]);
        let process = process(&clock);
        let settings = [
            ("period", "1h"),
            ("align", "true"),
            ("path", "%Y-%m-%d/%H/"),
            ("path_timezone", zone),
            ("upload_threads", "1"),
        ];
        let holder = process.attach(&server.endpoint(), &settings);
        let hour = |time: &str| seconds(time) / 3_600;
        let mut sealed = 0;
        for (index, time) in times.iter().enumerate() {
            clock.set(time);
            if index > 0 && hour(time) != hour(times[index - 1]) {
                // Its upload may wait: it is not waited for.
                holder.wait_stat("blocks_sealed", sealed + 1);
                sealed += 1;
            }
            holder.push_line(time);
            holder.push_line(time);
        }
        drop(holder);
        process.wait_closed();
        let found = folders(&server);
        for (folder, lines) in &found {
            for line in lines {
                assert_eq!(*folder, date(zone, line, "%Y-%m-%d/%H"), "{found:#?}");
                // Also where the clock shows one hour twice.
                assert_eq!(hour(line), hour(&lines[0]), "{found:#?}");
            }
        }
        let lines: Vec<_> = found.iter().flat_map(|(_, lines)| lines).collect();
        assert!(lines.into_iter().step_by(2).eq(&times), "{found:#?}");
    }
}

#[test]
fn without_align_a_block_crosses_midnight() {
    let server = S3Server::start();
    let clock = Wall::at("2026-11-25T23:59:59Z");
    let process = process(&clock);
    let holder = process.attach(&server.endpoint(), &[("period", "1d"), ("path", "%d/")]);
    holder.push_line("before");
    clock.set("2026-11-26T00:00:00Z");
    holder.push_line("after");
    drop(holder);
    process.wait_closed();
    assert_eq!(folders(&server).len(), 1);
}

/// Bytes 128 to 135 of either commit in a ring's file, as `src/ring/mod.rs` and `src/spool/commit.rs`
/// have them: which time the process notes to be reading.
fn noted(ring: &Path) -> [u64; 2] {
    let bytes = fs::read(ring).unwrap();
    let capacity = u64::from_ne_bytes(bytes[16..24].try_into().unwrap()) as usize;
    [512, 4096 + capacity].map(|slot| {
        let at = slot + 24 + 128;
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) / 1_000_000_000
    })
}

/// What a kill at this moment would leave, in the directory of a process that starts afterwards.
fn killed(process: &Process, next: &Process) {
    let (from, to) = (process.spool().join("access"), next.spool().join("access"));
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn what_a_kill_leaves_in_the_ring_goes_into_the_folder_of_the_day_that_it_came_on() {
    let settings =
        [("period", "1d"), ("align", "true"), ("path", "%Y-%m-%d/"), ("upload_threads", "1")];
    for (sync, ring) in [("none", "1MB"), ("block", "1MB"), ("1h", "1MB"), ("block", "2MB")] {
        let clock = Wall::at("2026-11-24T12:00:00Z");
        let before = process(&clock);
        let mut settings = settings.to_vec();
        settings.push(("sync", sync));
        // The route, and so the folder, stays the same.
        let gate = Gate::shut();
        let holder = before.attach(&gate.endpoint(), &settings);
        holder.push_line("on the 24th");
        let file = before.spool().join("access/ring");
        clock.set("2026-11-25T23:50:00Z");
        // The packer has closed the day before and begun this one.
        let today = seconds("2026-11-25T23:50:00Z");
        wait_for("the day to be noted", || noted(&file).contains(&today));
        holder.push("on the 25th", 0..100);

        let server = S3Server::start();
        let later = Wall::at("2026-11-26T00:10:00Z");
        let after = process(&later);
        killed(&before, &after);
        settings.push(("ring", ring));
        gate.open(&server);
        let again = after.attach(&gate.endpoint(), &settings);
        again.push("on the 26th", 0..10);
        drop(again);
        after.wait_closed();
        let found = folders(&server);
        let count = |day: &str| {
            let of_day = found.iter().filter(|(folder, _)| folder == &format!("2026-11-{day}"));
            let lines: Vec<_> = of_day.flat_map(|(_, lines)| lines).collect();
            assert!(lines.iter().all(|line| line.contains(&format!("{day}th"))), "{found:#?}");
            lines.len()
        };
        assert_eq!(["24", "25", "26"].map(count), [1, 100, 10], "sync {sync}, ring {ring}");
    }
}

/// Counts how often it was shown the counters.
#[derive(Clone, Default)]
struct Looks(Arc<AtomicU64>);

impl Observer for Looks {
    fn observe(&mut self, _stats: &Stats) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn lines_that_come_while_the_packer_is_held_up_go_into_the_folder_of_their_hour() {
    let server = S3Server::start();
    let clock = Wall::at("2026-11-25T10:30:00Z");
    let mut process = process(&clock);
    let looks = Looks::default();
    let observer = looks.clone();
    process.environment.observer = Arc::new(move |_| Box::new(observer.clone()));
    let holder = process.attach(&server.endpoint(), &aligned("1h", "%H/"));
    holder.push_line("10");
    let file = process.spool().join("access/ring");
    wait_for("the hour to be noted", || noted(&file).contains(&seconds("2026-11-25T10:30:00Z")));
    clock.packer.stop();
    for hour in 10..15 {
        clock.set(&format!("2026-11-25T{hour}:30:00Z"));
        // The second one began after the clock was set.
        let seen = looks.0.load(Ordering::SeqCst);
        wait_for("a look at the clock", || looks.0.load(Ordering::SeqCst) >= seen + 2);
        holder.push_line(&hour.to_string());
    }
    clock.packer.go_on();
    holder.wait_stat("blocks_sealed", 4);
    drop(holder);
    process.wait_closed();
    let found = folders(&server);
    assert_eq!(found.len(), 5, "{found:#?}");
    for (folder, lines) in &found {
        assert!(lines.iter().all(|line| line == folder), "{found:#?}");
    }
}

#[test]
fn a_block_that_another_process_uploads_says_until_when_it_waits_after_its_window() {
    let clock = Wall::at("2026-11-25T10:59:59Z");
    let process = process(&clock);
    let mut given = aligned("1h", "").to_vec();
    given.push(("upload", "external"));
    let holder = process.attach(DEAD, &given);
    holder.push_line("10");
    let root = process.spool().join("access");
    let noted_at = seconds("2026-11-25T10:59:59Z");
    wait_for("the hour to be noted", || noted(&root.join("ring")).contains(&noted_at));
    clock.set("2026-11-25T11:00:00Z");
    holder.wait_stat("blocks_sealed", 1);
    let sidecar = fs::read_to_string(root.join("0000000001.json")).unwrap();
    let sidecar: serde_json::Value = serde_json::from_str(sidecar.lines().next().unwrap()).unwrap();
    let until = Duration::from_nanos(sidecar["wait_until"].as_u64().unwrap());
    let end = Duration::from_secs(seconds("2026-11-25T11:00:00Z"));
    assert!((end..=end + Duration::from_secs(30)).contains(&until), "{until:?}");
}

#[test]
fn a_clock_that_is_put_back_ends_a_block_as_well() {
    let server = S3Server::start();
    let clock = Wall::at("2026-11-25T00:00:01Z");
    let process = process(&clock);
    let holder = process.attach(&server.endpoint(), &aligned("1d", "%d/"));
    holder.push_line("25");
    let file = process.spool().join("access/ring");
    wait_for("the day to be noted", || noted(&file).contains(&seconds("2026-11-25T00:00:01Z")));
    clock.set("2026-11-24T23:59:58Z");
    holder.wait_stat("blocks_sealed", 1);
    holder.push_line("24");
    drop(holder);
    process.wait_closed();
    let mut found = folders(&server);
    found.sort();
    let line = |day: &str| (day.to_owned(), vec![day.to_owned()]);
    assert_eq!(found, [line("24"), line("25")]);
}
