//! `s3log top`: a live view of a node.
//!
//! Once a moment it takes the counters of every stream and route from `varnishstat`, which reads shared
//! memory without a lock, and shows rates, ring and spool, uploads under way, lag, the gateway's answers and what was
//! lost.
//! `--json` prints the same numbers, one object a stream and moment.
//!
//! Non-goals: a past beyond ten minutes (Prometheus, `docs/operations.md`); changing anything; which block is being
//! uploaded, as counters are numbers. A module of an older release counts less; what it lacks is left out.
//!
//! | file | what |
//! |---|---|
//! | `sample` | a moment's counters, and the rates of several |
//! | `state` | what is chosen, and what a key does |
//! | `view` | a state on a terminal |
//! | `lines` | the newest lines of a stream |
//! | `fleet` | the nodes of a bucket |

mod fleet;
mod lines;
mod sample;
mod state;
mod view;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};

use self::lines::Lines;
use self::sample::{History, Sample};
use self::state::{State, Wish};
use super::Error;
use super::settings::Connection;
use super::terminal::output::json;
use super::terminal::when;
use super::varnishd::Varnishd;
use crate::units;

/// Which node, and how often.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys: q quits, space freezes, s sorts by name, rate, lag or drops, up and down select a \
stream, t shows its newest lines as s3log tail -f does, with the settings given here.

The counters are those of varnishstat, read as it reads them, without a lock. --fleet lists the bucket of \
the settings instead, and shows each host's newest block, and hosts that are silent."
)]
pub(super) struct TopArgs {
    /// Stream names as in VCL, for --fleet. Default: all streams in the settings file.
    streams: Vec<String>,
    /// The varnishd to look at, by its -n: a name or a working directory. Default: the only one that
    /// runs.
    #[arg(short = 'n', long = "varnish", value_name = "NAME")]
    varnish: Option<PathBuf>,
    /// Time between two looks, from 100ms on. Default: 1s, with --fleet 30s
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    interval: Option<Duration>,
    /// Print one JSON object per stream, or host, and moment.
    #[arg(long)]
    json: bool,
    /// End after so many moments. Default: never
    #[arg(long, value_name = "N")]
    moments: Option<u64>,
    /// Show the hosts that write into the bucket, from a listing of its last day.
    #[arg(long)]
    fleet: bool,
    #[command(flatten)]
    connection: Connection,
}

fn interval(text: &str) -> Result<Duration, String> {
    let taken = units::duration(text).filter(|every| *every >= Duration::from_millis(100));
    taken.ok_or_else(|| "expected a duration from 100ms on, such as 1s".to_owned())
}

/// Shows the node until it is told to end.
///
/// # Errors
/// An argument, the terminal, or the output.
pub(super) fn run(arguments: &TopArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let moments = arguments.moments.unwrap_or(u64::MAX);
    if arguments.fleet {
        let every = arguments.interval.unwrap_or(Duration::from_secs(30));
        let (connection, streams) = (&arguments.connection, &arguments.streams);
        return fleet::run(connection, streams, every, moments, arguments.json, out);
    }
    let every = arguments.interval.unwrap_or(Duration::from_secs(1));
    let varnishd = Varnishd::find(arguments.varnish.as_deref())?;
    if arguments.json {
        return stream(&varnishd, every, moments, out);
    }
    if !io::stdout().is_terminal() {
        let text = "standard output is no terminal; --json prints the numbers";
        return Err(Error::Usage(text.to_owned()));
    }
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, &varnishd, arguments, every, moments);
    // Whatever happened, the terminal is given back.
    ratatui::try_restore()?;
    shown
}

/// The same numbers as JSON.
fn stream(
    varnishd: &Varnishd,
    every: Duration,
    moments: u64,
    out: &mut dyn Write,
) -> Result<ExitCode, Error> {
    let mut history = History::default();
    for moment in 0..moments {
        if moment > 0 {
            std::thread::sleep(every);
        }
        let sample = Sample::take(varnishd);
        let (time, problem) = (when::show(sample.at), sample.problem.clone());
        history.push(sample);
        for row in history.rows() {
            let mut object = serde_json::to_value(row).map_err(io::Error::from)?;
            if let Some(object) = object.as_object_mut() {
                object.insert("time".to_owned(), time.clone().into());
            }
            json(out, &object)?;
        }
        if let Some(problem) = problem {
            json(out, &serde_json::json!({ "time": time, "problem": problem }))?;
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(
    terminal: &mut DefaultTerminal,
    varnishd: &Varnishd,
    arguments: &TopArgs,
    every: Duration,
    moments: u64,
) -> Result<ExitCode, Error> {
    let mut state = State::new();
    let mut lines: Option<Lines> = None;
    for _ in 0..moments {
        let next = Instant::now() + every;
        state.push(Sample::take(varnishd));
        loop {
            state.lines = lines.as_ref().map(Lines::newest);
            terminal.draw(|frame| view::draw(frame, &state))?;
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() || !event::poll(left)? {
                break;
            }
            let Event::Key(key) = event::read()? else { continue };
            match state.key(key) {
                Wish::Quit => return Ok(ExitCode::SUCCESS),
                Wish::Draw => {}
                Wish::NoLines => lines = None,
                Wish::Lines(stream) => {
                    lines = Some(Lines::follow(&stream, &settings(arguments))?);
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The flags of the settings, for `tail`; what comes from the environment reaches it there.
fn settings(arguments: &TopArgs) -> Vec<OsString> {
    arguments.connection.flags()
}
