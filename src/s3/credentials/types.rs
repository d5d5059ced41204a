//! The access key itself, and the trait of everything that finds one.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use aws_smithy_runtime_api::client::identity::Identity;

use super::super::http::redact;

/// An access key with its secret, perhaps temporary. Cheap to clone: the secrets are shared, and
/// zeroized when the last clone goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    inner: aws_credential_types::Credentials,
    expires: Option<Duration>,
    source: String,
    ending: Option<Ending>,
}

/// When the source will hand out no more unless a person does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Unix time.
    pub at: Duration,
    /// What ends, and what to do before.
    pub text: String,
}

impl Credentials {
    /// `expires` is Unix time, `None` for a key that does not end; `source` is for messages.
    #[must_use]
    pub fn new(
        access_key: impl Into<String>,
        secret_key: impl Into<String>,
        session_token: Option<&str>,
        expires: Option<Duration>,
        source: impl Into<String>,
    ) -> Self {
        Self {
            inner: aws_credential_types::Credentials::new(
                access_key,
                secret_key,
                session_token.map(str::to_owned),
                expires.and_then(|at| UNIX_EPOCH.checked_add(at)),
                "s3log",
            ),
            expires,
            source: source.into(),
            ending: None,
        }
    }

    /// The same from a source that ends so.
    #[must_use]
    pub(super) fn ending(self, ending: Option<Ending>) -> Self {
        Self { ending, ..self }
    }

    /// When its source hands out no more, if that is known.
    #[must_use]
    pub fn source_ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// The access key's id, which is public: it stands in every signed request.
    #[must_use]
    pub fn access_key(&self) -> &str {
        self.inner.access_key_id()
    }

    /// Unix time of the expiry; `None` for a key that does not end.
    #[must_use]
    pub fn expires(&self) -> Option<Duration> {
        self.expires
    }

    /// Which source it came from, such as `environment`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether a session token goes with it.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.inner.session_token().is_some()
    }

    /// Whether a header can carry them.
    pub(in crate::s3) fn can_be_sent(&self) -> bool {
        let token = self.inner.session_token().unwrap_or_default();
        let texts = [self.access_key(), self.inner.secret_access_key(), token];
        texts.iter().all(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
    }

    pub(crate) fn identity(&self) -> Identity {
        self.inner.clone().into()
    }

    /// `text` without the secret and the token, for what a server sends back.
    #[must_use]
    pub(crate) fn redact(&self, text: &str) -> String {
        let secret = redact(text, self.inner.secret_access_key());
        redact(&secret, self.inner.session_token().unwrap_or_default())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key", &self.access_key())
            .field("source", &self.source)
            .field("temporary", &self.is_temporary())
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Why there are no credentials. Never holds any part of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// No source is configured.
    #[error(
        "no credentials found: name a file with credentials=, or set AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY (looked at: {0}; in a container on EC2 the instance metadata needs a \
         hop limit of 2)"
    )]
    None(String),
    /// A source is configured and cannot be used.
    #[error("credentials from {place}: {reason}")]
    Broken {
        /// The source and, for a file, its path.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A source is configured and does not answer now; asking again later may help.
    #[error("credentials from {place} are not to be had now: {reason}")]
    Down {
        /// The source and its address.
        place: String,
        /// What happened.
        reason: String,
    },
}

impl CredentialsError {
    /// The same error, in which nothing repeats these credentials' secrets.
    pub(super) fn without_secrets_of(self, credentials: &Credentials) -> Self {
        match self {
            Self::None(looked_at) => Self::None(looked_at),
            Self::Broken { place, reason } => {
                Self::Broken { place, reason: credentials.redact(&reason) }
            }
            Self::Down { place, reason } => {
                Self::Down { place, reason: credentials.redact(&reason) }
            }
        }
    }
}

/// Changes when what a provider has read changes; compared for equality only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(pub(super) Vec<u64>);

impl Stamp {
    /// One of several. An empty one is a file that is not there: the lengths keep the parts apart.
    pub(super) fn of(parts: impl Iterator<Item = Self>) -> Self {
        Self(parts.flat_map(|part| std::iter::once(part.0.len() as u64).chain(part.0)).collect())
    }
}

/// A source of credentials.
pub trait Provider: Send + Sync + fmt::Debug {
    /// What messages call it.
    fn name(&self) -> String;

    /// Reads the credentials at Unix time `now`. `Ok(None)` when this source is not configured, so
    /// that the next one is asked.
    ///
    /// # Errors
    /// When the source is configured and has no usable credentials.
    fn load(&self, now: Duration) -> Result<Option<Credentials>, CredentialsError>;

    /// What can be known without asking anybody: whether [`load`](Self::load) asks nobody.
    ///
    /// # Errors
    /// When the source is configured and what it reads cannot be used.
    fn check(&self, _now: Duration) -> Result<bool, CredentialsError> {
        Ok(true)
    }

    /// Cheap; `None` for a source that cannot tell. A change makes the cache read again.
    fn stamp(&self) -> Option<Stamp> {
        None
    }
}
