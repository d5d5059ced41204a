//! The arguments about the gateway: how it is reached and what objects are stored with.

use std::path::PathBuf;

use super::region::region;
use super::{Arguments, Error};
use crate::block::Meta;
use crate::clock::{Clock as _, System};
use crate::s3::credentials::{ProcessEnvironment, Role, Sources};
use crate::s3::object::{
    ContentMd5, Does, Region, SecondsOrDate, Traits, acl, server_side_encryption, storage_class,
};
use crate::s3::{
    Addressing, Bucket, Endpoint, Gateway, ObjectOptions, OptionError, Options, Proxy,
};
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

/// The kind of gateway: as given, else by the host's name.
fn gateway(arguments: &Arguments, bucket: &Bucket) -> Result<Gateway, Error> {
    Ok(parsed(arguments, "gateway")?.unwrap_or_else(|| Gateway::of(bucket.endpoint().host())))
}

/// Arguments that are good elsewhere, and that this gateway does not take.
fn check_gateway(arguments: &Arguments, traits: &Traits) -> Result<(), Error> {
    let bad = |argument, takes: &str| {
        Err(arguments.bad(argument, format!("{takes} with gateway = {:?}", traits.name)))
    };
    if traits.if_none_match == Does::No && arguments.get("if_none_match") == Some("true") {
        return bad("if_none_match", "false");
    }
    if traits.expected_bucket_owner == Does::No && arguments.get("expected_bucket_owner").is_some()
    {
        return bad("expected_bucket_owner", "no value");
    }
    if arguments.get("addressing").is_some_and(|text| !traits.addressing.take(text)) {
        return bad("addressing", &traits.addressing.text());
    }
    match (traits.region, arguments.get("region")) {
        (Region::Only(words), Some(text)) if !words.contains(&text) => {
            bad("region", &words.join(", "))
        }
        _ => Ok(()),
    }
}

/// Where the access key comes from.
pub(super) fn sources(arguments: &Arguments) -> Result<Sources, Error> {
    let text = |argument| arguments.get(argument).map(str::to_owned);
    Ok(Sources {
        file: arguments.get("credentials").map(PathBuf::from),
        profile: text("profile"),
        role: role(arguments)?,
    })
}

/// The role to assume. What STS refuses by its form is refused here.
/// Source: <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>.
fn role(arguments: &Arguments) -> Result<Option<Role>, Error> {
    let word = |argument, least, most, signs: &str, takes: &str| {
        let Some(text) = arguments.get(argument) else { return Ok(None) };
        let fits = (least..=most).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || signs.contains(c));
        if fits { Ok(Some(text.to_owned())) } else { Err(arguments.bad(argument, takes)) }
    };
    let takes = "2 to 1224 letters, digits and any of _+=,.@:/-";
    let external_id = word("external_id", 2, 1224, "_+=,.@:/-", takes)?;
    let takes = "2 to 64 letters, digits and any of _=,.@-";
    let session_name = word("role_session_name", 2, 64, "_=,.@-", takes)?;
    let takes = "a role's ARN, as arn:aws:iam::111122223333:role/logs";
    let Some(arn) = word("role_arn", 20, 2048, "_+=,.@:/-", takes)? else {
        for (name, given) in [("external_id", external_id), ("role_session_name", session_name)] {
            if given.is_some() {
                return Err(arguments.bad(name, "role_arn beside it"));
            }
        }
        return Ok(None);
    };
    // Who runs an STS of their own, as MinIO's, may have ARNs of any form.
    let mut parts = arn.split(':');
    let (scheme, partition, service) = (parts.next(), parts.next(), parts.next());
    let of_aws = partition.is_some_and(|partition| partition.starts_with("aws"));
    if scheme != Some("arn") || (of_aws && (service != Some("iam") || !arn.contains(":role/"))) {
        return Err(arguments.bad("role_arn", takes));
    }
    Ok(Some(Role { arn, external_id, session_name }))
}

/// How requests are made.
pub(super) fn options(arguments: &Arguments, bucket: &Bucket) -> Result<Options, Error> {
    let gateway = gateway(arguments, bucket)?;
    check_gateway(arguments, gateway.traits())?;
    let place = (bucket.endpoint(), gateway.traits());
    let options = Options {
        region: region(arguments, place, &sources(arguments)?, &ProcessEnvironment)?,
        connect_timeout: arguments.duration("connect_timeout")?,
        timeout: arguments.duration("timeout")?,
        ca_file: arguments.get("ca_file").map(PathBuf::from),
        client_certificate: client_certificate(arguments)?,
        proxy: match arguments.get("proxy") {
            None => Proxy::Environment,
            Some("none") => Proxy::None,
            Some(url) => Proxy::Url(url.to_owned()),
        },
        gateway: Some(gateway),
        expected_bucket_owner: owner(arguments)?,
        object: object(arguments)?,
        ..Options::default()
    };
    options.object.check(gateway).map_err(|error| refused(arguments, &error))?;
    Ok(options)
}

