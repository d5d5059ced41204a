//! What each kind of gateway takes, as data: one row a gateway.
//!
//! A row says what is known. What nobody has measured or read is [`Words::Unknown`]: it is let through
//! at the load, and the gateway's answer is what counts. `docs/gateways.md` has this table with the
//! source of each fact, and a test compares the two.
//!
//! Non-goals: limits of size and of speed, which only Storj has so far (`gateway`).

use super::gateway::Gateway;

/// Which values of an option a gateway takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// All that S3 has.
    Any,
    /// These, in lower case.
    Only(&'static [&'static str]),
    /// None: it refuses the header, or ignores it.
    Nothing,
    /// Not verified.
    Unknown,
}

impl Words {
    /// Whether `value` is taken, as far as is known.
    #[must_use]
    pub fn take(self, value: &str) -> bool {
        match self {
            Self::Any | Self::Unknown => true,
            Self::Only(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
            Self::Nothing => false,
        }
    }

    /// What is taken, for a message and for the table.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::Only(words) => words.join(", "),
            Self::Nothing => "none".to_owned(),
            Self::Unknown => "?".to_owned(),
        }
    }
}

/// Whether a gateway does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// It does.
    Yes,
    /// It does not: it refuses the header, or ignores it.
    No,
    /// Not verified.
    Unknown,
}

impl Does {
    fn text(self) -> String {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "?",
        }
        .to_owned()
    }
}

/// Which region is signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// The one that the host's name has.
    Host,
    /// Any: it does not look.
    Any,
    /// One of these; the first is the default.
    Only(&'static [&'static str]),
    /// The one in its own settings, this by default.
    Own(&'static str),
    /// Not verified.
    Unknown,
}

impl Region {
    fn text(self) -> String {
        match self {
            Self::Host => "the host's".to_owned(),
            Self::Any => "any".to_owned(),
            Self::Only(words) => words.join(", "),
            Self::Own(default) => format!("its own, {default} by default"),
            Self::Unknown => "?".to_owned(),
        }
    }
}

/// Which tags a gateway takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    /// All that S3 has.
    Any,
    /// Those without an ampersand.
    NoAmpersand,
    /// Those in ASCII.
    Ascii,
    /// None.
    Nothing,
    /// Not verified.
    Unknown,
}

impl Tags {
    /// Whether a name or a value is taken, as far as is known.
    #[must_use]
    pub fn take(self, text: &str) -> bool {
        match self {
            Self::Any | Self::Unknown => true,
            Self::NoAmpersand => !text.contains('&'),
            Self::Ascii => text.is_ascii(),
            Self::Nothing => false,
        }
    }

    /// What is taken, for a message and for the table.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::NoAmpersand => "without &",
            Self::Ascii => "in ASCII",
            Self::Nothing => "none",
            Self::Unknown => "?",
        }
    }
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// The kind.
    pub gateway: Gateway,
    /// Its name in `gateway`.
    pub name: &'static str,
    /// The domains of its hosts; none for what people run themselves.
    pub domains: &'static [&'static str],
    /// `region`.
    pub region: Region,
    /// Whether it honours `If-None-Match: *`. Where it does not, the header is not sent.
    pub if_none_match: Does,
    /// `tags`.
    pub tags: Tags,
    /// `acl`.
    pub acl: Words,
    /// `redundancy`.
    pub redundancy: Words,
    /// `checksum`.
    pub checksum: Words,
    /// `server_side_encryption`.
    pub server_side_encryption: Words,
    /// `object_lock`.
    pub object_lock: Does,
    /// `expected_bucket_owner`.
    pub expected_bucket_owner: Does,
    /// `addressing`.
    pub addressing: Words,
}

/// Bucket in the path, or in the host's name.
const BOTH: Words = Words::Only(&["path", "virtual"]);

/// A row in which nothing is known.
const UNKNOWN: Traits = Traits {
    gateway: Gateway::Generic,
    name: "generic",
    domains: &[],
    region: Region::Unknown,
    if_none_match: Does::Unknown,
    tags: Tags::Unknown,
    acl: Words::Unknown,
    redundancy: Words::Unknown,
    checksum: Words::Unknown,
    server_side_encryption: Words::Unknown,
    object_lock: Does::Unknown,
    expected_bucket_owner: Does::Unknown,
    addressing: Words::Unknown,
};

