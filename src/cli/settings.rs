//! The settings of a stream, from flags, the environment and the settings file.

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::{Clock, System};
use crate::config;
use crate::pipeline::{Settings, variables};
use crate::s3::Client;
use crate::s3::credentials::chain;

/// Where the blocks of a stream are. Flags win over the settings file.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Source {
    /// The stream's name: that of the VCL object.
    pub stream: String,
    /// The settings file, TOML, with a table named as the stream.
    #[arg(long, env = "S3LOG_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The gateway: https://host[:port].
    #[arg(long, env = "S3LOG_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// The bucket.
    #[arg(long, env = "S3LOG_BUCKET", value_name = "NAME")]
    bucket: Option<String>,
    /// What keys begin with, as in VCL.
    #[arg(long, value_name = "STRFTIME")]
    path: Option<String>,
    /// The bucket's region.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// The credentials file.
    #[arg(long, value_name = "FILE")]
    credentials: Option<String>,
    /// Its section.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Take plain http:// for a host that is not this machine.
    #[arg(long)]
    allow_http: bool,
}

impl Source {
    /// The settings, checked as those of VCL are.
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub(super) fn settings(&self) -> Result<Settings, config::Error> {
        let mut arguments = config::Arguments::new(&self.stream);
        arguments.set("endpoint", self.endpoint.clone());
        arguments.set("bucket", self.bucket.clone());
        arguments.set("path", self.path.clone());
        arguments.set("region", self.region.clone());
        arguments.set("credentials", self.credentials.clone());
        arguments.set("profile", self.profile.clone());
        arguments.set("allow_http", self.allow_http.then(|| "true".to_owned()));
        if let Some(file) = &self.config {
            arguments.fill_from_file(file)?;
        }
        Settings::read(&arguments)
    }
}

/// The client that the settings describe.
///
/// # Errors
/// A certificate or proxy that cannot be used.
pub(super) fn client(settings: &Settings) -> Result<Client, super::Error> {
    let clock: Arc<dyn Clock> = Arc::new(System::new());
    let credentials = Arc::new(chain(&settings.sources, &variables(), &settings.s3)?);
    Ok(Client::new(settings.bucket.clone(), settings.s3.clone(), credentials, clock)?)
}
