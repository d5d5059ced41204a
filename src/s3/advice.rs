//! What happened and what an operator does next, in one sentence.

use std::fmt;

use super::outcome::{Answer, Outcome};

impl Answer {
    /// What happened and what an operator does next.
    #[must_use]
    pub(crate) fn advice(&self) -> &'static str {
        advice(self.outcome, self.status, &self.code, &self.message)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.advice())?;
        if let Some(status) = self.status {
            write!(f, ": status {status}")?;
        }
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        if !self.request_id.is_empty() {
            write!(f, " (request id {})", self.request_id)?;
        }
        Ok(())
    }
}

/// The sentence for an outcome, narrowed by what the gateway said.
#[must_use]
fn advice(outcome: Outcome, status: Option<u16>, code: &str, message: &str) -> &'static str {
    match outcome {
        Outcome::Stored => "stored",
        Outcome::AlreadyStored => "stored by an earlier attempt",
        Outcome::Unreachable if message.contains("timeout") => {
            "no connection to the gateway in time; check port and firewall, and whether what listens \
             there speaks TLS"
        }
        Outcome::Unreachable => "the gateway cannot be reached; check endpoint, DNS and firewall",
        Outcome::Proxy => "the proxy cannot be reached, or does not reach the gateway",
        Outcome::ProxyRefused => {
            "the proxy does not let this through; check its user, its password and its rules"
        }
        Outcome::Tls => "no trusted connection; check the certificate, ca_file and the clock",
        Outcome::TimedOut if message.contains("receive response") => {
            "the gateway has the whole request and does not answer in time; if it is only slow, raise timeout"
        }
        Outcome::TimedOut if message.contains("per write") => {
            "the gateway, or what is in front of it, takes no more of the block; if it is only slow, \
             raise timeout"
        }
        Outcome::TimedOut => "no answer in time",
        Outcome::Broken => "the connection ended early",
        Outcome::Busy if code == "TemporaryRedirect" => {
            "the gateway sends requests elsewhere for a while, as AWS does with a new bucket; if it \
             lasts, use the bucket's region in endpoint"
        }
        Outcome::Busy => "the gateway asks to come back later",
        Outcome::Corrupted => {
            "the block was changed on the way; if it lasts, look for a proxy that changes bodies"
        }
        Outcome::Adapted => "the gateway takes this request in another form; sent again so",
        Outcome::ClockCorrected => "this machine's clock is off; the gateway's is used from now on",
        Outcome::Unconfirmed => {
            "the gateway says that it has stored the block and does not have the block; check what \
             answers at endpoint"
        }
        Outcome::NotS3 => not_s3(status, message),
        Outcome::Refused => refused(code),
        Outcome::NoCredentials => "there are no usable credentials",
        Outcome::Account => {
            "the account or the bucket takes nothing at present; check its quota, its free space and \
             whether the account is suspended"
        }
        Outcome::NoBucket => {
            "there is no such bucket here; create it, or correct bucket or endpoint"
        }
        Outcome::NoObject => "there is no such object",
        Outcome::WrongRegion => {
            "the bucket is in another region or at another endpoint; correct region or endpoint"
        }
        Outcome::Unsupported => unsupported(status, code, message),
        Outcome::Unsettled => {
            "the object is there and HEAD does not tell whose it is; allow s3:GetObject on the path"
        }
        Outcome::Conflict => "another object has this key",
        Outcome::Unfit => match code {
            "KeyTooLong" | "KeyTooLongError" => {
                "the key is longer than the gateway takes; shorten path or hostname"
            }
            "MetadataTooLarge" => {
                "the metadata is larger than the gateway takes; shorten metadata or hostname"
            }
            _ => "the block is larger than the gateway takes; lower max_bytes",
        },
        Outcome::Rejected => "the gateway refuses this request; its answer says why",
        Outcome::Unreadable => "the block cannot be read now",
        Outcome::Unsendable => {
            "no request can carry these settings; correct options or credentials"
        }
        Outcome::Damaged => "the block is not what it was when it was sealed",
    }
}

