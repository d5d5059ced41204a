//! What the counters say of each stream since the start of the cache process: every loss, cut and
//! stall, with its likely cause.

use super::finding::Finding;
use super::node::Node;
use crate::cli::terminal::output::{count, counted, size};
use crate::cli::varnishd::{Counters, StreamCounters};
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

/// What holds the stream up now.
fn stalls(stream: &StreamCounters) -> Vec<Finding> {
    let mut found = Vec::new();
    if stream.get("ring_size") == 0 && stream.get("records_unspooled") > 0 {
        let text = format!(
            "the stream has not started, and {} in memory",
            counted(stream.get("records_unspooled"), "record")
        );
        let action = "Do what the findings about spool and settings say; the start is tried again every \
                      ten seconds.";
        found.push(Finding::fix("records", text, action));
    }
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
        let action = if disk {
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
        found.push(if disk || stream.get("shed_normal") + stream.get("shed_high") > 0 {
            Finding::fix("drops", text, action)
        } else {
            Finding::note("drops", text, action)
        });
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
            (&[("records_unspooled", 4)], "records"),
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
