//! `s3log check --varnish`: what of a running varnishd's log its streams need, and what `vsl_mask` may hide.
//!
//! | file | what |
//! |---|---|
//! | `vcl` | the streams of a VCL, and from which side their lines are |
//! | `prices` | what each tag costs a hit |
//!
//! Non-goals: it changes nothing, and does not know who else reads the log.

mod prices;
mod vcl;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use self::vcl::Source;
use super::check::{CheckArgs, Mark, Step, printer};
use super::terminal::output::count;
use super::varnishd::{Mask, Varnishd};
use super::{Error, program};
use crate::record::{NamedTag, Need, Side, TagTable, When};
use crate::settings;

/// What all the streams need.
#[derive(Default)]
struct Needs {
    /// Tags that every line of some stream needs, the first of those of which one is enough.
    always: BTreeSet<String>,
    /// What every line needs and the mask hides now, as sentences; and the tags to unmask.
    lacking: Vec<(String, String)>,
    /// What lines of restarted requests lack where the recommended tags are hidden.
    restarted: BTreeSet<String>,
}

/// Says what is needed and what is not, and how to set the mask.
///
/// # Errors
/// No varnishd of the name, settings of a stream that cannot be used, or the output.
pub(super) fn run(arguments: &CheckArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let name = arguments.varnish.as_deref().filter(|name| *name != Path::new(""));
    let varnishd = Varnishd::find(name)?;
    let nobody = |error: Error| error.with_code(3);
    let parameters = varnishd.parameters().map_err(nobody)?;
    let mask = parameters
        .get("vsl_mask")
        .ok_or_else(|| nobody(program::failed("varnishadm", "printed no parameter vsl_mask")))?;
    let mask = Mask::read(mask);
    let source = Source::read(&varnishd.vcl().map_err(nobody)?);
    let mut steps = Steps { tell: &mut printer(out, arguments.json), stream: String::new() };
    let named = |stream: &&vcl::Stream| {
        arguments.streams.is_empty() || arguments.streams.contains(&stream.name)
    };
    let streams: Vec<&vcl::Stream> = source.streams.iter().filter(named).collect();
    if streams.is_empty() {
        let text = "no stream of s3log is in the VCLs in use".to_owned();
        return Err(Error::Usage(text));
    }
    let mut needs = Needs::default();
    for stream in streams {
        stream_needs(stream, &source, &mask, &mut needs, &mut steps)?;
    }
    steps.stream = String::new();
    report(&varnishd, &mask, &needs, &mut steps)?;
    Ok(ExitCode::from(if needs.lacking.is_empty() { 0 } else { 8 }))
}

struct Steps<'a> {
    tell: &'a mut dyn FnMut(&Step<'_>) -> Result<(), Error>,
    stream: String,
}

impl Steps<'_> {
    fn say(&mut self, name: &str, mark: Mark, text: &str) -> Result<(), Error> {
        (self.tell)(&Step { stream: &self.stream, name, mark, text })
    }
}

