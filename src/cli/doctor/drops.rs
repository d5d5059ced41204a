//! What the counters say of each stream since the start of the cache process: every loss, cut and
//! stall, with its likely cause.

use std::fs;

use super::finding::Finding;
use super::node::Node;
use crate::block::sanitise;
use crate::cli::spools::RouteSpool;
use crate::cli::terminal::output::{count, counted, size};
use crate::cli::varnishd::{Counters, StreamCounters};
use crate::printable::printable;
use crate::settings::Settings;
use crate::spool;
use crate::units::show_bytes;

/// A packer that has made no round for so long is held up, in seconds.
const STALLED: u64 = 5;
/// `s3log ship` says every five seconds that it is at work.
const SILENT: u64 = 60;
/// Of `spool_max`, the share in percent from which on the spool is nearly full; the alert S3logSpoolFills of
/// `examples/prometheus-rules.yml` has the same.
const NEARLY_FULL: u64 = 80;
/// The largest ring.
const RING_MAX: u64 = 1 << 30;

pub(super) fn findings(node: &Node<'_>) -> Vec<Finding> {
    let Some(counters) = &node.counters else { return Vec::new() };
    let mut found = Vec::new();
    for stream in &counters.streams {
        let mut own = Vec::new();
        own.extend(not_started(stream, held(node, &stream.name).as_deref()));
        own.extend(stalls(stream));
        own.extend(drops(stream));
        own.extend(spool(stream));
        own.extend(flaws(counters, stream));
        if own.is_empty() {
            let text = format!("{} taken, none dropped", counted(stream.get("records"), "record"));
            own.push(Finding::ok("records", text));
        }
        found.extend(own.into_iter().map(|one| one.of(&stream.name)));
    }
    found
}

/// Whether the stream has no spool yet: then nobody has set what a packer sets in its first round, and no
/// time goes by without an upload.
fn waits(stream: &StreamCounters) -> bool {
    stream.find("spool_max") == Some(0) && stream.get("upload_silent") == 0
}

/// A stream that cannot be started; `held` says which other process has its spool.
fn not_started(stream: &StreamCounters, held: Option<&str>) -> Option<Finding> {
    if !waits(stream) {
        return None;
    }
    let text = format!(
        "the stream has not started, and {} logged into memory: {} of {} are in use",
        counted(stream.get("records_unspooled"), "record"),
        size(stream.get("ring_used")),
        size(stream.get("ring_size"))
    );
    let cause = held.map_or_else(
        || {
            "Do what the findings about spool, settings and credentials say; journalctl -u varnish has \
             the reason"
                .to_owned()
        },
        |held| format!("{held}: stop its varnishd, or let it come to its end if it is s3log drain"),
    );
    let action = format!(
        "{cause}. The start is tried again every ten seconds; what is in memory is lost if the cache \
         process ends or the VCL is discarded before."
    );
    Some(Finding::fix("records", text, action))
}

/// Which process but the cache process itself has a spool of the stream, for a sentence.
fn held(node: &Node<'_>, counters: &str) -> Option<String> {
    let settings = node.streams.iter().filter_map(|(_, settings)| settings.as_ref().ok());
    let mut own = settings.filter(|settings| is_of(counters, &sanitise(&settings.stream)));
    let route = own.next().map(Settings::route);
    node.spools.iter().find_map(|spool| {
        let RouteSpool { name, folder } = spool;
        let other = route.is_some() && folder.route().is_some() && folder.route() != route;
        if other || !is_of(counters, name.split('@').next().unwrap_or_default()) {
            return None;
        }
        let pid = spool::holder(&folder.path).filter(|pid| *pid > 0)?;
        if node.varnishd.child.as_ref().is_some_and(|child| child.pid == pid) {
            return None;
        }
        let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let program = printable(program.trim()).into_owned();
        Some(format!("Process {pid} ({program}) has the spool {}", folder.path.display()))
    })
}

/// Whether counters of this name are those of the stream, which may wait beside one of its name.
fn is_of(counters: &str, stream: &str) -> bool {
    let rest = counters.strip_prefix(stream);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("_waiting"))
}

