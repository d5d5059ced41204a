//! Why a command did not do what it was asked for: a message for the person who ran it.

use std::io::Write as _;

use crate::printable::printable;
use crate::s3::Answer;
use crate::settings;

/// A message without the name that the errors of settings begin with.
pub(super) fn bare(text: &str) -> &str {
    text.strip_prefix("s3log: ").unwrap_or(text)
}

/// What happened, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// The client cannot be made.
    #[error(transparent)]
    Setup(#[from] crate::s3::SetupError),
    /// An argument of the command that is not a setting.
    #[error("{0}")]
    Usage(String),
    /// The gateway did not do it.
    #[error("{what}: {answer}")]
    Gateway {
        /// What was asked.
        what: String,
        /// What came back.
        answer: Box<Answer>,
    },
    /// A listing that breaks off or does not end.
    #[error("list {place}: {problem}")]
    Listing {
        /// Bucket and prefix.
        place: String,
        /// Why it cannot be used.
        problem: String,
    },
    /// A block that cannot be read.
    #[error("{key}: {problem}")]
    Block {
        /// Its key.
        key: String,
        /// Why.
        problem: String,
    },
    /// A block that was listed and is not there when it is asked for.
    #[error("{key}: no longer in the bucket; skipped")]
    Gone {
        /// Its key.
        key: String,
    },
    /// The spool or the ring of this node.
    #[error(transparent)]
    Start(#[from] crate::pipeline::StartError),
    /// Somebody else has what is needed.
    #[error("{0}")]
    InUse(String),
    /// A file of this node.
    #[error("{path}: {source}")]
    File {
        /// Its path.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program that was to be run.
    #[error("{program}: {problem}")]
    Program {
        /// Its path or name.
        program: String,
        /// What went wrong.
        problem: String,
    },
    /// Standard output.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    /// Another error, in a command with exit codes of its own.
    #[error("{error}")]
    Coded {
        /// The exit code.
        code: u8,
        /// The error.
        error: Box<Error>,
    },
}

impl Error {
    /// The gateway's `answer` to a request, with what was asked.
    pub(super) fn gateway(what: impl Into<String>, answer: Answer) -> Self {
        Self::Gateway { what: what.into(), answer: Box::new(answer) }
    }

    /// What is wrong with the settings of a format that the command was given as `name`: no stream is at fault.
    pub(super) fn of_format(name: &str, error: settings::Error) -> Self {
        match error {
            settings::Error::Problem { argument: "format", problem, .. } => {
                Self::Usage(format!("{name}: {problem}"))
            }
            other => other.into(),
        }
    }

    /// Says it on standard error.
    pub(super) fn say(&self) {
        let _ = writeln!(std::io::stderr(), "s3log: {}", printable(bare(&self.to_string())));
    }

    /// Whether the reader of our output has gone: an end like any other.
    pub(super) fn is_closed_pipe(&self) -> bool {
        match self {
            Self::Output(error) => error.kind() == std::io::ErrorKind::BrokenPipe,
            Self::Coded { error, .. } => error.is_closed_pipe(),
            _ => false,
        }
    }

    /// The exit code: 2 for what other arguments or settings can fix, else 1.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Setup(_) | Self::Usage(_) => 2,
            Self::Coded { code, .. } => *code,
            _ => 1,
        }
    }

    /// The same error with another exit code.
    pub(super) fn with_code(self, code: u8) -> Self {
        Self::Coded { code, error: Box::new(self) }
    }
}