/// One stream: what its lines need, and whether that is there.
fn stream_needs(
    stream: &vcl::Stream,
    source: &Source,
    mask: &Mask,
    needs: &mut Needs,
    steps: &mut Steps<'_>,
) -> Result<(), Error> {
    steps.stream.clone_from(&stream.name);
    let mut arguments = stream.arguments.clone();
    if let Some(file) = &stream.config {
        arguments.fill_from_file(file.as_ref())?;
    }
    let program = settings::program(&arguments, &TagTable::varnish_7())?;
    let sides = source.sides(&stream.name);
    let found: Vec<Need> = sides.iter().flat_map(|side| program.needs(*side)).collect();
    let esi = arguments.flag("esi")?;
    let each: Vec<&Need> = found.iter().filter(|need| need.when.is_each(esi)).collect();
    // What the recommended mask shows is there anyway.
    let shown = |tag: &NamedTag| !prices::RECOMMENDED.contains(&tag.name.as_str());
    let show = Need::to_show(&each, &shown);
    let mut tags: BTreeSet<String> = show.iter().map(|tag| tag.name.clone()).collect();
    let mut lacking = Vec::new();
    for need in each.iter().filter(|need| need.is_hidden(&|tag| mask.hides(&tag.name))) {
        if let Some(kept) = need.tags.iter().find(|tag| show.contains(tag)) {
            lacking.push((need.to_string(), kept.name.clone()));
        }
    }
    let of = match sides.as_slice() {
        [] => " (.log() is not called)",
        [Side::Client] => " of requests",
        [Side::Backend] => " of fetches",
        _ => " of requests and fetches",
    };
    if lacking.is_empty() {
        let list: Vec<&str> = tags.iter().map(String::as_str).collect();
        let text = match list.as_slice() {
            [] => format!("stream {}: lines{of} need no tag of the log", stream.name),
            list => format!(
                "stream {}: lines{of} need {}, which vsl_mask shows",
                stream.name,
                list.join(", ")
            ),
        };
        steps.say("needs", Mark::Ok, &text)?;
    } else {
        let texts: Vec<&str> = lacking.iter().map(|(text, _)| text.as_str()).collect();
        let text = format!(
            "stream {}: vsl_mask hides what lines{of} need, so that values are missing: {}",
            stream.name,
            texts.join("; ")
        );
        steps.say("needs", Mark::Failed, &text)?;
    }
    if source.restarts {
        let changed = found.iter().filter(|need| need.when == When::Restarted);
        needs.restarted.extend(changed.flat_map(|need| need.fields.clone()));
    }
    needs.always.append(&mut tags);
    needs.lacking.append(&mut lacking);
    Ok(())
}

/// The mask: what to unmask, what to hide, what that saves, and how it is taken back.
fn report(
    varnishd: &Varnishd,
    mask: &Mask,
    needs: &Needs,
    steps: &mut Steps<'_>,
) -> Result<(), Error> {
    let set = |patience: &str, sign: char, tags: &[&str]| {
        let tags: Vec<String> = tags.iter().map(|tag| format!("{sign}{tag}")).collect();
        format!("varnishadm{}{patience} param.set vsl_mask {}", varnishd.option(), tags.join(","))
    };
    if !needs.lacking.is_empty() {
        let tags: BTreeSet<&str> = needs.lacking.iter().map(|(_, tag)| tag.as_str()).collect();
        let tags: Vec<&str> = tags.into_iter().collect();
        let text = format!("show what is needed: {}", set("", '+', &tags));
        steps.say("unmask", Mark::Note, &text)?;
    }
    let needless = |tag: &&str| !needs.always.contains(*tag);
    let hide: Vec<&str> = prices::RECOMMENDED.into_iter().filter(needless).collect();
    let more: Vec<&str> = hide.iter().copied().filter(|tag| !mask.hides(tag)).collect();
    if more.is_empty() {
        steps.say("mask", Mark::Ok, "vsl_mask hides all that is recommended")?;
    } else {
        let saved = prices::saved(&more);
        let text = format!(
            "no stream needs {}: a hit takes {} instructions less without them, {:.0} % of it (measured with \
             Varnish 7.7)",
            more.join(", "),
            count(saved.instructions),
            saved.share * 100.0
        );
        steps.say("mask", Mark::Note, &text)?;
        if !needs.restarted.is_empty() {
            let fields: Vec<&str> = needs.restarted.iter().map(String::as_str).collect();
            let text = format!(
                "VCL restarts requests: where it also changes one of {}, the line is incomplete without \
                 them",
                fields.join(", ")
            );
            steps.say("restarts", Mark::Note, &text)?;
        }
        let text = "without them varnishlog shows requests with -g raw only; varnishncsa and varnishhist show none";
        steps.say("readers", Mark::Note, text)?;
        steps.say("now", Mark::Note, &set("", '-', &more))?;
        steps.say("back", Mark::Note, &set("", '+', &more))?;
    }
    let text = format!(
        "in a drop-in of varnish.service: [Service] ExecStartPost=-/usr/bin/{}",
        set(" -t 60", '-', &hide)
    );
    steps.say("at start", if more.is_empty() { Mark::Ok } else { Mark::Note }, &text)
}
