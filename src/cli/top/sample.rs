//! What a node says at one moment, and what two moments say together.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::cli::terminal::when;
use crate::cli::varnishd::{StreamCounters, Varnishd};

/// Moments that are kept: ten minutes at one a second.
const MOST: usize = 600;

/// Over how many of the last moments a rate is taken.
const RATE: usize = 5;

/// Over how much time answers are counted, ns: a minute.
const LATELY: u64 = 60_000_000_000;

/// A node at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// ns since 1970.
    pub(super) at: u64,
    /// Each stream and route, by name.
    pub(super) streams: Vec<StreamCounters>,
    /// Seconds that the cache process runs.
    pub(super) uptime: Option<u64>,
    /// Why there are no counters.
    pub(super) problem: Option<String>,
}

impl Sample {
    /// Asks `varnishd` now.
    pub(super) fn take(varnishd: &Varnishd) -> Self {
        let at = when::now();
        match varnishd.counters() {
            Ok(counters) => {
                let uptime = counters.main("uptime");
                Self { at, uptime, streams: counters.streams, problem: None }
            }
            Err(error) => Self { at, problem: Some(error.to_string()), ..Self::default() },
        }
    }

    fn stream(&self, name: &str) -> Option<&StreamCounters> {
        self.streams.iter().find(|stream| stream.name == name)
    }
}

/// Why records were lost, by counter.
pub(super) const DROPS: [(&str, &str); 6] = [
    ("shed_high", "ring full, high"),
    ("shed_normal", "ring full, normal"),
    ("shed_low", "ring full, low"),
    ("dropped_spool", "spool full"),
    ("dropped_end", "end unseen"),
    ("dropped_panic", "panic"),
];

/// What upload attempts were answered, by counter.
pub(super) const ANSWERS: [(&str, &str); 5] = [
    ("answers_2xx", "2xx"),
    ("answers_3xx", "3xx"),
    ("answers_4xx", "4xx"),
    ("answers_5xx", "5xx"),
    ("answers_none", "none"),
];

/// What a stream does now. What a module of an older release does not count is `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    /// The stream, and its route for all but the first.
    pub(super) stream: String,
    /// Records a second into the pipeline, taken or dropped; `None` in the first moment.
    pub(super) records_in: Option<f64>,
    /// Records a second that the gateway stored.
    pub(super) records_out: Option<f64>,
    /// Uncompressed bytes a second.
    pub(super) bytes_in: Option<f64>,
    /// Stored bytes a second.
    pub(super) bytes_out: Option<f64>,
    /// Records a second that were lost, for whatever cause.
    pub(super) drops: Option<f64>,
    pub(super) ring_used: u64,
    pub(super) ring_high_water: u64,
    pub(super) ring_size: u64,
    /// The open block included.
    pub(super) waiting_blocks: u64,
    pub(super) waiting_records: u64,
    pub(super) waiting_bytes: u64,
    /// Most bytes that waited since `top` was started.
    pub(super) waiting_high_water: u64,
    /// Bytes in the spool that `spool_max` counts.
    pub(super) spool_used: Option<u64>,
    /// Most of them since the start of the cache process.
    pub(super) spool_high_water: Option<u64>,
    pub(super) spool_max: Option<u64>,
    /// Blocks that are being uploaded.
    pub(super) uploading_blocks: Option<u64>,
    pub(super) uploading_bytes: Option<u64>,
    /// Of these bytes, those that are sent.
    pub(super) uploading_sent: Option<u64>,
    /// Age of the oldest record that is not stored, seconds.
    pub(super) lag: u64,
    /// HTTP status of the last answer; 0 before the first, or where there was no answer.
    pub(super) last_status: u64,
    /// Upload attempts since the start of the cache process, by the class of their answer.
    pub(super) answers: Option<BTreeMap<&'static str, u64>>,
    /// Those of the last minute, or since `top` was started: how many seconds that is, and the attempts in the
    /// order of [`ANSWERS`]. `None` at the first moment.
    #[serde(skip)]
    pub(super) answers_lately: Option<(u64, [u64; ANSWERS.len()])>,
    pub(super) uploaded_blocks: u64,
    pub(super) failed_attempts: u64,
    pub(super) quarantined_blocks: u64,
    pub(super) held_blocks: u64,
    pub(super) truncated: u64,
    pub(super) incomplete: u64,
    /// All that was lost since the start of the cache process.
    pub(super) dropped: u64,
    /// The same by cause, in the order of [`DROPS`].
    pub(super) dropped_by: [u64; DROPS.len()],
    /// Uncompressed bytes by bytes as stored; `None` before there are any.
    pub(super) compression: Option<f64>,
}

