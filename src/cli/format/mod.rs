//! `s3log format`: a format of Fastly's or varnishncsa's as a stream of this module.
//!
//! Needs neither a bucket nor a Varnish: it compiles the format as the module does, for the log tags of
//! Varnish 7.4 to 7.7, and prints the line of an example request.
//!
//! Non-goals: conditions (`-q`, `response_condition`), which stay a person's business in VCL.

mod varnishncsa;
mod vcl;

use std::io::{Read as _, Write};
use std::process::ExitCode;

use self::varnishncsa::CommandLine;
use self::vcl::{Vcl, literal};
use super::Error;
use super::terminal::output::json;
use crate::printable::printable;
use crate::record::{Converted, SetValue, Side, TagTable, convert};
use crate::settings::{self, Arguments};

/// Longest format that is read from standard input.
const INPUT_MAX: u64 = 1 << 20;

/// A format, or a command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
                  s3log format '%h %l %u %t \"%r\" %>s %b'\n  \
                  s3log format varnishncsa -j -F '{\"url\":\"%U\",\"status\":%s}' -q 'RespStatus >= 500'\n  \
                  s3log format < fastly-format.json\n\n\
                  A command line begins with varnishncsa, and may also be one argument, as it is in a \
                  unit file, whose %% is a percent sign. Everything else is a format of Fastly's, or with --dialect varnishncsa one \
                  of varnishncsa's. Prints VCL; what has no counterpart, and the line of an example \
                  request, follow as comments. In the VCL, endpoint, bucket and credentials are an \
                  example's.\n\n\
                  Exit codes: 0 translated, 1 something is left to do, which is listed, 2 invalid \
                  arguments or format.")]
pub(super) struct FormatArgs {
    /// Name of the stream in the VCL.
    #[arg(long, default_value = "access", value_name = "NAME")]
    stream: String,
    /// Which rules a bare format goes by: apache (Fastly's) or varnishncsa.
    #[arg(long, default_value = "apache", value_name = "DIALECT", value_parser = ["apache", "varnishncsa"])]
    dialect: String,
    /// Print one JSON object instead of VCL.
    #[arg(long)]
    json: bool,
    /// The format, or varnishncsa with its options. Default: standard input.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FORMAT")]
    words: Vec<String>,
}

