//! What each kind of gateway takes, as data: one row a gateway.
//!
//! A row says what is known. What nobody has measured or read is [`Words::Unknown`]: it is let through
//! at the load, and the gateway's answer is what counts. `docs/gateways.md` has this table with the
//! source of each fact, and a test compares the two.
//!
//! Non-goals: limits of size and of speed, which only Storj has so far (`gateway`).

use super::gateway::Gateway;
use super::traits::{Does, Region, Tags, Traits, Words};

/// Bucket in the path, or in the host's name.
const BOTH: Words = Words::Only(&["path", "virtual"]);

/// A row in which nothing is known.
pub(super) const UNKNOWN: Traits = Traits {
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