/// The last moments.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
}

impl History {
    pub(super) fn push(&mut self, sample: Sample) {
        if self.samples.len() >= MOST {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    pub(super) fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// What each stream does in the last moment.
    pub(super) fn rows(&self) -> Vec<Row> {
        let Some(last) = self.last() else { return Vec::new() };
        last.streams.iter().map(|stream| self.row(stream)).collect()
    }

    fn row(&self, now: &StreamCounters) -> Row {
        let (get, find) = (|name| now.get(name), |name| now.find(name));
        let rate = |names: &[&str]| self.rate(&now.name, names);
        let dropped_by = DROPS.map(|(counter, _)| get(counter));
        let stored = get("stored_bytes");
        let compression = (stored > 0).then(|| get("raw_bytes") as f64 / stored as f64);
        Row {
            stream: now.name.clone(),
            records_in: rate(&["records", "dropped_ring", "dropped_end", "dropped_panic"]),
            records_out: rate(&["uploaded_records"]),
            bytes_in: rate(&["raw_bytes"]),
            bytes_out: rate(&["uploaded_bytes"]),
            drops: rate(&["dropped_ring", "dropped_spool", "dropped_end", "dropped_panic"]),
            ring_used: get("ring_used"),
            ring_high_water: get("ring_high_water"),
            ring_size: get("ring_size"),
            waiting_blocks: get("spooled_blocks"),
            waiting_records: get("spooled_records"),
            waiting_bytes: get("spooled_bytes"),
            waiting_high_water: self.series(&now.name, "spooled_bytes").max().unwrap_or_default(),
            spool_used: find("spool_used"),
            spool_high_water: find("spool_high_water"),
            spool_max: find("spool_max"),
            uploading_blocks: find("uploading_blocks"),
            uploading_bytes: find("uploading_bytes"),
            uploading_sent: find("uploading_sent"),
            lag: get("oldest_unsent"),
            last_status: get("last_status"),
            answers: ANSWERS.iter().map(|(name, class)| Some((*class, find(name)?))).collect(),
            answers_lately: self.answers_lately(now),
            uploaded_blocks: get("blocks_uploaded"),
            failed_attempts: get("upload_retries"),
            quarantined_blocks: get("quarantined_blocks"),
            held_blocks: get("held_blocks"),
            truncated: get("truncated"),
            incomplete: get("incomplete"),
            dropped: dropped_by.iter().sum(),
            dropped_by,
            compression,
        }
    }

    /// The last moments with this stream, newest first, up to a start of the cache process.
    fn since_start<'a>(&'a self, stream: &'a str) -> impl Iterator<Item = &'a Sample> + 'a {
        let uptime = self.last().and_then(|end| end.uptime);
        let goes_on = move |one: &&Sample| one.stream(stream).is_some() && one.uptime <= uptime;
        self.samples.iter().rev().take_while(goes_on)
    }

    /// The answers of the last minute; `None` at the first moment.
    fn answers_lately(&self, now: &StreamCounters) -> Option<(u64, [u64; ANSWERS.len()])> {
        let end = self.last()?;
        now.find(ANSWERS[0].0)?;
        let moments = self.since_start(&now.name);
        let first = moments.take_while(|one| end.at.saturating_sub(one.at) <= LATELY).last()?;
        let before = first.stream(&now.name)?;
        let span = Some(end.at.saturating_sub(first.at)).filter(|span| *span > 0)?;
        let grown = ANSWERS.map(|(name, _)| now.get(name).saturating_sub(before.get(name)));
        Some((span.div_ceil(1_000_000_000), grown))
    }

    /// The sum of counters a second, over the last moments; `None` where there is only one, or where the
    /// cache process has started in between.
    fn rate(&self, stream: &str, names: &[&str]) -> Option<f64> {
        let end = self.samples.back()?;
        let first = self.since_start(stream).take(RATE + 1).last();
        let first = first.filter(|first| first.at < end.at)?;
        let sum = |sample: &Sample| -> Option<u64> {
            let stream = sample.stream(stream)?;
            Some(names.iter().map(|name| stream.get(name)).sum())
        };
        let seconds = (end.at - first.at) as f64 / 1e9;
        Some(sum(end)?.saturating_sub(sum(first)?) as f64 / seconds)
    }

    /// A gauge in each moment, oldest first.
    pub(super) fn series<'a>(
        &'a self,
        stream: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = u64> + 'a {
        let of = move |sample: &Sample| sample.stream(stream).map_or(0, |stream| stream.get(name));
        self.samples.iter().map(of)
    }

