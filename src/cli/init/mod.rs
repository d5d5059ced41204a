//! `s3log init`: the first files of a node, from a few answers.
//!
//! Settings file, VCL, an empty file of credentials, the spool directory and a drop-in for systemd, each
//! with the owner and mode that it needs. A file that is there and differs is shown as a diff and left as
//! it is, unless `--force` is given; the file of credentials is never written once it has something in
//! it. Nothing of a running Varnish is touched: the last lines say which commands do that.
//!
//! Non-goals: keys, which a command line would show to everybody; VCL of the site, which stays the
//! operator's; more than one stream in a file, whose second table is written by hand.
//!
//! | file | what |
//! |---|---|
//! | `answers` | what is asked for, from flags or at the terminal |
//! | `plan` | which files, with what in them |
//! | `place` | what is on the disk of them, and how it is made so |

mod answers;
mod place;
mod plan;

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::answers::Answers;
use self::place::{Done, Owner};
use self::plan::{PERIOD, Plan};
use super::terminal::output::Paint;
use super::varnishd::Varnishd;
use super::{Error, check};
use crate::cli::settings::Connection;
use crate::printable::printable;

/// What the node is to do.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is not given is asked for on a terminal. Run it as root, because files and the spool \
directory are given to the user that varnishd's cache process runs as. It can be run again: what is as \
it should be is left alone. It touches no running Varnish.

  s3log init --endpoint https://gateway.storjshare.io --bucket edge-logs
  s3log init --bucket edge-logs --format json --encrypt-to age1... --dry-run

Exit codes: 0 all is as it should be, or would be after a dry run; 1 a file cannot be written, or differs \
and --force is not given; 2 invalid arguments."
)]
pub(super) struct InitArgs {
    /// Stream name as in VCL.
    #[arg(default_value = "access")]
    stream: String,
    #[command(flatten)]
    answers: Answers,
    /// Directory for settings, VCL and credentials.
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/varnish")]
    directory: PathBuf,
    /// Spool directory.
    #[arg(long, value_name = "DIRECTORY", default_value = crate::settings::DEFAULT_SPOOL)]
    spool: PathBuf,
    /// Directory for the drop-in of varnish.service; "none" for no drop-in.
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/systemd/system/varnish.service.d")]
    systemd: PathBuf,
    /// Leave Varnish's log as it is: no drop-in that hides the tags which the module does not need.
    #[arg(long)]
    keep_mask: bool,
    /// User of the cache process. Default: that of the varnishd that runs, else vcache, else varnish.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Overwrite files that differ, except that of credentials.
    #[arg(long)]
    force: bool,
    /// Do not try the gateway afterwards.
    #[arg(long)]
    no_check: bool,
}

/// What the drop-in with the mask takes from others.
const HIDDEN: &str = "From the restart on, varnishncsa, varnishtop, varnishhist and varnishlog without -g raw show \
                      no request.\nWhere one of them is needed, remove s3log-mask.conf, or leave it out with --keep-mask.";

