//! The command `s3log`: the other end of the pipe.
//!
//! It reads the same settings as the VCL object, from flags, the environment or the same TOML
//! file, and speaks to the bucket with the same client.
//!
//! | file | what |
//! |---|---|
//! | `settings` | flags, `S3LOG_*` variables and the file, in this order |
//! | `blocks` | which objects are the blocks that were asked for; their contents, opened and in order |
//! | `compacted` | what compaction leaves in a bucket: objects, and the manifests that name their blocks |
//! | `columns` | lines as the columns of a Parquet file, and back; not without the feature `parquet` |
//! | `terminal` | what a person and a script see |
//! | `ls`, `cat`, `tail`, `verify`, `compact`, `drain`, `ship`, `requeue`, `check`, `stats` | one command each |
//! | `shift` | `requeue --from` |
//! | `mask` | `check --varnish` |
//! | `top` | a live view of a node, or of the hosts of a bucket |
//! | `init` | the first files of a node |
//! | `doctor` | what is wrong on this node, and what to do |
//! | `varnishd` | Varnish's processes, and what its own programs say |
//! | `lines` | what `cat` and `tail` share |
//! | `node` | what `drain`, `ship` and `requeue --from` give the module's own pipeline |
//! | `spools` | what `drain`, `requeue` and `stats` share: where a node's spools are |
//! | `unread` | output that nobody reads to its end |
//! | `credentials` | a program's key into a credentials file |
//! | `program` | runs a program with a limit on time and output |
//! | `format` | other programs' log formats as VCL |
//! | `generate` | completions and manual pages |
//! | `error` | why a command did not do what it was asked for |
//!
//! Memory: a listing is held whole, some 260 bytes a block with a key of 100 (measured by
//! tests/cli/listing.rs), because a gateway's order means nothing and lines are given in the order of
//! time; `verify` holds about 1.5 KB a block in all. Contents are streamed.
//!
//! Exit codes: 0 success, 1 failure, 2 invalid arguments or settings. `verify`, `check` and `doctor` define
//! their own, which their `--help` lists.

mod blocks;
mod cat;
mod check;
#[cfg(feature = "parquet")]
mod columns;
#[cfg(not(feature = "parquet"))]
#[path = "no_columns.rs"]
mod columns;
mod compact;
mod compacted;
mod credentials;
mod doctor;
mod drain;
mod error;
mod format;
mod generate;
mod init;
mod lines;
mod ls;
mod mask;
mod node;
mod program;
mod requeue;
mod settings;
mod shift;
mod ship;
mod spools;
mod stats;
mod tail;
mod terminal;
mod top;
mod unread;
mod varnishd;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use error::Error;

use unread::Unread;

/// Reads, verifies and uploads the logs that the Varnish module s3log stores in an S3 bucket.
#[derive(Debug, Parser)]
#[command(
    name = "s3log",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 success, 1 failure, 2 invalid arguments or settings. verify, check \
                  and doctor define more; see their --help."
)]
struct S3logArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the blocks of streams, oldest first.
    Ls(ls::LsArgs),
    /// Print the log lines of streams, ordered by block time.
    Cat(cat::CatArgs),
    /// Print the newest lines of streams; with -f, follow new ones.
    Tail(tail::TailArgs),
    /// Verify that no block and no line is missing or altered.
    Verify(verify::VerifyArgs),
    /// Write the blocks of past hours into few large objects.
    Compact(compact::CompactArgs),
    /// Upload what this node's spool holds while Varnish is stopped.
    Drain(drain::DrainArgs),
    /// Upload what varnishd packs, as another user (streams with upload = external).
    Ship(ship::ShipArgs),
    /// Test a stream's settings: name, connection, TLS, clock, credentials and a small write.
    Check(check::CheckArgs),
    /// Write the key that a program hands out into a credentials file.
    Credentials(credentials::CredentialsArgs),
    /// List the blocks that the gateway refused, and send them again.
    Requeue(requeue::RequeueArgs),
    /// Write a node's first files: settings, VCL, credentials file, spool directory, systemd drop-ins.
    Init(init::InitArgs),
    /// Find what is wrong on this node, and say what to do about it.
    Doctor(doctor::DoctorArgs),
    /// Watch a node live: rates, ring, spool, lag, the gateway's answers, drops.
    Top(top::TopArgs),
    /// Show what this node's ring and spool hold, without changing them.
    Stats(stats::StatsArgs),
    /// Convert a log format of Fastly or varnishncsa to a stream's VCL, with an example line.
    Format(format::FormatArgs),
    /// Print a shell completion script.
    Completions(generate::CompletionsArgs),
    /// Write the manual pages, one per command.
    Man(generate::ManArgs),
}

/// Runs the command with the process's arguments. `varnish_abi` is that of the Varnish which the
/// command, and the module beside it, were compiled against, for `--version`.
#[must_use]
pub fn main(varnish_abi: Option<&str>) -> ExitCode {
    let command = parse(varnish_abi).command;
    // These are done when nobody wants more of it; the others have something to do, or to find out.
    let reads =
        matches!(command, Command::Ls(_) | Command::Cat(_) | Command::Tail(_) | Command::Top(_));
    let mut stdout = std::io::stdout().lock();
    let mut unread;
    let out: &mut dyn Write = if reads {
        &mut stdout
    } else {
        unread = Unread::new(stdout);
        &mut unread
    };
    let done = match command {
        Command::Ls(arguments) => ls::run(&arguments, out),
        Command::Cat(arguments) => cat::run(&arguments, out),
        Command::Tail(arguments) => tail::run(&arguments, out),
        Command::Verify(arguments) => verify::run(&arguments, out),
        Command::Compact(arguments) => compact::run(&arguments, out),
        Command::Drain(arguments) => drain::run(&arguments, out),
        Command::Ship(arguments) => ship::run(&arguments),
        Command::Check(arguments) if arguments.varnish.is_some() => mask::run(&arguments, out),
        Command::Check(arguments) => check::run(&arguments, out),
        Command::Credentials(arguments) => credentials::run(&arguments, out),
        Command::Requeue(arguments) => requeue::run(&arguments, out),
        Command::Init(arguments) => init::run(&arguments, out),
        Command::Doctor(arguments) => doctor::run(&arguments, out),
        Command::Top(arguments) => top::run(&arguments, out),
        Command::Stats(arguments) => stats::run(&arguments, out),
        Command::Format(arguments) => format::run(&arguments, out),
        Command::Completions(arguments) => {
            generate::completions(&arguments, S3logArgs::command(), out)
        }
        Command::Man(arguments) => generate::man(&arguments, S3logArgs::command(), out),
    };
    match done {
        Ok(code) => code,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            error.say();
            error.code().into()
        }
    }
}

/// The process's arguments; ends the process after `--help`, `--version` and a mistake.
fn parse(varnish_abi: Option<&str>) -> S3logArgs {
    let version = env!("CARGO_PKG_VERSION");
    let long = match varnish_abi {
        Some(abi) => format!("{version}\nbuilt for {abi}"),
        None => format!("{version}\nbuilt without Varnish"),
    };
    // Once a process: clap holds no text of its own.
    let command = S3logArgs::command().long_version(&*long.leak());
    S3logArgs::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}
