//! Where a record goes and who can read it there: the route.
//!
//! Two streams of one name with equal routes feed one pipeline; any difference in what the table
//! marks as `route` makes another one, with a ring, a spool and a chain of its own, so that lines
//! of two tenants never meet. A route's settings are kept beside its blocks ([`Saved`]), without
//! secrets, so that what waits is sent as they say although no VCL has them any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Arguments, Error, Settings, destination};
use crate::block::{RouteId, sanitise};
use crate::s3::Bucket;
use crate::s3::object::SecondsOrDate;
use crate::seal::Sealing;

impl Settings {
    /// Which route these settings describe.
    #[must_use]
    pub fn route(&self) -> RouteId {
        self.route_at(&endpoint_url(&self.bucket))
    }

    /// The same with another `endpoint`.
    fn route_at(&self, endpoint: &str) -> RouteId {
        let mut hash = Sha256::new();
        for (name, value) in self.route_parts(endpoint) {
            // Lengths first, so that no value can pretend to be the next name.
            for part in [name, &value] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = [0; 8];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        RouteId::new(id)
    }

    /// What the route consists of, names as in the table, defaults filled in.
    fn route_parts(&self, endpoint: &str) -> Vec<(&'static str, String)> {
        let object = &self.s3.object;
        let pairs = |pairs: &[(String, String)]| {
            let mut all: Vec<_> =
                pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            all.sort();
            all.join(",")
        };
        // As given: what it stands for may change with a release.
        let given = |name| self.arguments.get(name).unwrap_or_default().to_owned();
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let mut parts = vec![
            ("endpoint", endpoint.to_owned()),
            ("bucket", self.bucket.name().to_owned()),
            ("path", self.naming.path().to_owned()),
            ("timestamp_format", self.naming.timestamp_format().to_owned()),
            ("hostname", self.host.clone()),
            // Keys and folders have it sanitised, and two names may be one there.
            (
                "stream",
                if sanitise(&self.stream) == self.stream {
                    String::new()
                } else {
                    self.stream.clone()
                },
            ),
            ("encrypt_to", self.readers().join(" ")),
            ("sign_key", self.signer_id()),
            ("gateway", given("gateway")),
            ("content_type", object.content_type.clone()),
            ("acl", text(&object.acl)),
            ("redundancy", text(&object.storage_class)),
            ("server_side_encryption", text(&object.server_side_encryption)),
            ("kms_key_id", text(&object.kms_key_id)),
            ("tags", pairs(&object.tags)),
            // As given: some of it may not be sent.
            (
                "metadata",
                pairs(&destination::pairs(&self.arguments, "metadata").unwrap_or_default()),
            ),
            ("object_lock", given("object_lock")),
            (
                "object_ttl",
                match &object.object_ttl {
                    None => String::new(),
                    Some(SecondsOrDate::Seconds(seconds)) => format!("{seconds}s"),
                    Some(SecondsOrDate::Date(date)) => date.clone(),
                },
            ),
        ];
        // Only where they are given: routes of before them keep their folders.
        if !self.naming.zone().is_utc() {
            parts.push(("path_timezone", self.naming.zone().name().to_owned()));
        }
        if let Some(owner) = &self.s3.expected_bucket_owner {
            parts.push(("expected_bucket_owner", owner.clone()));
        }
        parts
    }

    /// Who can read what is uploaded besides those with access to the bucket: age recipients or the
    /// fingerprint of an OpenPGP key, sorted; empty for unencrypted blocks.
    #[must_use]
    pub fn readers(&self) -> Vec<String> {
        match &self.sealing {
            None => Vec::new(),
            Some(Sealing::Age(recipients)) => {
                let mut keys = recipients.keys();
                keys.sort();
                keys
            }
            Some(Sealing::OpenPgp(certificate)) => vec![certificate.key_fingerprint()],
        }
    }

    /// The id of the key that signs; empty for none.
    fn signer_id(&self) -> String {
        self.signer.as_ref().map_or_else(String::new, |key| key.id().to_string())
    }

    /// Where records go, in words for the operator.
    #[must_use]
    pub(crate) fn destination(&self) -> String {
        let readers = match self.readers().len() {
            0 => "unencrypted".to_owned(),
            1 => "encrypted to 1 key".to_owned(),
            many => format!("encrypted to {many} keys"),
        };
        let path = self.naming.path();
        let path = if path.is_empty() { String::new() } else { format!(", path {path}") };
        let (name, url) = (self.bucket.name(), endpoint_url(&self.bucket));
        format!("bucket {name} at {url}{path}, {readers}")
    }
}

fn endpoint_url(bucket: &Bucket) -> String {
    let endpoint = bucket.endpoint();
    let (scheme, host, port) = (endpoint.scheme(), endpoint.host(), endpoint.port());
    format!("{}{}", format!("{scheme:?}://{host}:{port}").to_lowercase(), endpoint.base())
}

/// What is kept of a route beside its blocks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Saved {
    /// Its [`RouteId`].
    route: String,
    /// The stream's name as in VCL.
    stream: String,
    /// See [`Settings::readers`]: what is sealed later must be sealed to exactly these.
    readers: Vec<String>,
    /// Id of the key that signs, empty for none; what a release left that did not note it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
    /// The arguments, passwords and secret keys left out.
    arguments: BTreeMap<String, String>,
    /// The settings file, for what may stand only there.
    file: Option<PathBuf>,
}

