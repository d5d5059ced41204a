//! What `varnishstat -j` says.

use std::collections::BTreeMap;

use serde_json::Value;

/// The counters of one stream, by their names in [`crate::stats::STATS`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct StreamCounters {
    /// As in `S3LOG.NAME.records`: the stream, and its route for all but the first.
    pub(in crate::cli) name: String,
    values: BTreeMap<String, u64>,
}

impl StreamCounters {
    /// The value of a counter; 0 for one that this release of the module has not.
    pub(in crate::cli) fn get(&self, name: &str) -> u64 {
        self.find(name).unwrap_or_default()
    }

    /// The value of a counter, if this release of the module has it.
    pub(in crate::cli) fn find(&self, name: &str) -> Option<u64> {
        self.values.get(name).copied()
    }

    /// One with these values.
    #[cfg(test)]
    pub(in crate::cli) fn example(name: &str, values: &[(&str, u64)]) -> Self {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Self { name: name.to_owned(), values }
    }
}

/// The counters of a varnishd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct Counters {
    /// Those of the module, by the stream's name.
    pub(in crate::cli) streams: Vec<StreamCounters>,
    main: BTreeMap<String, u64>,
}

impl Counters {
    /// Reads the output of `varnishstat -j`, also as it was before Varnish 6.5: without `counters`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let all: Value = serde_json::from_str(text).ok()?;
        let counters = all.get("counters").unwrap_or(&all).as_object()?;
        let mut streams: BTreeMap<&str, StreamCounters> = BTreeMap::new();
        let mut main = BTreeMap::new();
        for (name, about) in counters {
            let Some(value) = about.get("value").and_then(Value::as_u64) else { continue };
            if let Some(name) = name.strip_prefix("MAIN.") {
                main.insert(name.to_owned(), value);
            } else if let Some(name) = name.strip_prefix("S3LOG.")
                && let Some((stream, counter)) = name.rsplit_once('.')
            {
                let stream = streams.entry(stream).or_insert_with(|| StreamCounters {
                    name: stream.to_owned(),
                    values: BTreeMap::new(),
                });
                stream.values.insert(counter.to_owned(), value);
            }
        }
        Some(Self { streams: streams.into_values().collect(), main })
    }

    /// One of Varnish's own, such as `uptime`.
    pub(in crate::cli) fn main(&self, name: &str) -> Option<u64> {
        self.main.get(name).copied()
    }

    /// Those of these streams.
    #[cfg(test)]
    pub(in crate::cli) fn example(streams: Vec<StreamCounters>, main: &[(&str, u64)]) -> Self {
        let main = main.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Self { streams, main }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_stream_in_both_forms() {
        let inner = r#"{"S3LOG.access.records": {"description": "x", "flag": "c", "value": 5},
            "S3LOG.a.b.records": {"value": 7}, "MAIN.uptime": {"value": 9}, "timestamp": "x"}"#;
        for text in [inner.to_owned(), format!(r#"{{"version": 1, "counters": {inner}}}"#)] {
            let read = Counters::read(&text).unwrap();
            let streams: Vec<_> =
                read.streams.iter().map(|one| (&*one.name, one.get("records"))).collect();
            assert_eq!(streams, [("a.b", 7), ("access", 5)]);
            assert_eq!((read.main("uptime"), read.main("sess_conn")), (Some(9), None));
        }
        assert_eq!(Counters::read("{"), None);
    }
}
