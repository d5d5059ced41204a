//! A stream at work: lines that come at a steady rate, and the threads that pack and upload them in
//! varnishd. `benches/e2e/threads.py` counts their instructions:
//! `pack CODEC PERIOD RATE SECONDS ENDPOINT BUCKET CREDENTIALS`; the rate is in lines a second.
#![allow(missing_docs, clippy::expect_used, reason = "a benchmark may fail")]

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use vmod_s3log::clock::System;
use vmod_s3log::events::{Events, Level};
use vmod_s3log::pipeline::{Environment, Observer, Registry};
use vmod_s3log::priority::Priority;
use vmod_s3log::settings::{Arguments, Settings};
use vmod_s3log::stats::Stats;

mod common;

/// Between two bursts of lines.
const STEP: Duration = Duration::from_millis(10);

struct Nobody;

impl Observer for Nobody {
    fn observe(&mut self, _: &Stats) {}
}

impl Events for Nobody {
    fn event(&self, level: Level, message: &str) {
        assert!(level == Level::Info, "{message}");
    }
}

/// Pushes the lines, and waits until all are uploaded.
fn run(spool: &Path, [codec, period, rate, seconds, endpoint, bucket, credentials]: [&str; 7]) {
    let mut arguments = Arguments::new("access");
    let spool = spool.to_str().expect("a path of UTF-8");
    for (name, value) in [
        ("endpoint", endpoint),
        ("bucket", bucket),
        ("credentials", credentials),
        ("hostname", "node"),
        ("spool", spool),
        ("compression", codec),
        ("period", period),
    ] {
        arguments.set(name, Some(value.to_owned()));
    }
    let settings = Settings::read(&arguments).expect("settings");
    let environment = Environment {
        clock: Arc::new(System::new()),
        events: Arc::new(Nobody),
        observer: Arc::new(|_| Box::new(Nobody)),
        grace: Duration::ZERO,
    };
    let registry = Registry::default();
    let attachment = registry.attach(settings, &environment).expect("a pipeline");
    let mut text = common::site_lines(1 << 20);
    // The last one is cut.
    text.truncate(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').cycle();
    let rate = rate.parse::<f64>().expect("a rate");
    let time = Duration::from_secs(seconds.parse().expect("seconds"));
    let start = Instant::now();
    let mut pushed = 0.0;
    loop {
        let now = start.elapsed().min(time);
        while pushed < now.as_secs_f64() * rate {
            attachment.push(lines.next().unwrap_or_default().into(), Priority::High);
            pushed += 1.0;
        }
        if now == time {
            break;
        }
        sleep(STEP);
    }
    let pipeline = Arc::clone(attachment.pipeline());
    registry.detach(&attachment);
    drop(attachment);
    while !registry.is_empty() {
        sleep(STEP);
    }
    let counted = pipeline.stats().snapshot();
    let lost = counted.iter().filter(|(name, _)| name.starts_with("dropped"));
    assert!(lost.map(|(_, number)| number).sum::<u64>() == 0, "{counted:?}");
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    // Cargo's own `--bench` is no run.
    if let Ok(arguments) = arguments.try_into() {
        let directory = tempfile::tempdir().expect("a directory");
        run(directory.path(), arguments);
    }
}