impl Saved {
    /// What is to be kept of `settings`.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let mut arguments: BTreeMap<String, String> = settings
            .arguments
            .pairs()
            // The line's settings are VCL's business.
            .filter(|(name, _)| {
                !["format", "escape", "dialect", "tag", "message_type"].contains(name)
            })
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if arguments.get("proxy").is_some_and(|proxy| proxy.contains('@')) {
            arguments.remove("proxy");
        }
        arguments.insert("hostname".to_owned(), settings.host.clone());
        // Keys themselves and not where they were: the file may change.
        match &settings.sealing {
            None => {}
            Some(Sealing::Age(_)) => {
                arguments.insert("encrypt_to".to_owned(), settings.readers().join(" "));
            }
            Some(Sealing::OpenPgp(certificate)) => {
                arguments.insert("public_key".to_owned(), certificate.text().to_owned());
            }
        }
        Self {
            route: settings.route().to_string(),
            stream: settings.stream.clone(),
            readers: settings.readers(),
            signer: Some(settings.signer_id()),
            arguments,
            file: settings.arguments.file().map(Path::to_owned),
        }
    }

    /// The same under the id that its folder has: that of a build before may be another one.
    #[must_use]
    pub(crate) fn named(self, route: RouteId) -> Self {
        Self { route: route.to_string(), ..self }
    }

    /// Which route it is.
    #[must_use]
    pub fn route(&self) -> Option<RouteId> {
        self.route.parse().ok()
    }

    /// The arguments as they were, `spool` being the directory that the folder is in now.
    #[must_use]
    pub fn arguments(&self, spool: &Path) -> Arguments {
        let mut arguments = Arguments::new(&self.stream);
        for known in super::table::ARGUMENTS {
            arguments.set(known.name, self.arguments.get(known.name).cloned());
        }
        arguments.set("spool", Some(spool.display().to_string()));
        if arguments.get("proxy").is_none()
            && let Some(file) = &self.file
        {
            // The one secret that an argument may hold stands in that file alone.
            let mut from_file = Arguments::new(&self.stream);
            if from_file.fill_from_file(file).is_ok() {
                arguments.set("proxy", from_file.get("proxy").map(str::to_owned));
            }
        }
        arguments
    }

    /// Whether another process uploads what waits here.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.arguments.get("upload").is_some_and(|upload| upload == "external")
    }

    /// The stream's name as in VCL.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The settings of a process that only uploads: the route as it is kept here, and all else as
    /// `given`. This file is written by another user, so it does not say where credentials are, nor
    /// which endpoint they are shown to.
    ///
    /// # Errors
    /// A setting cannot be used, or the route has another endpoint than `given`.
    pub fn settings_to_ship(&self, given: &Arguments) -> Result<Settings, Error> {
        let mut arguments = given.clone();
        let uploads = |known: &&super::table::Argument| {
            // What blocks are encrypted and signed with is done by now.
            known.route
                && !["encrypt_to", "public_key", "sign_key", "endpoint"].contains(&known.name)
        };
        for known in super::table::ARGUMENTS.iter() {
            if known.route && known.name != "endpoint" {
                arguments.unset(known.name);
            }
            if uploads(&known) {
                arguments.set(known.name, self.arguments.get(known.name).cloned());
            }
        }
        arguments.unset("upload");
        let settings = Settings::read_again(&arguments)?;
        let mut there = arguments.clone();
        there.set("endpoint", self.arguments.get("endpoint").cloned());
        let url = endpoint_url(&destination::bucket(&there)?);
        if url != endpoint_url(&settings.bucket) {
            let problem = format!(
                "the route's is {url}, and it is uploaded only to the one given here: give that one, \
                 or load a VCL with this one"
            );
            return Err(arguments.problem("endpoint", problem));
        }
        Ok(settings)
    }

    /// See [`Settings::readers`].
    #[must_use]
    pub fn readers(&self) -> &[String] {
        &self.readers
    }

    /// Id of the key that signs, empty for none; `None` where it was not noted.
    #[must_use]
    pub fn signer(&self) -> Option<&str> {
        self.signer.as_deref().or_else(|| (!self.arguments.contains_key("sign_key")).then_some(""))
    }

    /// The settings for closing what waits in the spool `directory`, for another route to seal anew: as
    /// they were, but for the key that signs, which is not needed and may be gone.
    ///
    /// # Errors
    /// They cannot be used any more.
    pub fn settings_to_move(&self, directory: &Path) -> Result<Settings, Error> {
        let mut arguments = self.arguments(directory);
        arguments.unset("sign_key");
        self.read(&arguments)
    }

    /// The settings as they were when the route was begun, whatever has expired since.
    fn read(&self, arguments: &Arguments) -> Result<Settings, Error> {
        Settings::read_for(arguments, self.readers.first().map(String::as_str))
    }

    /// The settings, from `arguments`, which are [`Saved::arguments`] or those with other
    /// credentials.
    ///
    /// # Errors
    /// They cannot be used any more, or would seal to other keys or sign with another.
    pub fn settings(&self, arguments: &Arguments) -> Result<Settings, Error> {
        let settings = self.read(arguments)?;
        if settings.readers() != self.readers {
            let problem = "the keys that blocks of this route are encrypted to are not those it was \
                           begun with";
            return Err(arguments.problem("encrypt_to", problem));
        }
        let now = settings.signer_id();
        let same = match &self.signer {
            Some(signer) => now == *signer,
            // The route has it in its digest, which was of an endpoint without its path.
            None => {
                let endpoint = endpoint_url(&settings.bucket);
                let base = settings.bucket.endpoint().base();
                let before = endpoint.strip_suffix(base).unwrap_or(&endpoint);
                [before, &*endpoint]
                    .iter()
                    .any(|at| settings.route_at(at).to_string() == self.route)
            }
        };
        if !same {
            let (was, now) = (self.signer.as_deref().unwrap_or("another"), &*now);
            let [was, now] = [was, now].map(|id| if id.is_empty() { "none" } else { id });
            let problem = format!(
                "the file has key {now}, but blocks of this route are signed by key {was}; put that \
                 key back, or move the blocks to the present route: s3log requeue --from {}",
                self.route
            );
            return Err(arguments.problem("sign_key", problem));
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::table::ARGUMENTS;

    const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    fn settings(pairs: &[(&'static str, &str)]) -> Settings {
        let mut arguments = Arguments::new("access");
        for (name, value) in
            [("endpoint", "https://gateway.example"), ("bucket", "logs"), ("hostname", "edge")]
        {
            arguments.set(name, Some(value.to_owned()));
        }
        for (name, value) in pairs {
            arguments.set(name, Some((*value).to_owned()));
        }
        Settings::read(&arguments).unwrap()
    }

    #[test]
    fn exactly_what_the_table_marks_makes_another_route() {
        let plain = settings(&[]).route();
        let examples = [
            ("acl", "private"),
            ("addressing", "virtual"),
            ("bucket", "other"),
            ("checksum", "crc32c"),
            ("compression", "zstd"),
            ("connect_timeout", "1s"),
            ("content_md5", "true"),
            ("content_type", "text/plain"),
            ("credentials", "/some/file"),
            ("encrypt_to", KEY),
            ("endpoint", "https://other.example"),
            ("exit_timeout", "1s"),
            ("expected_bucket_owner", "111122223333"),
            ("gateway", "aws"),
            ("hostname", "edge-2"),
            ("if_none_match", "false"),
            ("max_bytes", "1MB"),
            ("metadata", "team=edge"),
            ("object_lock", "governance:1d"),
            ("on_full", "wait"),
            ("on_spool_full", "drop_newest"),
            ("path", "logs/"),
            ("period", "1s"),
            ("profile", "other"),
            ("proxy", "none"),
            ("redundancy", "standard_ia"),
            ("region", "eu-west-1"),
            ("ring", "1MB"),
            ("role_arn", "arn:aws:iam::111122223333:role/x"),
            ("server_side_encryption", "AES256"),
            ("spool", "/srv/spool"),
            ("spool_max", "1MB"),
            ("sync", "none"),
            ("path_timezone", "Europe/Berlin"),
            ("tags", "team=edge"),
            ("timeout", "1s"),
            ("timestamp_format", "%s"),
            ("upload", "external"),
            ("upload_threads", "1"),
        ];
        for (name, value) in examples {
            let marked = ARGUMENTS.iter().find(|known| known.name == name).unwrap().route;
            assert_eq!(settings(&[(name, value)]).route() != plain, marked, "{name}");
        }
        // Not among the examples: what needs files, what needs another argument, and the line's.
        let rest = ARGUMENTS.iter().filter(|known| known.route);
        let rest: Vec<_> =
            rest.filter(|known| !examples.iter().any(|(name, _)| *name == known.name)).collect();
        let rest: Vec<_> = rest.iter().map(|known| known.name).collect();
        assert_eq!(rest, ["kms_key_id", "object_ttl", "public_key", "sign_key"]);
    }

    #[test]
    fn the_same_route_in_other_words_is_the_same_route() {
        let one = settings(&[("endpoint", "https://gateway.example:443"), ("tags", "a=1,b=2")]);
        let two = settings(&[("endpoint", "https://gateway.example"), ("tags", "b=2, a=1")]);
        assert_eq!(one.route(), two.route());
        let read: RouteId = one.route().to_string().parse().unwrap();
        assert_eq!(read, one.route());
    }

    /// A gateway that gives each tenant a path of its own.
    #[test]
    fn the_path_of_the_endpoint_makes_another_route_and_none_is_as_before() {
        let at = |endpoint| settings(&[("endpoint", endpoint)]);
        let [a, b, none] =
            ["https://gw.example/a", "https://gw.example/b", "https://gw.example"].map(at);
        assert!(a.route() != b.route() && a.route() != none.route());
        assert_eq!(a.route(), at("https://GW.example:443/a/").route());
        assert_ne!(a.route(), at("https://gw.example/A").route());
        assert!(a.destination().contains(" at https://gw.example:443/a,"), "{}", a.destination());
        // What the build before called it: its folders are found.
        assert_eq!(none.route(), at("https://gw.example/").route());
        let plain = settings(&[]).route().to_string();
        assert_eq!(plain, "12370b6240ba5a91");

        // Of the build before, which had one route for all paths and did not always note who signs.
        let mut before = Saved::of(&a);
        before.route = none.route().to_string();
        for signer in [before.signer.take(), None] {
            let before = Saved { signer, ..before.clone() };
            let read = before.settings(&before.arguments(Path::new("/srv/spool"))).unwrap();
            assert_eq!(read.route(), a.route());
        }

        let mut given = Arguments::new("access");
        for (endpoint, good) in [("https://gw.example/a/", true), ("https://gw.example/b", false)] {
            given.set("endpoint", Some(endpoint.to_owned()));
            let shipped = Saved::of(&a).settings_to_ship(&given);
            assert_eq!(shipped.is_ok(), good, "{endpoint}");
        }
    }

    #[test]
    fn what_is_saved_reads_back_as_the_same_route_without_passwords() {
        let given = settings(&[
            ("encrypt_to", KEY),
            ("proxy", "http://user:secret@proxy.example:3128"),
            ("credentials", "/etc/keys"),
            ("spool", "/srv/spool"),
            ("format", "%h"),
        ]);
        let text = serde_json::to_string(&Saved::of(&given)).unwrap();
        assert!(!text.contains("secret"), "{text}");
        let saved: Saved = serde_json::from_str(&text).unwrap();
        let read = saved.settings(&saved.arguments(Path::new("/srv/spool"))).unwrap();
        assert_eq!(read.route(), given.route());
        assert_eq!(saved.route(), Some(given.route()));
        assert_eq!(read.sources.file.as_deref(), Some(Path::new("/etc/keys")));
    }

    #[test]
    fn who_only_uploads_takes_the_route_from_the_folder_and_nothing_else() {
        let packed = settings(&[
            ("endpoint", "https://gateway.example:443"),
            ("bucket", "tenant-1"),
            ("tags", "team=edge"),
            ("encrypt_to", KEY),
            ("credentials", "/etc/shadow"),
            ("ca_file", "/etc/shadow"),
            ("client_key", "/etc/shadow"),
            ("client_certificate", "/etc/shadow"),
            ("proxy", "http://thief.example:3128"),
            ("upload", "external"),
            ("upload_threads", "16"),
        ]);
        let saved = Saved::of(&packed);
        assert!(saved.is_external());
        let mut given = Arguments::new("access");
        given.set("endpoint", Some("https://gateway.example".to_owned()));
        given.set("credentials", Some("/etc/s3log/credentials".to_owned()));
        given.set("upload_threads", Some("3".to_owned()));
        // A folder decides about its own tags, whatever is given.
        given.set("tags", Some("team=other".to_owned()));
        let read = saved.settings_to_ship(&given).unwrap();
        assert_eq!(read.bucket.name(), "tenant-1");
        assert_eq!(read.s3.object.tags, [("team".to_owned(), "edge".to_owned())]);
        assert_eq!(read.sources.file.as_deref(), Some(Path::new("/etc/s3log/credentials")));
        assert_eq!((read.upload_threads, read.upload), (3, super::super::Upload::Internal));
        assert!(read.sealing.is_none() && read.s3.ca_file.is_none());
        assert!(read.s3.client_certificate.is_none());
        assert!(!format!("{:?} {:?}", read.s3, read.arguments).contains("thief"));

        given.set("endpoint", Some("https://other.example".to_owned()));
        let error = saved.settings_to_ship(&given).unwrap_err().to_string();
        assert!(error.contains("the route's is https://gateway.example:443"), "{error}");
    }
}