/// All of them.
pub const GATEWAYS: &[Traits] = &[
    Traits {
        gateway: Gateway::Aws,
        name: "aws",
        domains: &[
            "amazonaws.com",
            "amazonaws.com.cn",
            "amazonaws.eu",
            "c2s.ic.gov",
            "sc2s.sgov.gov",
            "cloud.adc-e.uk",
            "csp.hci.ic.gov",
        ],
        region: Region::Host,
        if_none_match: Does::Yes,
        tags: Tags::Any,
        acl: Words::Any,
        redundancy: Words::Any,
        checksum: Words::Any,
        server_side_encryption: Words::Any,
        object_lock: Does::Yes,
        expected_bucket_owner: Does::Yes,
        addressing: BOTH,
    },
    Traits {
        gateway: Gateway::Storj,
        name: "storj",
        domains: &["storjshare.io"],
        region: Region::Any,
        if_none_match: Does::Yes,
        tags: Tags::NoAmpersand,
        acl: Words::Nothing,
        redundancy: Words::Only(&["standard"]),
        checksum: Words::Nothing,
        server_side_encryption: Words::Nothing,
        object_lock: Does::Yes,
        ..UNKNOWN
    },
    Traits {
        gateway: Gateway::R2,
        name: "r2",
        domains: &["r2.cloudflarestorage.com"],
        region: Region::Only(&["auto", "us-east-1", "wnam", "enam", "weur", "eeur", "apac"]),
        tags: Tags::Nothing,
        acl: Words::Nothing,
        redundancy: Words::Only(&["standard", "standard_ia"]),
        server_side_encryption: Words::Nothing,
        object_lock: Does::No,
        expected_bucket_owner: Does::No,
        ..UNKNOWN
    },
    Traits {
        gateway: Gateway::B2,
        name: "b2",
        domains: &["backblazeb2.com"],
        region: Region::Host,
        if_none_match: Does::No,
        tags: Tags::Nothing,
        ..UNKNOWN
    },
    Traits {
        gateway: Gateway::Wasabi,
        name: "wasabi",
        domains: &["wasabisys.com"],
        region: Region::Host,
        tags: Tags::Any,
        acl: Words::Any,
        addressing: BOTH,
        ..UNKNOWN
    },
    Traits {
        gateway: Gateway::Minio,
        name: "minio",
        region: Region::Any,
        if_none_match: Does::Yes,
        tags: Tags::Ascii,
        acl: Words::Any,
        redundancy: Words::Only(&["standard", "reduced_redundancy"]),
        checksum: Words::Any,
        server_side_encryption: Words::Any,
        object_lock: Does::Yes,
        ..UNKNOWN
    },
    Traits {
        gateway: Gateway::Ceph,
        name: "ceph",
        if_none_match: Does::Yes,
        tags: Tags::Any,
        acl: Words::Only(&[
            "private",
            "public-read",
            "public-read-write",
            "authenticated-read",
            "bucket-owner-read",
            "bucket-owner-full-control",
        ]),
        redundancy: Words::Any,
        object_lock: Does::Yes,
        addressing: BOTH,
        ..UNKNOWN
    },
    Traits {
        gateway: Gateway::Gcs,
        name: "gcs",
        domains: &["storage.googleapis.com"],
        if_none_match: Does::No,
        tags: Tags::Nothing,
        checksum: Words::Nothing,
        ..UNKNOWN
    },
    Traits {
        gateway: Gateway::Ovh,
        name: "ovh",
        domains: &["cloud.ovh.net", "cloud.ovh.us"],
        region: Region::Host,
        if_none_match: Does::Yes,
        tags: Tags::Any,
        acl: Words::Any,
        redundancy: Words::Any,
        server_side_encryption: Words::Only(&["AES256"]),
        object_lock: Does::Yes,
        ..UNKNOWN
    },
    Traits {
        gateway: Gateway::Garage,
        name: "garage",
        region: Region::Own("garage"),
        if_none_match: Does::No,
        tags: Tags::Nothing,
        acl: Words::Nothing,
        redundancy: Words::Nothing,
        checksum: Words::Any,
        server_side_encryption: Words::Nothing,
        object_lock: Does::No,
        addressing: BOTH,
        ..UNKNOWN
    },
    Traits {
        gateway: Gateway::SeaweedFs,
        name: "seaweedfs",
        region: Region::Any,
        if_none_match: Does::Yes,
        tags: Tags::Any,
        acl: Words::Any,
        redundancy: Words::Any,
        checksum: Words::Any,
        object_lock: Does::Yes,
        addressing: BOTH,
        ..UNKNOWN
    },
    UNKNOWN,
];

/// What the columns of [`Traits::cells`] are called.
pub const COLUMNS: [&str; 11] = [
    "gateway",
    "region",
    "if_none_match",
    "tags",
    "acl",
    "redundancy",
    "checksum",
    "server_side_encryption",
    "object_lock",
    "expected_bucket_owner",
    "addressing",
];