/// What holds the stream up now.
fn stalls(stream: &StreamCounters) -> Vec<Finding> {
    let mut found = Vec::new();
    if stream.get("packer_silent") > STALLED {
        let text =
            format!("the packer's thread has not moved for {} s", stream.get("packer_silent"));
        let action = "Look at the disk of the spool (dmesg, iostat -x): it holds the thread up.";
        found.push(Finding::fix("records", text, action));
    }
    if stream.get("spool_errors") > 0 && stream.get("ring_used") > 0 {
        let text = format!("{} writes to the spool have failed", count(stream.get("spool_errors")));
        let action = "Free space on the spool's file system or repair it: what waits in the ring is then \
                      written without help.";
        found.push(Finding::fix("records", text, action));
    }
    if stream.get("stuck_routes") > 0 {
        let text = format!(
            "{} of the stream cannot be started",
            counted(stream.get("stuck_routes"), "route")
        );
        let action = "Read why under waiting_routes of the health page, and bring the key back or move \
                      the blocks with s3log requeue --from.";
        found.push(Finding::fix("routes", text, action));
    }
    if stream.get("spooled_blocks") > 0 && stream.get("shipper_silent") > SILENT {
        let text = format!("s3log ship was last at work {} s ago", stream.get("shipper_silent"));
        let action = "Start it: systemctl restart s3log-ship.";
        found.push(Finding::fix("records", text, action));
    }
    found
}

/// What was lost, and why.
fn drops(stream: &StreamCounters) -> Vec<Finding> {
    let mut found = Vec::new();
    let ring = stream.get("dropped_ring");
    if ring > 0 {
        let (size_now, high) = (stream.get("ring_size"), stream.get("ring_high_water"));
        let text = format!(
            "{} dropped, because the ring had no room: {} low, {} normal, {} high; it is {} and had up \
             to {} in it",
            counted(ring, "record"),
            count(stream.get("shed_low")),
            count(stream.get("shed_normal")),
            count(stream.get("shed_high")),
            size(size_now),
            size(high),
        );
        let disk = stream.get("spool_errors") > 0 || stream.get("packer_silent") > STALLED;
        let larger = size_now.saturating_mul(4).clamp(16 << 20, RING_MAX);
        let action = if waits(stream) {
            "Let the stream start: then what waits in memory goes to the spool.".to_owned()
        } else if disk {
            "Repair or free the spool's disk, which the packer waits for.".to_owned()
        } else if stream.get("shed_normal") + stream.get("shed_high") == 0 {
            "Nothing has to be done if low-priority records may be shed; else give them a higher \
             priority in VCL."
                .to_owned()
        } else if larger > size_now {
            format!(
                "Set `ring = {}` in the stream's settings, load the VCL and restart the cache process.",
                show_bytes(larger)
            )
        } else {
            "Set a cheaper `compression` such as \"zstd:1\", or `on_full = \"wait\"`.".to_owned()
        };
        found.push(
            if disk || waits(stream) || stream.get("shed_normal") + stream.get("shed_high") > 0 {
                Finding::fix("drops", text, action)
            } else {
                Finding::note("drops", text, action)
            },
        );
    }
    let causes = [
        (
            "dropped_spool",
            "the spool was full or damaged",
            "Bring the gateway back and raise `spool_max` within the disk's size, so that an outage \
             fits.",
        ),
        (
            "dropped_end",
            "the module did not see the request's end",
            "Add vcl_req_reset and call .log() in it if clients reset requests, and call .log() only in \
             client and backend subroutines.",
        ),
        (
            "dropped_panic",
            "a panic was caught in the module",
            "Report it with the messages of journalctl -u varnish.",
        ),
    ];
    for (counter, cause, action) in causes {
        let dropped = stream.get(counter);
        if dropped > 0 {
            let text = format!("{} dropped, because {cause}", counted(dropped, "record"));
            found.push(Finding::fix("drops", text, action));
        }
    }
    found
}