/// What is wrong with `options` and may have been right before; see [`super::Settings::objections`].
pub(super) fn objections(arguments: &Arguments, options: &Options) -> Vec<Error> {
    let own = Meta::long(arguments.stream(), &host(arguments), arguments.get("sign_key").is_some());
    let own = own.to_pairs();
    let own = own.iter().map(|(name, value)| (*name, value.as_str()));
    let gateway = options.gateway.unwrap_or(Gateway::Generic);
    let wrong = |error| refused(arguments, &error);
    [
        options.object.check_time(System::new().unix()).map_err(wrong),
        check_names(arguments),
        // The machine may have another name by now, and a block more to say.
        options.object.check_room(gateway, own).map_err(wrong),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect()
}

/// Names that blocks, and what is made of them, have in their metadata already. A gateway that gets a name
/// twice makes one value of the two, and neither is there any more.
fn own_names() -> Vec<&'static str> {
    let pairs = Meta::long("", "", true).to_pairs();
    pairs.into_iter().map(|(name, _)| name).chain(["compacted", "object-expires"]).collect()
}

/// Whether a name of metadata, whose case is nobody's, is one of these.
fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

/// Whether each name is one that can be given here, and is given once.
fn check_names(arguments: &Arguments) -> Result<(), Error> {
    let own = own_names();
    let metadata = pairs(arguments, "metadata")?;
    if let Some((name, _)) = metadata.iter().find(|(name, _)| is_one_of(&own, name)) {
        let takes = format!("other names than {name}, which is the module's: {}", own.join(", "));
        return Err(arguments.bad("metadata", takes));
    }
    let same_header: fn(&str, &str) -> bool = |one, two| one.eq_ignore_ascii_case(two);
    let same: fn(&str, &str) -> bool = |one, two| one == two;
    for (argument, pairs, same) in
        [("metadata", metadata, same_header), ("tags", pairs(arguments, "tags")?, same)]
    {
        let mut seen: Vec<&str> = Vec::new();
        for (name, _) in &pairs {
            if seen.iter().any(|seen| same(seen, name)) {
                let takes = format!("each name once, and {name} is there twice");
                return Err(arguments.bad(argument, takes));
            }
            seen.push(name);
        }
    }
    Ok(())
}

/// What is sent of `metadata`: the module's own names are not.
fn metadata(arguments: &Arguments) -> Result<Vec<(String, String)>, Error> {
    let own = own_names();
    let mut metadata = pairs(arguments, "metadata")?;
    metadata.retain(|(name, _)| !is_one_of(&own, name));
    Ok(metadata)
}

/// The node's name: `hostname`, else the machine's.
pub(crate) fn host(arguments: &Arguments) -> String {
    arguments.get("hostname").map_or_else(
        || rustix::system::uname().nodename().to_string_lossy().into_owned(),
        str::to_owned,
    )
}

/// An AWS account's number.
fn owner(arguments: &Arguments) -> Result<Option<String>, Error> {
    let Some(text) = arguments.get("expected_bucket_owner") else { return Ok(None) };
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Some(text.to_owned()));
    }
    Err(arguments.bad("expected_bucket_owner", "the 12 digits of an AWS account, as 111122223333"))
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
        text.map_err(|error| refused(arguments, &error))
    };
    Ok(ObjectOptions {
        content_type: arguments.get("content_type").map_or(defaults.content_type, str::to_owned),
        if_none_match: arguments.flag("if_none_match")?,
        checksum: parsed(arguments, "checksum")?.unwrap_or_default(),
        content_md5: arguments
            .choice(
                "content_md5",
                &[
                    ("auto", ContentMd5::Auto),
                    ("true", ContentMd5::Always),
                    ("false", ContentMd5::Never),
                ],
            )?
            .unwrap_or_default(),
        acl: word("acl", acl)?,
        storage_class: word("redundancy", storage_class)?,
        server_side_encryption: word("server_side_encryption", server_side_encryption)?,
        kms_key_id: arguments.get("kms_key_id").map(str::to_owned),
        tags: pairs(arguments, "tags")?,
        metadata: metadata(arguments)?,
        object_lock: parsed(arguments, "object_lock")?,
        object_ttl: object_ttl(arguments)?,
    })
}