    /// How much a counter grew from each moment to the next.
    pub(super) fn growth(&self, stream: &str, name: &str) -> Vec<u64> {
        let all: Vec<u64> = self.series(stream, name).collect();
        all.windows(2).map(|two| if let [a, b] = two { b.saturating_sub(*a) } else { 0 }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn sample(second: u64, values: &[(&str, u64)]) -> Sample {
        let streams = vec![StreamCounters::example("access", values)];
        Sample { at: second * SECOND, streams, uptime: Some(second), problem: None }
    }

    #[test]
    fn rates_are_those_of_the_last_moments_and_begin_anew_with_the_cache_process() {
        let mut history = History::default();
        history.push(sample(1, &[("records", 0)]));
        assert_eq!(history.rows()[0].records_in, None, "one moment has no rate");
        history.push(sample(2, &[("records", 100), ("dropped_ring", 50)]));
        assert_eq!(history.rows()[0].records_in, Some(150.0));
        for second in 3..20 {
            history.push(sample(second, &[("records", 100), ("dropped_ring", 50)]));
        }
        assert_eq!(history.rows()[0].records_in, Some(0.0));
        // It has started again: its counters are smaller, and that is no rate.
        history.push(Sample { uptime: Some(0), ..sample(20, &[("records", 7)]) });
        assert_eq!(history.rows()[0].records_in, None);
    }

    #[test]
    fn high_water_and_growth_are_over_all_that_is_kept() {
        let mut history = History::default();
        for (second, bytes) in [(1, 5), (2, 9), (3, 4)] {
            history.push(sample(second, &[("spooled_bytes", bytes), ("records", second * second)]));
        }
        let [row] = &*history.rows() else { panic!("one stream") };
        assert_eq!((row.waiting_bytes, row.waiting_high_water), (4, 9));
        assert_eq!(history.growth("access", "records"), [3, 5]);
        for second in 4..2_000 {
            history.push(sample(second, &[]));
        }
        assert_eq!(history.samples.len(), MOST);
    }

    #[test]
    fn answers_are_those_of_the_last_minute_and_of_this_cache_process() {
        let mut history = History::default();
        let lately = |history: &History| history.rows()[0].answers_lately;
        for second in 1..=90 {
            let mut values = ANSWERS.map(|(name, _)| (name, 7));
            values[0].1 = 3 * second;
            history.push(sample(second, &values));
        }
        assert_eq!(lately(&history), Some((60, [180, 0, 0, 0, 0])));
        let answers = history.rows().remove(0).answers.unwrap();
        assert_eq!((answers["2xx"], answers["none"]), (270, 7));
        let now = Sample { uptime: Some(0), ..sample(91, &[("answers_2xx", 1)]) };
        history.push(now);
        assert_eq!(lately(&history), None, "it has started again");
    }

    #[test]
    fn what_a_module_of_an_older_release_does_not_count_is_not_shown_as_0() {
        let mut history = History::default();
        history.push(sample(1, &[("records", 5), ("spooled_bytes", 7), ("last_status", 200)]));
        let [row] = &*history.rows() else { panic!("one stream") };
        assert_eq!((row.waiting_bytes, row.last_status), (7, 200));
        let unknown = [row.spool_used, row.spool_high_water, row.spool_max, row.uploading_blocks];
        assert_eq!((unknown, &row.answers, row.answers_lately), ([None; 4], &None, None));
        let object = serde_json::to_value(row).unwrap();
        assert_eq!((&object["answers"], &object["spool_max"]), (&().into(), &().into()));
    }

    #[test]
    fn drops_by_cause_add_up() {
        let mut history = History::default();
        history.push(sample(1, &[("shed_low", 1), ("shed_high", 2), ("dropped_panic", 4)]));
        let [row] = &*history.rows() else { panic!("one stream") };
        assert_eq!((row.dropped, row.dropped_by), (7, [2, 0, 1, 0, 0, 4]));
    }
}
