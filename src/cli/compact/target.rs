//! What objects are to be, as the command line and the stream's format say.

use std::sync::Arc;

use super::part::Target;
use crate::block::Codec;
use crate::cli::Error;
use crate::cli::columns::Layout;
use crate::record::TagTable;
use crate::settings::{Arguments, program_again};

/// What objects are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Lines(Codec),
    /// With zstd of this level.
    Parquet(u8),
}

/// The level where none is given, as zstd has it.
const LEVEL: u8 = 3;

/// Reads what objects are to be.
///
/// # Errors
/// What is accepted.
pub(super) fn form(text: &str) -> Result<To, String> {
    let wrong = || {
        "expected gzip, gzip:0 to gzip:9, zstd, zstd:1 to zstd:15, parquet or parquet:1 to parquet:15"
            .to_owned()
    };
    if let Some(level) = text.strip_prefix("parquet") {
        let level = match level.strip_prefix(':') {
            None if level.is_empty() => Some(LEVEL),
            level => level.and_then(|level| level.parse().ok()),
        };
        return level.filter(|level| (1..=15).contains(level)).map(To::Parquet).ok_or_else(wrong);
    }
    match text.parse() {
        Ok(Codec::Gzip(level)) => Ok(To::Lines(Codec::Gzip(level))),
        Ok(Codec::Zstd(level @ 1..=15)) => Ok(To::Lines(Codec::Zstd(level))),
        _ => Err(wrong()),
    }
}

/// Whether `--format` has something to be the format of.
///
/// # Errors
/// Objects without columns, or more than one stream.
pub(super) fn may_have_format(to: To, format: &str, streams: &[&str]) -> Result<(), Error> {
    if let To::Lines(codec) = to {
        return Err(Error::Usage(format!(
            "--format {format:?}: it gives Parquet its columns, and --to {codec} keeps lines as they are; give \
             --to parquet, or no --format"
        )));
    }
    if let [_, _, ..] = streams {
        return Err(Error::Usage(format!(
            "--format {format:?}: it is the format of one stream, and there are {} ({}); name one stream, or \
             have each stream's format in the settings file",
            streams.len(),
            streams.join(", ")
        )));
    }
    Ok(())
}

/// What the objects of a stream are made, with its settings; whether they are to be encrypted.
///
/// # Errors
/// No format, or one that cannot be used.
pub(super) fn target(to: To, settings: &Arguments, encrypted: bool) -> Result<Target, Error> {
    let level = match to {
        To::Lines(codec) => return Ok(Target::Lines(codec)),
        To::Parquet(level) => level,
    };
    let stream = settings.stream();
    if encrypted {
        return Err(Error::Usage(
            "--encrypt-to: a Parquet object is not encrypted, because no query engine could read it; use \
             --to zstd or --unencrypted"
                .to_owned(),
        ));
    }
    if settings.get("format").is_none() {
        return Err(Error::Usage(format!(
            "stream {stream}: --to parquet needs the format of its lines, and the settings have none: give \
             --format FORMAT, or format in the settings file, as in VCL"
        )));
    }
    // The lines are there, as a build before has printed them.
    let (program, _) = program_again(settings, &TagTable::varnish_7())?;
    let layout = Layout::of(&program).map_err(|problem| settings.problem("format", problem))?;
    Ok(Target::Columns(Arc::new(layout), level))
}

#[cfg(all(test, feature = "parquet"))]
mod tests {
    use super::*;

    #[test]
    fn lines_with_a_time_that_only_a_later_build_refuses_become_columns() {
        let mut arguments = Arguments::new("access");
        arguments.set("format", Some("%h %{secs}t %s".to_owned()));
        assert!(target(To::Parquet(1), &arguments, false).is_ok());
        arguments.set("format", Some("%h %y %s".to_owned()));
        assert!(target(To::Parquet(1), &arguments, false).is_err());
    }
}
