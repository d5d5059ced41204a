//! The entity tag of an answer: the MD5 of what the gateway has stored, where it is one.

use super::http::Response;
use super::wire::encode;

/// An entity tag, and whether it can be the body's MD5.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Etag {
    text: String,
    encrypted: bool,
}

impl Etag {
    pub(super) fn of(response: &Response) -> Self {
        let header = |name: &str| response.header(name).unwrap_or_default().to_owned();
        Self {
            text: header("etag"),
            // With a KMS key or a customer's key the tag is no MD5.
            encrypted: header("x-amz-server-side-encryption").starts_with("aws:kms")
                || response.header("x-amz-server-side-encryption-customer-algorithm").is_some(),
        }
    }

    pub(super) fn is_there(&self) -> bool {
        !self.text.is_empty()
    }

    pub(super) fn is_quoted(&self) -> bool {
        let text = self.strong();
        text.len() > 2 && text.starts_with('"') && text.ends_with('"')
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    pub(super) fn is(&self, md5: &[u8; 16]) -> bool {
        self.bare().eq_ignore_ascii_case(&encode::hex(md5))
    }

    /// Whether it has an MD5's form and nothing says that it is none.
    pub(super) fn may_be_md5(&self) -> bool {
        let bare = self.bare();
        !self.encrypted && bare.len() == 32 && bare.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    fn bare(&self) -> &str {
        self.strong().trim_matches('"')
    }

    /// Without the mark of a weak one, which some proxies add.
    fn strong(&self) -> &str {
        self.text.strip_prefix("W/").unwrap_or(&self.text)
    }
}