/// Writes the files, and says what comes next.
///
/// # Errors
/// An argument, or a file.
pub(super) fn run(arguments: &InitArgs, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let owner = owner(arguments)?;
    let stdin = io::stdin();
    let answers = match stdin.is_terminal() && io::stdout().is_terminal() {
        true => arguments.answers.ask(&mut stdin.lock(), out)?,
        false => arguments.answers.clone(),
    };
    let plan = plan(arguments, &answers)?;
    let paint = Paint::stdout();
    let (mut left, mut hides) = (0, false);
    for entry in &plan.entries {
        let done = place::put(entry, &owner, arguments.dry_run, arguments.force)?;
        left += u64::from(matches!(done, Done::Differs(_)));
        let new = matches!(done, Done::Made(_) | Done::Replaced(_));
        hides |= new && plan.mask.as_ref() == Some(&entry.path);
        show(out, paint, &entry.path, &done, arguments.dry_run)?;
    }
    if hides {
        writeln!(out, "\n{HIDDEN}")?;
    }
    if left > 0 {
        writeln!(out, "\nWhat differs is left as it is; run the same with --force to replace it.")?;
    }
    let has_key = place::has_key(&plan.credentials);
    let mut code =
        if left > 0 && !arguments.dry_run { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    if !arguments.dry_run && !arguments.no_check && has_key && left == 0 {
        writeln!(out)?;
        let connection = Connection::of_file(&plan.settings);
        let named = std::slice::from_ref(&arguments.stream);
        let tried = check::streams(&connection, named, &mut check::printer(&mut *out, false))?;
        if tried != 0 {
            code = ExitCode::FAILURE;
        }
    }
    next(out, &plan, &arguments.stream, has_key)?;
    out.flush()?;
    Ok(code)
}

fn plan(arguments: &InitArgs, answers: &Answers) -> Result<Plan, Error> {
    Plan::new(
        &arguments.stream,
        answers,
        &arguments.directory,
        &arguments.spool,
        (arguments.systemd != Path::new("none")).then_some(&*arguments.systemd),
        !arguments.keep_mask,
    )
}

/// Who files and spool are given to.
fn owner(arguments: &InitArgs) -> Result<Owner, Error> {
    if let Some(name) = &arguments.user {
        return Owner::named(name)
            .ok_or_else(|| Error::Usage(format!("--user {name}: no such user on this machine")));
    }
    // Several, or none that runs: then it is the usual user.
    let running = Varnishd::find(None).ok().and_then(|varnishd| varnishd.child);
    running
        .map(|child| Owner::of(child.uid, child.groups.first().copied()))
        .or_else(|| ["vcache", "varnish"].into_iter().find_map(Owner::named))
        .ok_or_else(|| {
            let text = "no varnishd runs and there is no user vcache or varnish: name the user of the \
                        cache process with --user";
            Error::Usage(text.to_owned())
        })
}

fn show(
    out: &mut dyn Write,
    paint: Paint,
    path: &Path,
    done: &Done,
    dry: bool,
) -> Result<(), Error> {
    let path = path.display().to_string();
    let path = printable(&path);
    let would = if dry { "would be " } else { "" };
    match done {
        Done::Same => writeln!(out, "{}  {path}", paint.faint("unchanged"))?,
        Done::Made(what) => {
            writeln!(out, "{}  {path}  {would}made: {what}", paint.good("new      "))?
        }
        Done::Replaced(diff) => {
            writeln!(out, "{}  {path}  {would}replaced", paint.odd("replaced "))?;
            changes(out, diff)?;
        }
        Done::Given(what) => {
            writeln!(out, "{}  {path}  {would}given {what}", paint.odd("owner    "))?
        }
        Done::Kept => {
            writeln!(out, "{}  {path}  has something in it already", paint.faint("kept     "))?
        }
        Done::Differs(diff) => {
            writeln!(out, "{}  {path}", paint.bad("DIFFERS  "))?;
            changes(out, diff)?;
        }
    }
    Ok(())
}

fn changes(out: &mut dyn Write, diff: &str) -> io::Result<()> {
    for line in diff.lines() {
        writeln!(out, "    {}", printable(line))?;
    }
    Ok(())
}

/// The commands that follow, and the one that reads what they lead to.
fn next(out: &mut dyn Write, plan: &Plan, stream: &str, has_key: bool) -> io::Result<()> {
    let (settings, vcl) = (plan.settings.display(), plan.vcl.display());
    writeln!(out, "\nNext:")?;
    if has_key {
        writeln!(out, "    s3log check --config {settings}")?;
    } else {
        writeln!(
            out,
            "    ${{EDITOR:-vi}} {}     # or another editor; write the key into it",
            plan.credentials.display()
        )?;
    }
    // Twice would make the stream twice, and the VCL would not load.
    let site = plan.vcl.with_file_name("default.vcl");
    let site = site.display();
    writeln!(out, "    grep -qs '{vcl}' {site} || sed -i '/^vcl 4/a include \"{vcl}\";' {site}")?;
    writeln!(
        out,
        "    systemctl daemon-reload && systemctl restart varnish && s3log doctor --config {settings}"
    )?;
    writeln!(
        out,
        "\nThe lines, at most {PERIOD} seconds (`period`) after a request: s3log cat --config {settings} {stream}"
    )
}
