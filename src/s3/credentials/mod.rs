//! Where the access key comes from, and how long it is good for.
//!
//! | order | source | provider |
//! |---|---|---|
//! | 1 | the file named by `credentials=`; alone when it is given | [`Profile`] |
//! | 2 | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | [`FromEnvironment`] |
//! | 3 | the shared config and credentials files and their profile | [`Profile`] |
//! | 4 | a web identity's token, traded at STS | [`WebIdentity`] |
//! | 5 | the endpoint of ECS or EKS | [`Container`] |
//! | 6 | EC2's instance metadata, version 2 | [`Imds`] |
//! | | with `role_arn=`: a role on top of any of them | [`AssumeRole`] |
//!
//! The first source that is configured decides: when it is there and broken, that is an error with
//! its name in it, never a silent step to the next one.
//!
//! Secrets are zeroized when the last copy goes, are printed by no `Debug` or `Display` here, and
//! are kept out of every error. (`aws-sigv4` makes short-lived copies while it signs, and the HTTP
//! client's buffers hold what it received until they are used again.)

mod cache;
mod chain;
mod container;
mod environment;
mod file;
mod imds;
mod ini;
mod profile;
mod services;
mod shared;
mod sources;
mod sso;
mod sts;
mod types;
mod web;

pub use super::http::{ProcessEnvironment, Variables};
pub use cache::Cache;
pub use chain::chain;
pub use container::Container;
pub use environment::FromEnvironment;
pub use imds::Imds;
pub use ini::{IniError, Section, profile};
pub use profile::Profile;
pub(crate) use shared::profile_region;
pub use sources::Sources;
pub use sts::{AssumeRole, Role, WebIdentity};
pub use types::{Credentials, CredentialsError, Ending, Provider, Stamp};

#[cfg(test)]
mod tests;
