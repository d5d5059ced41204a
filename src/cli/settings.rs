//! The settings of a stream: from flags, then `S3LOG_*` variables, then the settings file.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use super::error::bare;
use crate::clock::{Clock, System};
use crate::regular_file;
use crate::s3::credentials::chain;
use crate::s3::{Client, Patience, SetupError};
use crate::settings::table::{ARGUMENTS, argument, names};
use crate::settings::{self, Settings, variables};

/// Where the blocks of streams are.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(
    next_help_heading = "Settings (flags override S3LOG_* variables, which override the file)"
)]
pub(super) struct Connection {
    /// Settings file in TOML with one table per stream.
    #[arg(long, env = "S3LOG_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Gateway URL: https://host[:port].
    #[arg(long, env = "S3LOG_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// Bucket name.
    #[arg(long, env = "S3LOG_BUCKET", value_name = "NAME")]
    bucket: Option<String>,
    /// Prefix of every object key with strftime conversions, as in VCL.
    #[arg(long, env = "S3LOG_PATH", value_name = "STRFTIME")]
    path: Option<String>,
    /// Region of the bucket.
    #[arg(long, env = "S3LOG_REGION", value_name = "NAME")]
    region: Option<String>,
    /// Credentials file.
    #[arg(long, env = "S3LOG_CREDENTIALS", value_name = "FILE")]
    credentials: Option<String>,
    /// Section of the credentials file.
    #[arg(long, env = "S3LOG_PROFILE", value_name = "NAME")]
    profile: Option<String>,
    /// Allow plain http:// to a host other than this machine.
    #[arg(long)]
    allow_http: bool,
    /// Any setting by its name in VCL, such as --set spool=/srv/spool. Each setting is also read
    /// from the variable S3LOG_NAME.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl Connection {
    /// The settings of this file, and of nothing else but `S3LOG_*` variables.
    pub(super) fn of_file(file: &Path) -> Self {
        Self { config: Some(file.to_owned()), ..Self::default() }
    }

    /// The flags that give the same settings to another `s3log`; what comes from the environment is there
    /// as well.
    pub(super) fn flags(&self) -> Vec<OsString> {
        let mut flags = Vec::new();
        if let Some(config) = &self.config {
            flags.extend(["--config".into(), config.clone().into_os_string()]);
        }
        let given = [
            ("--endpoint", &self.endpoint),
            ("--bucket", &self.bucket),
            ("--path", &self.path),
            ("--region", &self.region),
            ("--credentials", &self.credentials),
            ("--profile", &self.profile),
        ];
        for (flag, value) in given {
            flags.extend(value.iter().flat_map(|value| [flag.into(), value.into()]));
        }
        flags.extend(self.allow_http.then(|| "--allow-http".into()));
        flags.extend(self.set.iter().flat_map(|pair| ["--set".into(), pair.into()]));
        flags
    }