impl Traits {
    /// The row as texts, in the order of [`COLUMNS`].
    #[must_use]
    pub fn cells(&self) -> [String; COLUMNS.len()] {
        [
            self.name.to_owned(),
            self.region.text(),
            self.if_none_match.text(),
            self.tags.text().to_owned(),
            self.acl.text(),
            self.redundancy.text(),
            self.checksum.text(),
            self.server_side_encryption.text(),
            self.object_lock.text(),
            self.expected_bucket_owner.text(),
            self.addressing.text(),
        ]
    }
}

impl Gateway {
    /// The kind that a host belongs to.
    #[must_use]
    pub fn of(host: &str) -> Self {
        let found = GATEWAYS.iter().find(|traits| traits.domain_of(host).is_some());
        found.map_or(Self::Generic, |traits| traits.gateway)
    }

    /// Its row.
    #[must_use]
    pub fn traits(self) -> &'static Traits {
        GATEWAYS.iter().find(|traits| traits.gateway == self).unwrap_or(&UNKNOWN)
    }

    /// The region that a host's name has.
    #[must_use]
    pub fn region_of(host: &str) -> Option<&str> {
        let traits = Self::of(host).traits();
        let domain = traits.domain_of(host).filter(|_| traits.region == Region::Host)?;
        let labels = host.strip_suffix(domain)?.trim_end_matches('.');
        match traits.gateway {
            Self::Aws => {
                let labels = labels.split('.');
                labels.map(|label| label.strip_prefix("s3-").unwrap_or(label)).rfind(|l| is_aws(l))
            }
            _ => labels.strip_prefix("s3.")?.split('.').next(),
        }
    }
}

impl Traits {
    /// The domain that `host` is under, by whole labels.
    fn domain_of(&self, host: &str) -> Option<&'static str> {
        let under = |domain: &&&str| {
            host.strip_suffix(**domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.domains.iter().find(under).copied()
    }
}

/// Whether a label has the form of one of AWS's regions, as `us-gov-west-1`.
fn is_aws(label: &str) -> bool {
    let parts: Vec<_> = label.split('-').collect();
    (3..=4).contains(&parts.len())
        && parts.first().is_some_and(|part| part.len() == 2 || *part == "eusc")
        && parts.last().is_some_and(|part| part.parse::<u8>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_host_and_only_from_whole_labels() {
        for (host, kind) in [
            ("s3.eu-west-1.amazonaws.com", Gateway::Aws),
            ("s3.cn-north-1.amazonaws.com.cn", Gateway::Aws),
            ("gateway.storjshare.io", Gateway::Storj),
            ("gateway.eu1.storjshare.io", Gateway::Storj),
            ("0123abcd.eu.r2.cloudflarestorage.com", Gateway::R2),
            ("s3.us-west-004.backblazeb2.com", Gateway::B2),
            ("s3.eu-central-1.wasabisys.com", Gateway::Wasabi),
            ("storage.googleapis.com", Gateway::Gcs),
            ("s3.gra.io.cloud.ovh.net", Gateway::Ovh),
            ("notstorjshare.io", Gateway::Generic),
            ("amazonaws.com.example.org", Gateway::Generic),
            ("127.0.0.1", Gateway::Generic),
        ] {
            assert_eq!(Gateway::of(host), kind, "{host}");
        }
    }

    #[test]
    fn the_region_is_the_label_of_the_host_that_has_its_form_or_its_place() {
        for (host, region) in [
            ("s3.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("s3-us-west-2.amazonaws.com", Some("us-west-2")),
            ("s3.dualstack.us-gov-east-1.amazonaws.com", Some("us-gov-east-1")),
            ("s3.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("s3-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("vpce-1a2b-5.s3.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
            ("s3.us-west-004.backblazeb2.com", Some("us-west-004")),
            ("s3.ap-northeast-1.wasabisys.com", Some("ap-northeast-1")),
            ("s3.wasabisys.com", None),
            ("s3.gra.io.cloud.ovh.net", Some("gra")),
            ("s3.eu-west-par.io.cloud.ovh.net", Some("eu-west-par")),
            ("storage.googleapis.com", None),
            ("s3.amazonaws.com", None),
            ("s3.eu-west-1.example.org", None),
        ] {
            assert_eq!(Gateway::region_of(host), region, "{host}");
        }
    }

    #[test]
    fn each_kind_has_one_row_and_one_name() {
        for (at, traits) in GATEWAYS.iter().enumerate() {
            assert_eq!(GATEWAYS.iter().position(|row| row.gateway == traits.gateway), Some(at));
            assert_eq!(traits.name.parse(), Ok(traits.gateway));
        }
    }
}
