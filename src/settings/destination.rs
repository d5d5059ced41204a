//! The arguments about the gateway: how it is reached and what objects are stored with.

use std::path::PathBuf;

use super::{Arguments, Error};
use crate::block::Meta;
use crate::clock::{Clock as _, System};
use crate::s3::credentials::{Role, Sources};
use crate::s3::object::SecondsOrDate;
use crate::s3::object::{acl, server_side_encryption, storage_class};
use crate::s3::{Addressing, Bucket, Endpoint, Gateway, ObjectOptions, Options, Proxy};
use crate::units;

/// The gateway and the bucket.
pub(super) fn bucket(arguments: &Arguments) -> Result<Bucket, Error> {
    let allow_http = arguments.flag("allow_http")?;
    let text = arguments.required("endpoint", "https://host, optionally with a port")?;
    let endpoint =
        Endpoint::parse(text, allow_http).map_err(|error| arguments.problem("endpoint", error))?;
    let name = arguments.required("bucket", "the name of a bucket")?;
    let addressing = parsed(arguments, "addressing")?.unwrap_or(Addressing::Path);
    Bucket::new(endpoint, name, addressing).map_err(|error| arguments.problem("bucket", error))
}

/// Where the access key comes from.
pub(super) fn sources(arguments: &Arguments) -> Sources {
    let text = |argument| arguments.get(argument).map(str::to_owned);
    Sources {
        file: arguments.get("credentials").map(PathBuf::from),
        profile: text("profile"),
        role: text("role_arn").map(|arn| Role { arn, external_id: None, session_name: None }),
    }
}

/// How requests are made.
pub(super) fn options(arguments: &Arguments, bucket: &Bucket) -> Result<Options, Error> {
    let options = Options {
        region: region(arguments)?,
        connect_timeout: arguments.duration("connect_timeout")?,
        timeout: arguments.duration("timeout")?,
        ca_file: arguments.get("ca_file").map(PathBuf::from),
        client_certificate: client_certificate(arguments)?,
        proxy: match arguments.get("proxy") {
            None => Proxy::Environment,
            Some("none") => Proxy::None,
            Some(url) => Proxy::Url(url.to_owned()),
        },
        gateway: parsed(arguments, "gateway")?,
        object: object(arguments)?,
        ..Options::default()
    };
    let gateway = options.gateway.unwrap_or_else(|| Gateway::of(bucket.endpoint().host()));
    let wrong = |error| arguments.problem("gateway", error);
    options.object.check(gateway, System::new().unix()).map_err(wrong)?;
    let own = Meta::long(arguments.stream(), &host(arguments), arguments.get("sign_key").is_some());
    let own = own.to_pairs();
    let own = own.iter().map(|(name, value)| (*name, value.as_str()));
    options.object.check_room(gateway, own).map_err(wrong)?;
    Ok(options)
}

/// The node's name: `hostname`, else the machine's.
pub(crate) fn host(arguments: &Arguments) -> String {
    arguments.get("hostname").map_or_else(
        || rustix::system::uname().nodename().to_string_lossy().into_owned(),
        str::to_owned,
    )
}

fn region(arguments: &Arguments) -> Result<String, Error> {
    arguments.parsed("region", "us-east-1".to_owned(), |text| {
        let fits = !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if fits { Ok(text.to_owned()) } else { Err("a region's name, as us-east-1".to_owned()) }
    })
}

fn client_certificate(arguments: &Arguments) -> Result<Option<(PathBuf, PathBuf)>, Error> {
    match (arguments.get("client_certificate"), arguments.get("client_key")) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some((certificate.into(), key.into()))),
        (Some(_), None) => Err(arguments.bad("client_certificate", "client_key beside it")),
        (None, Some(_)) => Err(arguments.bad("client_key", "client_certificate beside it")),
    }
}

fn object(arguments: &Arguments) -> Result<ObjectOptions, Error> {
    let defaults = ObjectOptions::default();
    let word = |argument, read: fn(&str) -> Result<String, _>| {
        let text = arguments.get(argument).map(read).transpose();
        text.map_err(|error| arguments.problem(argument, error))
    };
    Ok(ObjectOptions {
        content_type: arguments.get("content_type").map_or(defaults.content_type, str::to_owned),
        if_none_match: arguments.flag("if_none_match")?,
        checksum: parsed(arguments, "checksum")?.unwrap_or_default(),
        acl: word("acl", acl)?,
        storage_class: word("redundancy", storage_class)?,
        server_side_encryption: word("server_side_encryption", server_side_encryption)?,
        kms_key_id: arguments.get("kms_key_id").map(str::to_owned),
        tags: pairs(arguments, "tags")?,
        metadata: pairs(arguments, "metadata")?,
        object_lock: parsed(arguments, "object_lock")?,
        object_ttl: object_ttl(arguments)?,
        ..defaults
    })
}

fn object_ttl(arguments: &Arguments) -> Result<Option<SecondsOrDate>, Error> {
    // VCL hands over its own durations in seconds.
    match arguments.get("object_ttl").and_then(units::duration).map(|ttl| ttl.as_secs()) {
        Some(seconds) if seconds > 0 => Ok(Some(SecondsOrDate::Seconds(seconds))),
        _ => parsed(arguments, "object_ttl"),
    }
}

/// An argument whose type reads itself.
fn parsed<T>(arguments: &Arguments, argument: &'static str) -> Result<Option<T>, Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let value = arguments.get(argument).map(str::parse).transpose();
    value.map_err(|error| arguments.problem(argument, error))
}

/// `name=value,name=value`.
fn pairs(arguments: &Arguments, argument: &'static str) -> Result<Vec<(String, String)>, Error> {
    let Some(text) = arguments.get(argument).filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    text.split(',')
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| arguments.bad(argument, "name=value, several with commas between them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Result<Options, Error> {
        let mut arguments = Arguments::new("access");
        arguments.set("endpoint", Some("https://gateway.example".to_owned()));
        arguments.set("bucket", Some("logs".to_owned()));
        for (key, value) in pairs {
            arguments.set(key, Some((*value).to_owned()));
        }
        options(&arguments, &bucket(&arguments)?)
    }

    #[test]
    fn what_an_object_is_stored_with_is_read_from_fastly_s_names_and_ours() {
        let options = read(&[
            ("acl", "private"),
            ("redundancy", "standard_ia"),
            ("tags", "team=edge, env=prod"),
            ("object_ttl", "2592000.000"),
            ("object_lock", "governance:30d"),
            ("checksum", "crc32c"),
        ]);
        // Storj alone has a TTL, and not together with a lock.
        assert!(options.is_err());
        let options = read(&[("tags", "team=edge, env=prod"), ("redundancy", "standard_ia")]);
        let object = options.unwrap().object;
        assert_eq!(object.storage_class.as_deref(), Some("STANDARD_IA"));
        assert_eq!(object.tags[1], ("env".to_owned(), "prod".to_owned()));
    }

    #[test]
    fn an_option_that_storj_does_not_take_is_refused_by_name() {
        let error = read(&[("gateway", "storj"), ("acl", "private")]).unwrap_err().to_string();
        assert!(error.starts_with("s3log: stream access: gateway: acl"), "{error}");
    }

    #[test]
    fn half_a_client_certificate_is_refused() {
        let error = read(&[("client_certificate", "/c.pem")]).unwrap_err().to_string();
        assert!(error.ends_with("it takes client_key beside it"), "{error}");
    }
}