/// A spool that is nearly full, or was since the start.
fn spool(stream: &StreamCounters) -> Option<Finding> {
    let most = stream.get("spool_max");
    let near =
        |bytes: u64| most > 0 && bytes.saturating_mul(100) >= most.saturating_mul(NEARLY_FULL);
    let (used, high) = (stream.get("spool_used"), stream.get("spool_high_water"));
    if near(used) {
        let text = format!("{} of {} of the spool are in use", size(used), size(most));
        let action = "Bring the gateway back and empty the quarantine, or raise `spool_max` within the \
                      disk's size, before records are dropped.";
        return Some(Finding::fix("spool", text, action));
    }
    // Where it has dropped records that is said, with the same to do.
    if near(high) && stream.get("dropped_spool") == 0 {
        let text = format!(
            "up to {} of {} of the spool were in use, and {} are",
            size(high),
            size(most),
            size(used)
        );
        let action = "Raise `spool_max` within the disk's size, so that a longer outage fits.";
        return Some(Finding::note("spool", text, action));
    }
    None
}

/// Lines that are there and not whole.
fn flaws(counters: &Counters, stream: &StreamCounters) -> Vec<Finding> {
    let mut found = Vec::new();
    if stream.get("truncated") > 0 {
        let text = format!("{} cut at max_line", counted(stream.get("truncated"), "line"));
        let action = "Raise `max_line`, or limit long fields in the format.";
        found.push(Finding::note("lines", text, action));
    }
    let incomplete = stream.get("incomplete");
    if incomplete > 0 {
        let text = format!("{} with at least one missing value", counted(incomplete, "line"));
        let flushed = counters.main("shm_flushes").unwrap_or_default() > 0;
        let action = if flushed {
            "Raise vsl_buffer (varnishadm param.set vsl_buffer 64k), because long requests overflow it, \
             and unmask the tags that the format needs."
        } else {
            "Unmask the tags that the format needs in vsl_mask."
        };
        found.push(Finding::note("lines", text, action));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    fn stream(values: &[(&str, u64)]) -> StreamCounters {
        StreamCounters::example("access", values)
    }

    #[test]
    fn drops_of_the_ring_have_a_cause_that_fits_the_other_counters() {
        let one = |values: &[(&str, u64)]| drops(&stream(values)).pop().unwrap();
        let small = one(&[("dropped_ring", 5), ("shed_normal", 5), ("ring_size", 1 << 20)]);
        assert_eq!(small.mark, Mark::Fix);
        assert!(small.action.unwrap().starts_with("Set `ring = 16MB`"));
        let large = one(&[("dropped_ring", 5), ("shed_high", 5), ("ring_size", 1 << 30)]);
        assert!(large.action.unwrap().contains("`compression`"));
        let disk = one(&[("dropped_ring", 5), ("shed_low", 5), ("spool_errors", 1)]);
        assert!(disk.action.unwrap().contains("disk"));
        let low = one(&[("dropped_ring", 5), ("shed_low", 5), ("ring_size", 1 << 24)]);
        assert_eq!(low.mark, Mark::Note);
        assert!(drops(&stream(&[("records", 9)])).is_empty());
    }

    /// What a varnishd publishes whose stream waits for its spool, after two lines: see the VTC
    /// `doctor_tells_of_a_stream_that_has_not_started`.
    const WAITING: &[(&str, u64)] = &[
        ("records", 0),
        ("records_unspooled", 2),
        ("dropped_ring", 0),
        ("spool_errors", 0),
        ("ring_used", 32),
        ("ring_high_water", 32),
        ("ring_size", 16_777_216),
        ("spool_max", 0),
        ("packer_silent", 0),
        ("upload_silent", 0),
    ];

    #[test]
    fn a_stream_that_has_not_started_is_told_with_what_keeps_it_and_one_that_has_is_not() {
        let waiting = stream(WAITING);
        let told = |held| not_started(&waiting, held).unwrap();
        let Finding { mark, text, action, .. } = told(None);
        let what = "the stream has not started, and 2 records logged into memory: 32 B of 16.0 MiB are in use";
        assert_eq!((mark, &*text), (Mark::Fix, what));
        assert!(action.unwrap().starts_with("Do what the findings about spool, settings"));
        let action = told(Some("Process 7 (cache-main) has the spool /srv/access")).action.unwrap();
        let start = "Process 7 (cache-main) has the spool /srv/access: stop its varnishd, or ";
        assert!(action.starts_with(start), "{action}");
        // Once it has started the packer has set the one, and then time goes by.
        for started in [("spool_max", 10_000_000_000), ("upload_silent", 1)] {
            let values: Vec<_> = WAITING.iter().filter(|one| one.0 != started.0).copied().collect();
            assert_eq!(not_started(&stream(&[values, vec![started]].concat()), None), None);
        }
        assert_eq!(not_started(&stream(&[("records_unspooled", 2)]), None), None, "an old module");
        // A larger ring is not what a stream needs that does not start.
        let full = [WAITING, &[("dropped_ring", 5), ("shed_normal", 5)]].concat();
        let found = drops(&stream(&full)).pop().unwrap();
        assert_eq!(found.mark, Mark::Fix);
        assert!(found.action.unwrap().starts_with("Let the stream start"));
    }

    #[test]
    fn counters_of_a_stream_that_waits_beside_a_running_one_are_known_for_its_own() {
        for (counters, own) in
            [("access", true), ("access_waiting-2", true), ("access_log", false), ("acc", false)]
        {
            assert_eq!(is_of(counters, "access"), own, "{counters}");
        }
    }

    #[test]
    fn each_other_loss_has_a_finding_of_its_own() {
        for counter in ["dropped_spool", "dropped_end", "dropped_panic"] {
            let found = drops(&stream(&[(counter, 1)]));
            assert_eq!(found.len(), 1, "{counter}");
            assert!(
                found.iter().all(|one| one.mark == Mark::Fix && one.text.starts_with("1 record "))
            );
        }
        for (counters, about) in [
            (&[("packer_silent", 6)][..], "records"),
            (&[("stuck_routes", 1)], "routes"),
            (&[("shipper_silent", 61), ("spooled_blocks", 1)], "records"),
            (&[("spool_errors", 1), ("ring_used", 1)], "records"),
        ] {
            let found = stalls(&stream(counters));
            assert_eq!(found.iter().map(|one| one.about).collect::<Vec<_>>(), [about]);
        }
        assert!(stalls(&stream(&[("spool_errors", 3), ("ring_size", 9)])).is_empty(), "it is over");
    }

    #[test]
    fn a_spool_that_is_or_was_nearly_full_is_told_before_it_drops() {
        let one = |used: u64, high: u64, dropped: u64| {
            let values = [
                ("spool_max", 10 << 30),
                ("spool_used", used << 30),
                ("spool_high_water", high << 30),
                ("dropped_spool", dropped),
            ];
            spool(&stream(&values)).map(|found| (found.mark, found.text))
        };
        let (mark, text) = one(8, 9, 0).unwrap();
        assert_eq!((mark, &*text), (Mark::Fix, "8.0 GiB of 10.0 GiB of the spool are in use"));
        let (mark, text) = one(1, 8, 0).unwrap();
        let was = "up to 8.0 GiB of 10.0 GiB of the spool were in use, and 1.0 GiB are";
        assert_eq!((mark, &*text), (Mark::Note, was));
        assert_eq!(one(7, 7, 0), None);
        // The records that it dropped are a finding, with the same to do.
        assert_eq!(one(1, 10, 5), None);
        assert_eq!(one(9, 10, 5).unwrap().0, Mark::Fix);
        // A module that does not count it, and a stream that has not started.
        assert_eq!(spool(&stream(&[("spool_used", 5)])), None);
    }

    #[test]
    fn an_incomplete_line_is_put_down_to_the_buffer_only_where_it_overflowed() {
        let lines = stream(&[("incomplete", 2)]);
        let action = |main: &[(&str, u64)]| {
            let counters = Counters::example(Vec::new(), main);
            flaws(&counters, &lines).pop().unwrap().action.unwrap()
        };
        assert!(action(&[("shm_flushes", 1)]).contains("vsl_buffer"));
        assert!(!action(&[("shm_flushes", 0)]).contains("vsl_buffer"));
    }
}
