//! A flood of many times what the ring holds: what is worth least gives way first, and each record that
//! gives way is counted under its priority.

use vmod_s3log::priority::Priority;

use crate::common::s3_server::S3Server;
use crate::common::stream::lines;
use crate::panics::{Trouble, process};

/// The ring's bytes, and what a record of the test takes of them.
const RING: usize = 1 << 20;
const RECORD: usize = 128;

/// Lines of a length at which each takes [`RECORD`] bytes of the ring.
fn line(name: &str, number: usize) -> String {
    format!("{name} {number:0width$}", width = RECORD - 8 - 2 - name.len())
}

#[test]
fn no_high_record_is_lost_in_a_flood_while_low_ones_are_there_to_shed() {
    let server = S3Server::start();
    let clock = Trouble::of("s3log-pack");
    let (process, _) = process(&clock);
    let holder = process.attach(&server.endpoint(), &[("period", "100ms")]);
    // The spool is taken up by then.
    holder.push_line("first");
    holder.wait_stat("uploaded_records", 1);
    clock.stop();

    let fits = RING / RECORD;
    // But for the pad at the region's end.
    let high = fits / 8 - 1;
    // Ten times what fits, in a mix: seven threads of low records, two of normal ones, and one whose
    // records are as many as the share that is kept for them.
    std::thread::scope(|scope| {
        for thread in 0..10 {
            let (name, priority, count) = match thread {
                0..7 => ("low", Priority::Low, fits),
                7..9 => ("normal", Priority::Normal, fits),
                _ => ("high", Priority::High, high),
            };
            let holder = &holder;
            scope.spawn(move || {
                (0..count).for_each(|n| holder.push_with(&line(name, thread * fits + n), priority));
            });
        }
    });
    let shed = ["shed_low", "shed_normal", "shed_high"].map(|name| holder.stat(name) as usize);
    assert_eq!(shed[2], 0, "high records were shed: {shed:?}");
    assert_eq!(shed.iter().sum::<usize>() as u64, holder.stat("dropped_ring"));

    clock.go_on();
    let stays = [7 * fits - shed[0], 2 * fits - shed[1], high];
    holder.wait_stat("uploaded_records", 1 + stays.iter().sum::<usize>() as u64);
    holder.wait_balance();
    let found = lines(&server);
    let count = |name: &str| found.iter().filter(|line| line.starts_with(name)).count();
    assert_eq!(["low ", "normal ", "high "].map(count), stays);
    // The shares: half of the ring for low records, seven eighths for all but high ones.
    assert!(stays[0] <= fits / 2 && stays[0] + stays[1] <= fits / 8 * 7, "{stays:?}");
    assert!(stays.iter().sum::<usize>() >= fits / 8 * 7 - 2, "{stays:?}");
}

#[test]
fn a_packer_that_keeps_up_sheds_nothing_of_any_priority() {
    let server = S3Server::start();
    let process = crate::common::stream::Process::new();
    let holder = process.attach(&server.endpoint(), &[("period", "100ms")]);
    let fits = RING / RECORD;
    // Three rings of low records, each portion pushed when the one before has left the ring.
    for portion in 0..12 {
        let before = holder.stat("records");
        (0..fits / 4)
            .for_each(|n| holder.push_with(&line("low", portion * fits + n), Priority::Low));
        holder.wait_stat("records", before + (fits / 4) as u64);
    }
    assert_eq!(holder.stat("dropped_ring"), 0);
}

#[test]
fn a_worker_waits_for_room_for_what_it_may_not_lose_and_never_for_low_records() {
    let server = S3Server::start();
    let clock = Trouble::of("s3log-pack");
    let (process, _) = process(&clock);
    let settings = [("period", "100ms"), ("on_full", "wait"), ("max_wait", "10s")];
    let holder = process.attach(&server.endpoint(), &settings);
    holder.push_line("first");
    holder.wait_stat("uploaded_records", 1);
    clock.stop();
    // A thousand of them would wait for hours.
    let fits = RING / RECORD;
    (0..fits / 2 + 1_000).for_each(|n| holder.push_with(&line("low", n), Priority::Low));
    let shed = holder.stat("shed_low");
    assert!(shed >= 1_000, "{shed}");
    (0..fits / 8 * 3 - 1).for_each(|n| holder.push_with(&line("normal", n), Priority::Normal));
    // The next ones find no room, and wait until the packer has made some.
    std::thread::scope(|scope| {
        let late = scope
            .spawn(|| (0..10).for_each(|n| holder.push_with(&line("late", n), Priority::Normal)));
        assert!(!late.is_finished());
        clock.go_on();
        late.join().unwrap();
    });
    assert_eq!((holder.stat("shed_normal"), holder.stat("shed_low")), (0, shed));
}
