//! A profile of AWS's files: keys, or what leads to them.
//!
//! | the profile has | what happens |
//! |---|---|
//! | `role_arn` with `source_profile` | the role, with that profile's credentials, and so on |
//! | `role_arn` with `credential_source` | the role, with those of the environment, the container or the instance |
//! | `role_arn` with `web_identity_token_file` | the role, with that token |
//! | `sso_session` or `sso_start_url` | what the token of `aws sso login` is traded for, see `sso` |
//! | `aws_access_key_id` | that key |
//! | `credential_process` | an error: no program is run here |
//!
//! Whoever loads this module into varnishd does not expect it to start programs: a child of the
//! cache process inherits its files and its memory, and its end is a signal that is varnishd's. So
//! `s3log credentials` runs such a program beside it and writes what it says into a file.
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html>.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::http::{Http, Variables};
use super::super::wire::date;
use super::container::Container;
use super::environment::{FromEnvironment, Hidden};
use super::imds::Imds;
use super::ini::{IniError, Section, get};
use super::services::Services;
use super::shared::SharedFiles;
use super::sso::Sso;
use super::sts::{Role, Sts};
use super::types::{Credentials, CredentialsError, Provider, Stamp};

/// What a program would be for is done beside the process.
const NO_PROGRAMS: &str = "has credential_process, and no program is run here: let s3log credentials \
    --output FILE --exec PROGRAM run it, and name FILE in credentials=";

/// Where a profile's credentials are.
enum Lookup {
    /// In the files.
    Here(Credentials),
    /// With somebody who was not to be asked.
    Elsewhere,
}

/// A profile of the shared files, or of the one named by `credentials=`.
#[derive(Debug)]
pub struct Profile {
    files: SharedFiles,
    variables: Hidden,
    sts: Sts,
    sso: Sso,
    container: Container,
    imds: Imds,
}

impl Profile {
    /// `services` leads to AWS's services, `direct` to what is beside this machine.
    pub(super) fn new(
        files: SharedFiles,
        variables: &Arc<dyn Variables>,
        sts: Sts,
        services: Services,
        direct: &Http,
    ) -> Self {
        Self {
            sso: Sso::new(Arc::clone(variables), services),
            container: Container::new(Arc::clone(variables), direct.clone()),
            imds: Imds::new(Arc::clone(variables), direct.clone()),
            variables: Hidden(Arc::clone(variables)),
            files,
            sts,
        }
    }

    fn broken(&self, profile: &str, reason: impl std::fmt::Display) -> CredentialsError {
        let reason = format!("section [{profile}] {reason}");
        CredentialsError::Broken { place: self.name(), reason }
    }

    /// The credentials of `profile`; `path` are the profiles that have led to it. Nobody is asked unless
    /// `ask` says so.
    fn resolve(
        &self,
        profile: &str,
        path: &mut Vec<String>,
        now: Duration,
        ask: bool,
    ) -> Result<Option<Lookup>, CredentialsError> {
        let optional = path.is_empty() && !self.files.profile_named;
        if path.iter().any(|seen| seen == profile) {
            let circle = format!("{}, {profile}", path.join(", "));
            let reason = format!("leads back to itself by source_profile: {circle}");
            return Err(self.broken(profile, reason));
        }
        path.push(profile.to_owned());
        let Some(section) = self.files.section(profile)? else {
            let reason = IniError::NoProfile(profile.to_owned()).to_string();
            let place = self.name();
            return if optional {
                Ok(None)
            } else {
                Err(CredentialsError::Broken { place, reason })
            };
        };
        if let Some(arn) = get(&section, "role_arn") {
            return self.role((&section, profile), arn, path, now, ask).map(Some);
        }
        if get(&section, "sso_session").is_some() || get(&section, "sso_start_url").is_some() {
            let found = match ask {
                true => self.sso.load(&self.files, profile, &section, now).map(Lookup::Here),
                false => self.sso.check(&self.files, profile, &section).map(|()| Lookup::Elsewhere),
            };
            return found.map(Some);
        }
        if let Some(found) = self.keys(&section, profile)? {
            return Ok(Some(Lookup::Here(found)));
        }
        if get(&section, "credential_process").is_some() {
            return Err(self.broken(profile, NO_PROGRAMS));
        }
        if optional {
            return Ok(None);
        }
        let reason = IniError::NoKey(profile.to_owned(), "aws_access_key_id").to_string();
        Err(CredentialsError::Broken { place: self.name(), reason })
    }

