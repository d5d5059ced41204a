//! Which objects of a bucket are blocks of a stream, and in which order.

use super::Error;
use crate::block::KeyParts;
use crate::s3::Client;

/// A block's key with what orders it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// `{path}{timestamp}-{host}`: by time of the first record, then by host.
    before: String,
    /// The boot and the number: by number within a boot, whatever the timestamps' precision.
    order: (String, u64),
    /// The key.
    pub key: String,
}

/// The part of `path` that does not change with time, up to its last `/`: gateways that list
/// only whole folders take no other prefix.
pub(super) fn prefix(path: &str) -> &str {
    let fixed = path.split('%').next().unwrap_or_default();
    fixed.rfind('/').and_then(|slash| fixed.get(..=slash)).unwrap_or_default()
}

/// All blocks of `stream` below `prefix`, oldest first. The gateway's order means nothing.
///
/// # Errors
/// A page that cannot be had.
pub(super) fn blocks(client: &Client, prefix: &str, stream: &str) -> Result<Vec<Found>, Error> {
    let stream = crate::block::sanitise(stream);
    let mut found = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let page = client.list(prefix, next.as_deref()).map_err(|answer| Error::Gateway {
            what: format!("list {}", client.bucket()),
            answer,
        })?;
        for entry in page.entries {
            let Some(parts) = KeyParts::parse(&entry.key) else { continue };
            let Some(before) = parts.before_stream(&stream) else { continue };
            found.push(Found {
                before: before.to_owned(),
                order: (parts.boot.to_string(), parts.number),
                key: entry.key.clone(),
            });
        }
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_folders_that_no_time_changes_are_a_prefix() {
        for (path, expected) in
            [("", ""), ("a/b/%Y/", "a/b/"), ("logs-%Y/", ""), ("a/logs-", "a/"), ("%Y/a/", "")]
        {
            assert_eq!(prefix(path), expected, "{path}");
        }
    }
}
