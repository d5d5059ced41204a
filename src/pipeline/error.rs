//! Why a stream cannot be opened.

use std::io;
use std::path::PathBuf;

use crate::block::RouteId;
use crate::ring::OpenError;
use crate::s3::SetupError;
use crate::s3::credentials::CredentialsError;
use crate::spool::{DiskError, SpoolError};

/// Why a stream cannot be opened; the text names the stream and the argument.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The client cannot be made.
    #[error("s3log: stream {stream}: {source}")]
    Client {
        /// The stream.
        stream: String,
        /// Why.
        source: SetupError,
    },
    /// The file that was named holds no credentials.
    #[error("s3log: stream {stream}: credentials: {source}")]
    Credentials {
        /// The stream.
        stream: String,
        /// Why.
        source: CredentialsError,
    },
    /// The spool's directory cannot be used.
    #[error("s3log: stream {stream}: {source}")]
    Disk {
        /// The stream.
        stream: String,
        /// Why.
        source: DiskError,
    },
    /// Which folders the spool has, and whose they are, cannot be told.
    #[error(
        "s3log: stream {stream}: spool {} cannot be used: {source}; make it a directory that varnishd's \
         cache user may write",
        path.join(stream).display()
    )]
    Unread {
        /// The stream.
        stream: String,
        /// The spool's directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder has become another route's.
    #[error(
        "s3log: stream {stream}: {} belongs to the route {found}, and this VCL's is {route}: load the VCL \
         again",
        path.display()
    )]
    Route {
        /// The stream.
        stream: String,
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: RouteId,
        /// Whose it was to be.
        route: RouteId,
    },
    /// What is in the spool cannot be taken up.
    #[error("s3log: stream {stream}: {source}")]
    Spool {
        /// The stream.
        stream: String,
        /// Why.
        source: SpoolError,
    },
    /// The ring cannot be opened.
    #[error("s3log: stream {stream}: {source}")]
    Ring {
        /// The stream.
        stream: String,
        /// Why.
        source: OpenError,
    },
    /// A file or a thread that the system refused.
    #[error("s3log: stream {stream}: cannot {doing}: {source}")]
    System {
        /// The stream.
        stream: String,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process uploads from the folder.
    #[error("s3log: stream {stream}: {} uploads from {}", pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")), path.display())]
    Uploads {
        /// The stream.
        stream: String,
        /// The folder.
        path: PathBuf,
        /// The process, if the kernel shows it.
        pid: Option<u32>,
    },
    /// The stream's earlier pipeline has not let go of the spool yet.
    #[error("s3log: stream {stream}: the spool is still being closed: load the VCL again")]
    Closing {
        /// The stream.
        stream: String,
    },
}

impl StartError {
    /// Whether a file, a directory or a lock is at fault, which may be usable at another time; else
    /// a setting is wrong as it is written.
    #[must_use]
    pub fn blames_place(&self) -> bool {
        match self {
            Self::Client { source, .. } => source.blames_file(),
            Self::Credentials { .. }
            | Self::Disk { .. }
            | Self::Unread { .. }
            | Self::Route { .. }
            | Self::Spool { .. }
            | Self::Ring { .. }
            | Self::System { .. }
            | Self::Uploads { .. }
            | Self::Closing { .. } => true,
        }
    }
}