/// Prints the stream, what is left to do, and an example's line.
///
/// # Errors
/// A format that cannot be compiled, a command line that varnishncsa would refuse, or the output.
pub(super) fn run(arguments: &FormatArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    if !is_name(&arguments.stream) {
        let text = format!("--stream is {:?}: it accepts a name of VCL", arguments.stream);
        return Err(Error::Usage(text));
    }
    let wanted = Wanted::of(arguments)?;
    let mut given = Arguments::new(&arguments.stream);
    // What a process would ask the system for; no line of an example depends on it.
    given.set("hostname", Some("edge".to_owned()));
    let mut pairs: Vec<(&'static str, &str)> = vec![("dialect", &wanted.dialect)];
    if wanted.line.json {
        pairs.push(("escape", "json"));
    }
    if wanted.line.esi {
        pairs.push(("esi", "true"));
    }
    for (name, value) in &pairs {
        given.set(name, Some((*value).to_owned()));
    }
    let converted = match &wanted.format {
        Some(format) if !wanted.command => convert(format, &settings::line(&given)?),
        format => Converted { format: format.clone().unwrap_or_default(), ..Converted::default() },
    };
    let Converted { format, values, untranslated } = &converted;
    if wanted.format.is_some() {
        pairs.push(("format", format));
        given.set("format", Some(format.clone()));
    }
    let mut left: Vec<(String, String)> = untranslated
        .iter()
        .map(|one| (format!("column {}: {}", one.column, one.expression), one.advice.clone()))
        .collect();
    left.extend(
        wanted.line.left.iter().map(|(given, advice)| (given.clone(), (*advice).to_owned())),
    );

    let program = settings::program(&given, &TagTable::varnish_7())
        .map_err(|error| Error::of_format("format", error))?;

    let set: Vec<_> = values.iter().filter_map(example).collect();
    let sides = [(Side::Client, wanted.line.client), (Side::Backend, wanted.line.backend)];
    let samples: Vec<String> = sides
        .into_iter()
        .filter(|(_, wanted)| *wanted)
        .map(|(side, _)| String::from_utf8_lossy(&program.example(side, &set)).into_owned())
        .map(|line| line.trim_end_matches('\n').to_owned())
        .collect();

    // The default says nothing.
    pairs.retain(|pair| *pair != ("dialect", "apache"));
    if arguments.json {
        let settings: serde_json::Map<String, serde_json::Value> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let set: Vec<_> = values
            .iter()
            .map(|value| {
                serde_json::json!({
                    "key": value.key,
                    "expression": value.expression,
                    "if": value.either.as_ref().map(|(condition, _)| condition),
                    "else": value.either.as_ref().map(|(_, otherwise)| otherwise),
                    "varnish": value.varnish,
                })
            })
            .collect();
        let todo: Vec<_> = left
            .iter()
            .map(|(what, advice)| serde_json::json!({ "given": what, "advice": advice }))
            .collect();
        let object = serde_json::json!({
            "arguments": settings, "set": set, "untranslated": todo, "samples": samples,
        });
        json(out, &object)?;
    } else {
        let literals = pairs.iter().map(|(name, value)| match *name {
            "esi" => (*name, (*value).to_owned()),
            _ => (*name, literal(value)),
        });
        let vcl = Vcl {
            stream: &arguments.stream,
            arguments: literals.collect(),
            values,
            client: wanted.line.client,
            backend: wanted.line.backend,
        };
        out.write_all(vcl.text().as_bytes())?;
        comments(out, &left, &samples)?;
    }
    Ok(ExitCode::from(u8::from(!left.is_empty())))
}

/// What expressions are in the example.
const EXAMPLES: &[(&str, &str)] = &[
    ("client.ip", "192.0.2.7"),
    ("obj.hits", "1"),
    ("req.http.Host", "www.example.com"),
    ("req.http.Referer", "http://ref.example/"),
    ("req.http.User-Agent", "curl/8.0 \"quoted\""),
    ("req.method", "GET"),
    ("req.proto", "HTTP/1.1"),
    ("req.restarts", "0"),
    ("req.url", "/path/x?a=1&b=2"),
    ("resp.reason", "Not Modified"),
    ("resp.status", "304"),
    ("server.hostname", "edge-1"),
    ("server.identity", "edge-1"),
];

/// What VCL sets in the example, as far as it is known; of two values the first one that is.
fn example(value: &SetValue) -> Option<(&str, &str)> {
    let of = |text: &str| -> Option<&str> {
        let known = EXAMPLES.iter().find(|(known, _)| known.eq_ignore_ascii_case(text));
        known.map(|(_, value)| *value)
    };
    let otherwise = || value.either.as_ref().and_then(|(_, otherwise)| of(otherwise));
    Some((value.key.as_str(), of(&value.expression).or_else(otherwise)?))
}

fn comments(
    out: &mut dyn Write,
    left: &[(String, String)],
    samples: &[String],
) -> Result<(), Error> {
    if !left.is_empty() {
        writeln!(out, "\n# Left to do:")?;
    }
    for (what, advice) in left {
        writeln!(out, "#   {}: {}", printable(what), printable(advice))?;
    }
    writeln!(out, "\n# An example:")?;
    for sample in samples {
        writeln!(out, "#   {}", printable(sample))?;
    }
    Ok(())
}

/// Whether VCL takes it for the name of an object.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What was asked for.
struct Wanted {
    dialect: String,
    line: CommandLine,
    /// As it was given; `None` for the dialect's own.
    format: Option<String>,
    /// It stood in a command line: it is no format of Fastly's.
    command: bool,
}

impl Wanted {
    fn of(arguments: &FormatArgs) -> Result<Self, Error> {
        let mut words = arguments.words.clone();
        let text = match words.as_slice() {
            [] => {
                let mut text = String::new();
                let input = &mut std::io::stdin().lock().take(INPUT_MAX);
                input
                    .read_to_string(&mut text)
                    .map_err(|error| Error::Usage(format!("standard input: {error}")))?;
                text
            }
            [only] => only.clone(),
            _ => String::new(),
        };
        if words.len() < 2 && is_command(&text) {
            words = varnishncsa::split(&text).map_err(Error::Usage)?;
        }
        let command = words.first().is_some_and(|first| is_command(first));
        if command && let Some((_, options)) = words.split_first() {
            let line = varnishncsa::read(options).map_err(Error::Usage)?;
            let (dialect, format) = ("varnishncsa".to_owned(), line.format.clone());
            return Ok(Self { dialect, line, format, command: true });
        }
        if words.len() > 1 {
            let text = "more than one argument: quote the format, or begin with varnishncsa";
            return Err(Error::Usage(text.to_owned()));
        }
        let text = text.trim_end_matches(['\n', '\r']);
        if text.trim().is_empty() {
            return Err(Error::Usage("the format is empty".to_owned()));
        }
        let line = CommandLine { client: true, ..CommandLine::default() };
        let (dialect, format) = (arguments.dialect.clone(), Some(text.to_owned()));
        Ok(Self { dialect, line, format, command: false })
    }
}

/// Whether the first word is varnishncsa, by whatever path.
fn is_command(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    first.rsplit('/').next() == Some("varnishncsa")
}
