//! IAM Identity Center: the token that `aws sso login` keeps, traded for a role's credentials.
//!
//! | step | |
//! |---|---|
//! | 1 | `~/.aws/sso/cache/{SHA-1 of the session's name or of the start URL}.json`: the token |
//! | 2 | `GET https://portal.sso.{region}.../federation/credentials` with it: the credentials |
//!
//! Non-goals: renewing the token. Its refresh token is the user's, who shares it with every program that
//! reads the file: a renewal may be good once, so who renews has to write the file, which those programs do
//! without a lock. `aws sso login` and each other command of `aws` do it; `s3log credentials` can run one.
//! So an operator hears of its end half an hour before.
//! Source: <https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html>.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha1::{Digest as _, Sha1};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::super::http::Variables;
use super::super::wire::{date, encode};
use super::environment::Hidden;
use super::file::unreadable;
use super::ini::{Section, get};
use super::services::Services;
use super::shared::SharedFiles;
use super::sts::domain;
use super::types::{Credentials, CredentialsError, Ending};
use super::web::Lent;
use crate::regular_file;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The portal of IAM Identity Center.
#[derive(Debug)]
pub(super) struct Sso {
    variables: Hidden,
    services: Services,
}

/// A session as a profile describes it.
struct Session {
    /// What the token's file is called after.
    named: String,
    region: String,
    account: String,
    role: String,
}

/// The file of `aws sso login`.
#[derive(Zeroize, ZeroizeOnDrop, serde::Deserialize)]
struct Token {
    #[serde(rename = "accessToken")]
    token: String,
    #[serde(rename = "expiresAt")]
    expires: String,
}

/// What the portal answers.
#[derive(serde::Deserialize)]
struct Answer {
    #[serde(rename = "roleCredentials")]
    credentials: Role,
}

#[derive(Zeroize, ZeroizeOnDrop, serde::Deserialize)]
struct Role {
    #[serde(rename = "accessKeyId")]
    access: String,
    #[serde(rename = "secretAccessKey")]
    secret: String,
    #[serde(rename = "sessionToken")]
    token: String,
    /// Milliseconds of Unix time.
    expiration: u64,
}

impl Sso {
    pub(super) fn new(variables: Arc<dyn Variables>, services: Services) -> Self {
        Self { variables: Hidden(variables), services }
    }

    /// Whether `profile` describes a session; its token may still come.
    pub(super) fn check(
        &self,
        files: &SharedFiles,
        profile: &str,
        section: &Section,
    ) -> Result<(), CredentialsError> {
        session(files, profile, section).map(|_| ())
    }

    /// The credentials of the role that `profile`, whose settings are `section`, names.
    pub(super) fn load(
        &self,
        files: &SharedFiles,
        profile: &str,
        section: &Section,
        now: Duration,
    ) -> Result<Credentials, CredentialsError> {
        let name = name(profile);
        let session = session(files, profile, section)?;
        let (token, ending) = self.token(files, &session, profile, now)?;
        let url = self.variables.get("AWS_ENDPOINT_URL_SSO").unwrap_or_else(|| {
            format!("https://portal.sso.{}.{}", session.region, domain(&session.region))
        });
        let (place, endpoint) = self.services.place(&name, &url, TIMEOUT)?;
        let url = format!(
            "{endpoint}/federation/credentials?role_name={}&account_id={}",
            encode::query(&session.role),
            encode::query(&session.account)
        );
        let headers =
            [("x-amz-sso_bearer_token", token.token.as_str()), ("accept", "application/json")];
        let answer = place.send("GET", &url, &headers, None)?;
        let lent = Lent::new(now, &answer);
        let body = place.accept(answer, &token.token)?;
        // The error would quote what it found there.
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| place.down("its document is not JSON"))?;
        let found = answer.credentials;
        let expires = lent.ours(Duration::from_secs(found.expiration / 1000));
        Ok(Credentials::new(
            found.access.as_str(),
            found.secret.as_str(),
            Some(&found.token),
            Some(expires),
            name.as_str(),
        )
        .ending(Some(ending)))
    }

    fn token(
        &self,
        files: &SharedFiles,
        session: &Session,
        profile: &str,
        now: Duration,
    ) -> Result<(Token, Ending), CredentialsError> {
        let broken = |reason| CredentialsError::Broken { place: name(profile), reason };
        let file = format!("{}.json", encode::hex(&Sha1::digest(&session.named)));
        let home = self.variables.get("HOME").map(|home| PathBuf::from(home).join(".aws"));
        let beside = files.directory().map(PathBuf::from);
        let folders: Vec<PathBuf> =
            home.into_iter().chain(beside).map(|at| at.join("sso/cache")).collect();
        let path = folders.iter().find(|folder| folder.join(&file).exists());
        let login = format!(
            "run aws sso login --profile {profile} as the user that varnishd's child runs as"
        );
        let Some(path) = path.map(|folder| folder.join(&file)) else {
            let places: Vec<_> = folders.iter().map(|at| at.display().to_string()).collect();
            let reason = format!("there is no {file} in {}: {login}", places.join(" or "));
            return Err(broken(reason));
        };
        let shown = path.display();
        let bytes = regular_file::read(&path, regular_file::KEYS_MAX)
            .map_err(|e| unreadable(name(profile), &format!("token file {shown}: "), &e))?;
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|_| broken(format!("{shown} is not a token: {login}")))?;
        // As releases of 2020 wrote it.
        let utc = token.expires.strip_suffix("UTC").map(|text| format!("{text}Z"));
        match date::rfc3339(utc.as_ref().unwrap_or(&token.expires)) {
            Some(end) if end > now => {
                let text = format!("the token in {shown} expires: {login} before");
                Ok((token, Ending { at: end, text }))
            }
            Some(_) => Err(broken(format!("the token in {shown} has expired: {login}"))),
            None => Err(broken(format!("the token in {shown} has no valid expiresAt: {login}"))),
        }
    }
}

/// What messages call it.
fn name(profile: &str) -> String {
    format!("IAM Identity Center [{profile}]")
}

/// The session that `profile`, whose settings are `section`, describes.
fn session(
    files: &SharedFiles,
    profile: &str,
    section: &Section,
) -> Result<Session, CredentialsError> {
    let missing = |key: &str| CredentialsError::Broken {
        place: name(profile),
        reason: format!("the profile has no {key}, which aws configure sso writes"),
    };
    let needed = |section: &Section, key: &str| {
        get(section, key).map(str::to_owned).ok_or_else(|| missing(key))
    };
    let (account, role) = (needed(section, "sso_account_id")?, needed(section, "sso_role_name")?);
    let (named, region) = match get(section, "sso_session") {
        Some(name) => {
            let of = files.section(&format!("sso-session {name}"))?;
            let of = of.ok_or_else(|| missing("section [sso-session ...] of its name"))?;
            (name.to_owned(), needed(&of, "sso_region")?)
        }
        None => (needed(section, "sso_start_url")?, needed(section, "sso_region")?),
    };
    Ok(Session { named, region, account, role })
}
