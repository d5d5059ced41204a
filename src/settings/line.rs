//! A stream's format, and how its lines look.

use super::arguments::{Arguments, Error};
use super::destination::host;
use crate::record::{
    Dialect, Escape, MAX_LINE_DEFAULT, MessageType, NotASample, Options, Program, Sample, TagTable,
    Zone,
};

/// Fastly's combined format, the default.
const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;

/// The same for varnishncsa, which knows no `%>s`.
const NCSA: &str = "%{Varnish:default_format}x";

/// The format, which has a default in each dialect.
#[must_use]
pub fn format(arguments: &Arguments, dialect: Dialect) -> &str {
    arguments.get("format").unwrap_or(match dialect {
        Dialect::Apache => COMBINED,
        Dialect::Varnishncsa => NCSA,
    })
}

/// The format, compiled for the Varnish whose tags are `tags`.
///
/// # Errors
/// The first argument that cannot be used: `format` comes last.
pub fn program(arguments: &Arguments, tags: &TagTable) -> Result<Program, Error> {
    let options = line(arguments)?;
    Program::compile(format(arguments, options.dialect), &options, tags)
        .map_err(|error| arguments.problem("format", error))
}

/// The same for arguments that may have worked before: what only a later build refuses of the format is told
/// beside the program.
///
/// # Errors
/// As for [`program`].
pub fn program_again(
    arguments: &Arguments,
    tags: &TagTable,
) -> Result<(Program, Option<Error>), Error> {
    let options = line(arguments)?;
    let problem = |error| arguments.problem("format", error);
    let (program, refused) =
        Program::compile_again(format(arguments, options.dialect), &options, tags)
            .map_err(problem)?;
    Ok((program, refused.map(problem)))
}

/// Which transactions have a line.
///
/// # Errors
/// It is no share.
pub fn sample(arguments: &Arguments) -> Result<Sample, Error> {
    let bad = |takes: NotASample| arguments.bad("sample", takes.to_string());
    Ok(arguments
        .get("sample")
        .map(|text| text.parse().map_err(bad))
        .transpose()?
        .unwrap_or_default())
}

/// What its lines go by.
///
/// # Errors
/// The first argument that cannot be used.
pub fn line(arguments: &Arguments) -> Result<Options, Error> {
    let max_line = arguments.bytes("max_line")?;
    Ok(Options {
        dialect: arguments
            .choice(
                "dialect",
                &[("apache", Dialect::Apache), ("varnishncsa", Dialect::Varnishncsa)],
            )?
            .unwrap_or_default(),
        escape: arguments.choice(
            "escape",
            &[
                ("clf", Escape::Clf),
                ("json", Escape::Json),
                ("tsv", Escape::Tsv),
                ("none", Escape::None),
            ],
        )?,
        message: arguments
            .choice(
                "message_type",
                &[
                    ("blank", MessageType::Blank),
                    ("classic", MessageType::Classic),
                    ("loggly", MessageType::Loggly),
                    ("logplex", MessageType::Logplex),
                ],
            )?
            .unwrap_or_default(),
        hostname: host(arguments),
        tag: arguments.get("tag").unwrap_or(arguments.stream()).to_owned(),
        pid: std::process::id(),
        max_line: usize::try_from(max_line).unwrap_or(MAX_LINE_DEFAULT),
        zone: arguments.choice("timezone", &[("utc", Zone::Utc), ("local", Zone::Local)])?,
        sample: sample(arguments)?,
        heal: true,
    })
}