fn object_ttl(arguments: &Arguments) -> Result<Option<SecondsOrDate>, Error> {
    // VCL hands over its own durations in seconds.
    match arguments.get("object_ttl").and_then(units::duration).map(|ttl| ttl.as_secs()) {
        Some(seconds) if seconds > 0 => Ok(Some(SecondsOrDate::Seconds(seconds))),
        _ => parsed(arguments, "object_ttl"),
    }
}

/// The error for an option, under the argument's own name.
fn refused(arguments: &Arguments, error: &OptionError) -> Error {
    match error {
        OptionError::Takes { option, takes, .. } => arguments.bad(option, takes),
        OptionError::Unsuitable { option, .. } | OptionError::NoRoom { option, .. } => {
            arguments.problem(option, error)
        }
    }
}

/// An argument whose type reads itself.
fn parsed<T>(arguments: &Arguments, argument: &'static str) -> Result<Option<T>, Error>
where
    T: std::str::FromStr<Err = OptionError>,
{
    let value = arguments.get(argument).map(str::parse).transpose();
    value.map_err(|error| refused(arguments, &error))
}

/// `name=value,name=value`.
pub(super) fn pairs(
    arguments: &Arguments,
    argument: &'static str,
) -> Result<Vec<(String, String)>, Error> {
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
    use crate::s3::object::{COLUMNS, GATEWAYS};
    use crate::settings::Settings;

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
        let said =
            "s3log: stream access: acl is \"private\"; expected no value with gateway = \"storj\"";
        assert!(error.starts_with(said), "{error}");
    }

    #[test]
    fn what_sts_or_s3_would_refuse_by_its_form_is_refused_at_the_load_with_what_is_accepted() {
        let role = ("role_arn", "arn:aws:iam::111122223333:role/logs");
        for (pairs, said) in [
            (&[("role_arn", "logs")][..], "role_arn is \"logs\"; expected a role's ARN"),
            (&[("role_arn", "arn:aws:s3:::111122223333/logs")], "expected a role's ARN"),
            (&[("external_id", "ext")], "external_id is \"ext\"; expected role_arn beside it"),
            (&[("role_session_name", "ext")], "expected role_arn beside it"),
            (&[role, ("external_id", "a b")], "external_id is \"a b\"; expected 2 to 1224 letters"),
            (&[role, ("role_session_name", "a/b")], "expected 2 to 64 letters"),
            (&[("expected_bucket_owner", "1234")], "is \"1234\"; expected the 12 digits"),
            (&[("content_md5", "yes")], "content_md5 is \"yes\"; expected auto, true, false"),
            (
                &[("content_md5", "false"), ("object_lock", "governance:1d")],
                "object_lock needs content_md5 or checksum",
            ),
            (&[("server_side_encryption", "SSE-C")], "and not SSE-C"),
            (&[("gateway", "s3")], "gateway is \"s3\"; expected aws, storj, r2, b2, wasabi, minio"),
        ] {
            let error = read(pairs).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let mut arguments = Arguments::new("access");
        for arn in ["arn:aws:iam:::role/logs-of-ceph", "arn:xxx:xxx:xxx:xxxxxxxx"] {
            arguments.set("role_arn", Some(arn.to_owned()));
            assert_eq!(sources(&arguments).unwrap().role.unwrap().arn, arn);
        }
        for (name, value) in [role, ("external_id", "a:b"), ("role_session_name", "edge-1")] {
            arguments.set(name, Some(value.to_owned()));
        }
        let role = sources(&arguments).unwrap().role.unwrap();
        assert_eq!(role.external_id.as_deref(), Some("a:b"));
        assert_eq!(role.session_name.as_deref(), Some("edge-1"));
        let owner = read(&[("expected_bucket_owner", "111122223333")]).unwrap();
        assert_eq!(owner.expected_bucket_owner.as_deref(), Some("111122223333"));
    }

    #[test]
    fn whatever_a_gateway_does_not_take_is_refused_with_argument_value_and_what_it_takes() {
        let mut refused = 0;
        for traits in GATEWAYS {
            let words = [
                ("acl", "aws-exec-read", traits.acl.text()),
                ("redundancy", "glacier_ir", traits.redundancy.text()),
                ("checksum", "crc32c", traits.checksum.text()),
                ("server_side_encryption", "aws:kms", traits.server_side_encryption.text()),
                ("tags", "a=b&c", traits.tags.text().to_owned()),
                ("tags", "a=ü", traits.tags.text().to_owned()),
                ("if_none_match", "true", cell(traits, "if_none_match")),
                ("object_lock", "governance:1d", cell(traits, "object_lock")),
                ("expected_bucket_owner", "111122223333", cell(traits, "expected_bucket_owner")),
            ];
            for (argument, value, accepted) in words {
                let name = traits.name;
                let read = read(&[("gateway", name), (argument, value)]);
                let good = match accepted.as_str() {
                    "any" | "?" | "yes" => true,
                    "without &" => !value.contains('&'),
                    "in ASCII" => value.is_ascii(),
                    _ => false,
                };
                assert_eq!(read.is_ok(), good, "{name} {argument} {value}: {read:?}");
                let Err(error) = read else { continue };
                refused += 1;
                let said = error.to_string();
                let begins = format!("s3log: stream access: {argument} is {value:?}; expected ");
                assert!(said.starts_with(&begins), "{said}");
                assert!(said.contains(&format!("with gateway = {name:?}")), "{said}");
                let listed =
                    ["none", "no"].contains(&accepted.as_str()) || said.contains(&accepted);
                assert!(listed, "{said}: {accepted}");
            }
        }
        assert!(refused > 25, "{refused}");
    }

    /// A cell of the table.
    fn cell(traits: &Traits, column: &str) -> String {
        let at = COLUMNS.iter().position(|name| *name == column).unwrap();
        traits.cells()[at].clone()
    }

    fn settings(pairs: &[(&'static str, &str)]) -> (Result<Settings, Error>, Settings) {
        let mut arguments = Arguments::new("access");
        let all =
            [("endpoint", "https://gateway.example"), ("bucket", "logs"), ("hostname", "edge")];
        for (key, value) in all.iter().chain(pairs) {
            arguments.set(key, Some((*value).to_owned()));
        }
        (Settings::read(&arguments), Settings::read_again(&arguments).unwrap())
    }

    /// With two values of one name the block is not the one that its metadata tells of.
    #[test]
    fn the_names_of_a_block_s_own_metadata_are_refused_and_are_never_sent_twice() {
        let pairs = Meta::long("access", "edge", true).to_pairs();
        let own = pairs.iter().map(|(name, _)| *name).chain(["compacted", "object-expires"]);
        for name in own {
            for name in [name.to_owned(), name.to_ascii_uppercase()] {
                let given = format!("team=edge, {name}=x");
                let (read, again) = settings(&[("metadata", &given)]);
                let said = read.unwrap_err().to_string();
                let expected = format!(
                    "s3log: stream access: metadata is {given:?}; expected other names than {name}, which "
                );
                assert!(said.starts_with(&expected), "{said}");
                // A process that starts with it sends the others, by the route that it had.
                assert_eq!(again.objections.len(), 1);
                assert_eq!(again.s3.object.metadata, [("team".to_owned(), "edge".to_owned())]);
                assert_ne!(again.route(), settings(&[("metadata", "team=edge")]).1.route());
            }
        }
    }

    #[test]
    fn a_name_that_is_given_twice_is_refused() {
        for (argument, given, name, good) in [
            ("metadata", "team=a,site=b,Team=c", "Team", false),
            ("tags", "team=a,site=b,team=c", "team", false),
            // S3's tags are told apart by case.
            ("tags", "team=a,Team=c", "", true),
        ] {
            let (read, again) = settings(&[(argument, given)]);
            assert_eq!(again.objections.len(), usize::from(!good));
            let Err(error) = read else {
                assert!(good, "{given}");
                continue;
            };
            let said = error.to_string();
            let expected =
                format!("{argument} is {given:?}; expected each name once, and {name} is ");
            assert!(said.contains(&expected), "{said}");
        }
    }

    /// The machine may have been given a longer name since.
    #[test]
    fn metadata_without_room_keeps_no_process_from_starting() {
        let long = format!("site={}", "x".repeat(1900));
        let (read, again) = settings(&[("metadata", &long)]);
        let said = read.unwrap_err().to_string();
        assert!(said.contains("metadata") && said.contains("2048"), "{said}");
        assert_eq!(again.objections.len(), 1);
    }

    #[test]
    fn half_a_client_certificate_is_refused() {
        let error = read(&[("client_certificate", "/c.pem")]).unwrap_err().to_string();
        assert!(error.ends_with("expected client_key beside it"), "{error}");
    }
}
