//! The command `s3log`: the other end of the pipe.
//!
//! It reads the same settings as the VCL object, from flags, the environment or the same TOML
//! file, and speaks to the bucket with the same client.
//!
//! Exit codes: 0 done, 1 something could not be done, 2 wrong arguments.

mod bucket;
mod cat;
mod settings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Reads what the Varnish module s3log has written to a bucket.
#[derive(Debug, Parser)]
#[command(name = "s3log", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the lines of a stream, block by block in the order of time.
    Cat(cat::Arguments),
}

/// Why a command did not do what it was asked for; a sentence for the person who asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting.
    #[error(transparent)]
    Settings(#[from] crate::config::Error),
    /// The client cannot be made.
    #[error(transparent)]
    Setup(#[from] crate::s3::SetupError),
    /// The gateway did not do it.
    #[error("{what}: {answer}")]
    Gateway {
        /// What was asked.
        what: String,
        /// What came back.
        answer: crate::s3::Answer,
    },
    /// A block that cannot be read.
    #[error("{key}: {source}")]
    Block {
        /// Its key.
        key: String,
        /// Why.
        source: std::io::Error,
    },
    /// Standard output.
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
}

impl Error {
    /// Whether the reader of our output has gone: an end like any other.
    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// Runs the command with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Cat(arguments) => cat::run(&arguments, &mut std::io::stdout().lock()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "s3log: {error}");
            ExitCode::FAILURE
        }
    }
}