    /// The arguments of `stream` from all three sources.
    ///
    /// # Errors
    /// An unknown name in `--set`, or the file.
    pub(super) fn arguments(&self, stream: &str) -> Result<settings::Arguments, Error> {
        let mut arguments = settings::Arguments::new(stream);
        for key in ARGUMENTS.iter().map(|argument| argument.name) {
            let variable = format!("S3LOG_{}", key.to_ascii_uppercase());
            arguments.set(key, std::env::var(variable).ok().filter(|value| !value.is_empty()));
        }
        arguments.set("endpoint", self.endpoint.clone());
        arguments.set("bucket", self.bucket.clone());
        arguments.set("path", self.path.clone());
        arguments.set("region", self.region.clone());
        arguments.set("credentials", self.credentials.clone());
        arguments.set("profile", self.profile.clone());
        arguments.set("allow_http", self.allow_http.then(|| "true".to_owned()));
        for pair in &self.set {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| Error::Usage(format!("--set {pair}: expected NAME=VALUE")))?;
            let known = argument(name).ok_or_else(|| {
                let names = names();
                Error::Usage(format!("--set {name}: unknown setting; the settings are {names}"))
            })?;
            arguments.set(known.name, Some(value.to_owned()));
        }
        if let Some(file) = &self.config {
            arguments.fill_from_file(file)?;
        }
        Ok(arguments)
    }

    /// The settings of `stream`, checked as those of VCL are.
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub(super) fn settings(&self, stream: &str) -> Result<Settings, Error> {
        self.checked(Settings::read(&self.arguments(stream)?))
    }

    /// The same for what was logged with them already; what is wrong with them by now is in
    /// [`Settings::objections`].
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub(super) fn settings_again(&self, stream: &str) -> Result<Settings, Error> {
        self.checked(Settings::read_again(&self.arguments(stream)?))
    }

    /// The same for who only reads the bucket: what blocks are encrypted and signed with is the
    /// node's business, and its files may not even be on this machine.
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub(super) fn settings_to_read(&self, stream: &str) -> Result<Settings, Error> {
        let mut arguments = self.arguments(stream)?;
        for argument in ["encrypt_to", "public_key", "sign_key"] {
            arguments.unset(argument);
        }
        self.checked(Settings::read_again(&arguments))
    }

    /// Without a settings file, an argument that is missing is perhaps in one.
    fn checked(&self, read: Result<Settings, settings::Error>) -> Result<Settings, Error> {
        read.map_err(|error| match error {
            settings::Error::Missing { argument, .. } if self.config.is_none() => {
                let said = error.to_string();
                let said = bare(&said);
                Error::Usage(format!("{said}: give --{argument}, or a settings file with --config"))
            }
            other => other.into(),
        })
    }

    /// Whether there is a settings file.
    pub(super) fn has_file(&self) -> bool {
        self.config.is_some()
    }

    /// The streams that were named, or all of the settings file.
    ///
    /// # Errors
    /// None was named and there is no file to name them.
    pub(super) fn streams(&self, named: &[String]) -> Result<Vec<String>, Error> {
        if !named.is_empty() {
            // Named twice, its lines are still printed once.
            let mut seen = HashSet::new();
            return Ok(named.iter().filter(|name| seen.insert(*name)).cloned().collect());
        }
        let Some(file) = &self.config else {
            let text =
                "no stream given: name a stream (as in VCL), or a settings file with --config";
            return Err(Error::Usage(text.to_owned()));
        };
        let streams = tables(file)?;
        if streams.is_empty() {
            let text =
                format!("{}: the file has no tables; each stream needs a table", file.display());
            return Err(Error::Usage(text));
        }
        Ok(streams)
    }
}

/// The names of the tables of a TOML file.
fn tables(file: &Path) -> Result<Vec<String>, Error> {
    let failed = |why: String| Error::Usage(format!("{}: {why}", file.display()));
    let text = regular_file::read_text(file, regular_file::SETTINGS_MAX)
        .map_err(|error| failed(error.to_string()))?;
    let parsed: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| failed(format!("not valid TOML: {}", error.message())))?;
    let tables = parsed.into_iter().filter(|(_, value)| value.is_table());
    Ok(tables.map(|(name, _)| name).collect())
}

/// The client that the settings describe.
///
/// # Errors
/// A certificate or proxy that cannot be used.
pub(super) fn client(settings: &Settings) -> Result<Client, Error> {
    let clock: Arc<dyn Clock> = Arc::new(System::new());
    let credentials =
        chain(&settings.sources, &variables(), settings.bucket.endpoint(), &settings.s3)
            .map_err(SetupError::from)?;
    Ok(Client::new(settings.bucket.clone(), settings.s3.clone(), Arc::new(credentials), clock)?)
}

/// A stream with its settings and its client.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) settings: Settings,
    pub(super) client: Client,
    /// What its gateway's silences have shown.
    pub(super) patience: Patience,
}

impl Source {
    pub(super) fn new(settings: Settings, client: Client) -> Self {
        Self { settings, client, patience: Patience::default() }
    }

    /// One for each stream that was named, see [`Connection::streams`].
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub(super) fn all(connection: &Connection, named: &[String]) -> Result<Vec<Self>, Error> {
        let open = |stream: &String| {
            let settings = connection.settings_to_read(stream)?;
            let client = client(&settings)?;
            Ok(Self::new(settings, client))
        };
        connection.streams(named)?.iter().map(open).collect()
    }

    /// One of a gateway that nobody asks.
    #[cfg(test)]
    pub(super) fn example(stream: &str) -> Self {
        let mut arguments = settings::Arguments::new(stream);
        arguments.set("endpoint", Some("http://127.0.0.1:9".to_owned()));
        arguments.set("bucket", Some("logs".to_owned()));
        let settings = Settings::read(&arguments).unwrap();
        let client = client(&settings).unwrap();
        Self::new(settings, client)
    }
}