fn not_s3(status: Option<u16>, message: &str) -> &'static str {
    let message = message.to_ascii_lowercase();
    match status {
        Some(400) if message.contains("https port") || message.contains("https server") => {
            "this is not an answer of S3: the port speaks TLS; write https:// in endpoint"
        }
        Some(413) => {
            "this is not an answer of S3: something in front of the gateway limits the size of a \
             request; raise its limit or lower max_bytes"
        }
        _ => {
            "this is not an answer of S3: another server, a proxy, a firewall or a login page \
             answers; check endpoint and what is in front of it"
        }
    }
}

fn refused(code: &str) -> &'static str {
    match code {
        "" => {
            "this is not an answer of S3, and it refuses access; check what is in front of the \
             gateway, then the key and its policy"
        }
        "AccessDenied" => {
            "the gateway does not let this key store the block; allow s3:PutObject on the path (and \
             what tags, acl, object_lock or a KMS key need), or correct expected_bucket_owner"
        }
        "RequestTimeTooSkewed" => {
            "the gateway refuses the request's time; correct this machine's clock"
        }
        "ExpiredToken" | "TokenRefreshRequired" | "RequestExpired" => {
            "the credentials have expired; renew them at their source"
        }
        "SignatureDoesNotMatch" => {
            "the gateway refuses the credentials; check the secret key, region and whether a proxy \
             changes headers or paths"
        }
        _ => "the gateway refuses the credentials; check the key, its policy and the clock",
    }
}

/// Names the setting, where code or message do.
fn unsupported(status: Option<u16>, code: &str, message: &str) -> &'static str {
    let text = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match code {
        "AccessControlListNotSupported" | "MalformedACLError" => {
            "the bucket does not take an ACL; remove acl"
        }
        "InvalidStorageClass" => {
            "the gateway does not have this storage class; correct or remove redundancy"
        }
        "InvalidTag" => "the gateway does not take these tags; correct or remove tags",
        "InvalidTTL" => "the gateway does not take this lifetime; correct object_ttl",
        "InvalidEncryptionAlgorithmError" => {
            "the gateway does not take this encryption; correct server_side_encryption"
        }
        "InvalidBucketName" => "the gateway does not take this name; correct bucket",
        "InvalidObjectName" | "XMinioInvalidObjectName" | "XMinioInvalidResourceName" => {
            "the gateway does not take this key; write path without empty parts, . and .."
        }
        "MethodNotAllowed" => {
            "nothing can be stored at this address; check endpoint, bucket and addressing"
        }
        _ if code.starts_with("KMS.") || says(&["kms"]) => {
            "the gateway cannot use the KMS key; check that it is enabled and kms_key_id"
        }
        _ if says(&["x-amz-tagging", " tag"]) => {
            "the gateway does not take tags; correct or remove tags"
        }
        _ if says(&["x-amz-acl", " acl"]) => "the gateway does not take an ACL; remove acl",
        _ if says(&["storage-class", "storage class"]) => {
            "the gateway does not have this storage class; correct or remove redundancy"
        }
        _ if says(&["object-lock", "object lock"]) => {
            "the bucket does not take object_lock; enable it for the bucket or remove object_lock"
        }
        _ if says(&["server-side-encryption", "encryption"]) => {
            "the gateway does not take this encryption; correct or remove server_side_encryption"
        }
        _ if says(&["content-md5"]) => {
            "the bucket wants Content-MD5 with each object; remove content_md5 = false"
        }
        _ if says(&["checksum"]) => {
            "the gateway does not take this checksum; correct or remove checksum"
        }
        _ if status == Some(501) => {
            "the gateway does not have something that this request asks for; remove the option that \
             it names"
        }
        _ => "the gateway does not take this kind of request; remove the option that it names",
    }
}
