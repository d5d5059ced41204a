//! What stands behind a VCL stream object.

use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, Weak};

use crate::pipeline::{Outlet, Pipeline};
use crate::record::{
    Dialect, Escape, MAX_LINE_DEFAULT, MessageType, NotASample, Options, Program, TagTable, Zone,
};
use crate::settings::{self, Arguments, Error};
use crate::stats;

/// Fastly's combined format, the default.
const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;

/// The same for varnishncsa, which knows no `%>s`.
const NCSA: &str = "%{Varnish:default_format}x";

/// One VCL's view of a stream: its format and the pipeline it feeds. Held by the VCL object, which
/// outlives every task that has a record pending.
pub(super) struct Stream {
    /// The compiled format.
    pub program: Program,
    /// Whether ESI fragments have records of their own.
    pub esi: bool,
    /// Whether the format asks for response headers.
    pub reads_response: bool,
    /// Where lines go.
    pub outlet: Outlet,
    /// The pipeline, if it could be started at once.
    pipeline: Option<Arc<Pipeline>>,
}

impl Stream {
    /// Compiles the format, then opens the spool and starts the threads, or joins those that a
    /// stream of the same name, spool and route has. Nothing of it is in force before
    /// [`Streams::loaded`].
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn open(arguments: &Arguments) -> Result<Self, String> {
        let text = |error: Error| error.to_string();
        let options = options(arguments).map_err(text)?;
        let format = arguments.get("format").unwrap_or(match options.dialect {
            Dialect::Apache => COMBINED,
            Dialect::Varnishncsa => NCSA,
        });
        let program = Program::compile(format, &options, &TAGS)
            .map_err(|error| text(arguments.problem("format", error)))?;
        let esi = arguments.flag("esi").map_err(text)?;
        super::exit::install();
        let outlet = super::registry::open(arguments)?;
        let reads_response = program.reads_response_headers();
        let pipeline = outlet.pipeline().cloned();
        Ok(Self { program, esi, reads_response, outlet, pipeline })
    }

    /// What a task's value is found by: the pipeline, which several VCLs' streams may share, so
    /// that a task has one line in it. The same for as long as this stream lives.
    pub(super) fn key(&self) -> *const c_void {
        match &self.pipeline {
            Some(pipeline) => Arc::as_ptr(pipeline).cast(),
            None => std::ptr::from_ref(self).cast(),
        }
    }

    /// Runs `body` so that a panic in it costs one record and nothing else.
    pub(super) fn guard<T: Default>(&self, body: impl FnOnce() -> T) -> T {
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
            stats::add(&self.outlet.stats().dropped_panic, 1);
            T::default()
        })
    }
}

/// The streams of one VCL, in the order of their making.
#[derive(Default)]
#[allow(unreachable_pub, reason = "the constructor of the VCL object names it")]
pub struct Streams(Vec<Weak<Stream>>);

impl Streams {
    /// Notes a stream, which its VCL object owns.
    pub(super) fn note(&mut self, stream: &Arc<Stream>) {
        self.0.push(Arc::downgrade(stream));
    }

    /// The whole VCL has loaded.
    pub(super) fn loaded(&self) {
        for stream in self.0.iter().filter_map(Weak::upgrade) {
            stream.guard(|| stream.outlet.loaded());
        }
    }
}

fn options(arguments: &Arguments) -> Result<Options, Error> {
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
        hostname: settings::host(arguments),
        tag: arguments.get("tag").unwrap_or(arguments.stream()).to_owned(),
        pid: std::process::id(),
        max_line: usize::try_from(max_line).unwrap_or(MAX_LINE_DEFAULT),
        zone: arguments.choice("timezone", &[("utc", Zone::Utc), ("local", Zone::Local)])?,
        sample: arguments
            .get("sample")
            .map(|text| {
                text.parse().map_err(|takes: NotASample| arguments.bad("sample", takes.to_string()))
            })
            .transpose()?
            .unwrap_or_default(),
        heal: true,
    })
}

unsafe extern "C" {
    /// The running Varnish's tag names by number, null for numbers without a tag
    /// (`include/vapi/vsl.h`).
    static VSL_tags: [*const c_char; 256];
}

/// The running Varnish's log tags.
static TAGS: LazyLock<TagTable> = LazyLock::new(|| {
    // SAFETY: a constant table of libvarnishapi.
    let names = unsafe { &VSL_tags };
    TagTable::new((0u8..=255).zip(names).filter_map(|(number, name)| {
        if name.is_null() {
            return None;
        }
        // SAFETY: a constant C string of libvarnishapi.
        let name = unsafe { CStr::from_ptr(*name) };
        Some((number, name.to_str().ok()?))
    }))
});