    /// The key that stands in a section.
    fn keys(
        &self,
        section: &Section,
        profile: &str,
    ) -> Result<Option<Credentials>, CredentialsError> {
        let missing = |key| {
            let reason = IniError::NoKey(profile.to_owned(), key).to_string();
            CredentialsError::Broken { place: self.name(), reason }
        };
        let (access, secret) =
            match (get(section, "aws_access_key_id"), get(section, "aws_secret_access_key")) {
                (None, None) => return Ok(None),
                (None, _) => return Err(missing("aws_access_key_id")),
                (_, None) => return Err(missing("aws_secret_access_key")),
                (Some(access), Some(secret)) => (access, secret),
            };
        let token =
            get(section, "aws_session_token").or_else(|| get(section, "aws_security_token"));
        let expires = match get(section, "expiration") {
            None => None,
            Some(text) => Some(date::rfc3339(text).ok_or_else(|| {
                self.broken(profile, "has an invalid expiration: write it as 2030-01-01T00:00:00Z")
            })?),
        };
        Ok(Some(Credentials::new(access, secret, token, expires, self.name())))
    }

    /// The role of a section, on top of what the section names.
    fn role(
        &self,
        (section, profile): (&Section, &str),
        arn: &str,
        path: &mut Vec<String>,
        now: Duration,
        ask: bool,
    ) -> Result<Lookup, CredentialsError> {
        let text = |key| get(section, key).map(str::to_owned);
        let role = Role {
            arn: arn.to_owned(),
            external_id: text("external_id"),
            session_name: text("role_session_name"),
        };
        if get(section, "mfa_serial").is_some() {
            let reason =
                "has mfa_serial, and nobody is here to type the code: use a role without it";
            return Err(self.broken(profile, reason));
        }
        let sources = ["source_profile", "credential_source", "web_identity_token_file"].map(text);
        let base = match sources {
            [None, None, Some(_)] if !ask => return Ok(Lookup::Elsewhere),
            [None, None, Some(token)] => {
                return self.sts.web_identity(&role, Path::new(&token), now).map(Lookup::Here);
            }
            // A profile may name itself: the key is in the same section.
            [Some(source), None, None] if source == profile => self.keys(section, profile)?,
            [Some(source), None, None] => match self.resolve(&source, path, now, ask)? {
                Some(Lookup::Elsewhere) => return Ok(Lookup::Elsewhere),
                Some(Lookup::Here(found)) => Some(found),
                None => None,
            },
            [None, Some(source), None] => match source.as_str() {
                "Environment" | "EcsContainer" | "Ec2InstanceMetadata" if !ask => {
                    return Ok(Lookup::Elsewhere);
                }
                "Environment" => FromEnvironment::new(Arc::clone(&self.variables.0)).load(now)?,
                "EcsContainer" => self.container.load(now)?,
                "Ec2InstanceMetadata" => self.imds.load(now)?,
                _ => {
                    let reason = "takes Environment, EcsContainer or Ec2InstanceMetadata as \
                                  credential_source";
                    return Err(self.broken(profile, reason));
                }
            },
            _ => {
                let reason = "has role_arn, and takes one of source_profile, credential_source and \
                              web_identity_token_file beside it";
                return Err(self.broken(profile, reason));
            }
        };
        let Some(base) = base else {
            let reason = "has role_arn, and its source has no credentials";
            return Err(self.broken(profile, reason));
        };
        if !ask {
            return Ok(Lookup::Elsewhere);
        }
        self.sts.assume(&base, &role, now, &|| ()).map(Lookup::Here)
    }
}

impl Provider for Profile {
    fn name(&self) -> String {
        self.files.name()
    }

    fn load(&self, now: Duration) -> Result<Option<Credentials>, CredentialsError> {
        let found = self.resolve(&self.files.profile, &mut Vec::new(), now, true)?;
        Ok(match found {
            Some(Lookup::Here(found)) => Some(found),
            Some(Lookup::Elsewhere) | None => None,
        })
    }

    fn check(&self, now: Duration) -> Result<bool, CredentialsError> {
        let found = self.resolve(&self.files.profile, &mut Vec::new(), now, false)?;
        Ok(!matches!(found, Some(Lookup::Elsewhere)))
    }

    fn stamp(&self) -> Option<Stamp> {
        Some(self.files.stamp())
    }
}
