//! The two XML documents that S3 sends back: an error, and a page of a listing.
//!
//! A gateway, a load balancer or a captive portal may answer with anything, so both readers take
//! any bytes and return what they recognised. Limits: an error's field keeps 512 characters; a
//! listing page keeps what its document says, which the caller bounds by the bytes it reads.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Characters kept of one field of an error.
const FIELD: usize = 512;
/// Elements deeper than this are not looked at.
const DEPTH: usize = 16;

/// `<Error>` as S3 documents it. A field that was not there is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// `Code`: `NoSuchBucket`, `SignatureDoesNotMatch`, ...
    pub code: String,
    /// `Message`, for people.
    pub message: String,
    /// `RequestId`, for the provider's support.
    pub request_id: String,
    /// `Region`: where the bucket is, in `AuthorizationHeaderMalformed` and `PermanentRedirect`.
    pub region: String,
    /// `Header`: which one the gateway does not know, in `NotImplemented`.
    pub header: String,
}

/// Reads an error document; the default value when `bytes` is not one.
#[must_use]
pub fn error(bytes: &[u8]) -> ErrorBody {
    let mut body = ErrorBody::default();
    walk(bytes, |path, text| {
        // STS wraps its error once more: ErrorResponse/Error/Code.
        let field = match path {
            [.., "Error", "Code"] => &mut body.code,
            [.., "Error", "Message"] => &mut body.message,
            [.., "Error", "RequestId"] | ["ErrorResponse", "RequestId"] => &mut body.request_id,
            [.., "Error", "Region"] => &mut body.region,
            [.., "Error", "Header"] => &mut body.header,
            _ => return,
        };
        if field.is_empty() {
            *field = harmless(text).take(FIELD).collect();
        }
    });
    body
}

/// The text of `<title>` in a page for people; empty when there is none.
#[must_use]
pub fn title(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|at| {
        let start = at + "<title>".len();
        let end = start + lower.get(start..)?.find("</title>")?;
        // ASCII case folding keeps every byte in its place.
        text.get(start..end)
    });
    harmless(title.unwrap_or_default().trim()).take(FIELD).collect()
}

/// Characters of a text that was not written by us, without what moves a cursor, breaks a line or turns the
/// direction of writing.
fn harmless(text: &str) -> impl Iterator<Item = char> {
    let moves = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(move |c| if moves(c) { ' ' } else { c })
}

/// One object of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The entity tag, with its quotes as the server sent it.
    pub etag: String,
    /// RFC 3339, as the server sent it.
    pub(crate) last_modified: String,
}

/// One page of ListObjectsV2.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The objects, in the server's order: not every gateway sorts by key.
    pub entries: Vec<Entry>,
    /// What `IsTruncated` says; `None` when it says nothing.
    pub truncated: Option<bool>,
    /// What to ask for next; always `None` on a page that says it is the last. Without it a page
    /// that is not the last is half a listing.
    pub next: Option<String>,
}

/// Reads a `ListBucketResult`; `None` when `bytes` is not one to its end.
#[must_use]
pub fn page(bytes: &[u8]) -> Option<Page> {
    let mut page = Page::default();
    let mut entry = Entry::default();
    let mut seen = false;
    let whole = walk_with_end(bytes, |path, event| match (path, event) {
        (["ListBucketResult"], Piece::End) => seen = true,
        (["ListBucketResult", "Contents"], Piece::End) => {
            page.entries.push(std::mem::take(&mut entry));
        }
        (["ListBucketResult", "Contents", field], Piece::Text(text)) => match *field {
            "Key" => entry.key = text.to_owned(),
            "Size" => entry.size = text.trim().parse().unwrap_or(0),
            "ETag" => entry.etag = text.to_owned(),
            "LastModified" => entry.last_modified = text.to_owned(),
            _ => (),
        },
        (["ListBucketResult", field], Piece::Text(text)) => match *field {
            "IsTruncated" => {
                page.truncated = match text.trim() {
                    "true" => Some(true),
                    "false" => Some(false),
                    _ => None,
                }
            }
            "NextContinuationToken" if !text.is_empty() => page.next = Some(text.to_owned()),
            _ => (),
        },
        _ => (),
    });
    if !whole || !seen {
        return None;
    }
    if page.truncated == Some(false) {
        page.next = None;
    }
    Some(page)
}

/// Reads one text by the path of its element: for the small documents of STS.
#[must_use]
pub fn texts<const N: usize>(bytes: &[u8], names: [&str; N]) -> [String; N] {
    let mut found = std::array::from_fn(|_| String::new());
    walk(bytes, |path, text| {
        let last = path.last().copied().unwrap_or_default();
        for (name, slot) in names.iter().zip(found.iter_mut()) {
            if *name == last && slot.is_empty() {
                *slot = text.to_owned();
            }
        }
    });
    found
}

enum Piece<'a> {
    /// The whole text of an element without children.
    Text(&'a str),
    /// The element ends.
    End,
}

fn walk(bytes: &[u8], mut on_text: impl FnMut(&[&str], &str)) {
    walk_with_end(bytes, |path, piece| {
        if let Piece::Text(text) = piece {
            on_text(path, text);
        }
    });
}

/// Calls back with the path of local names; `true` when the document was well-formed to its end.
fn walk_with_end(bytes: &[u8], mut on: impl FnMut(&[&str], Piece<'_>)) -> bool {
    let mut reader = Reader::from_reader(bytes);
    let mut path: Vec<String> = Vec::new();
    let mut depth = 0usize;
    let mut text = String::new();
    let mut leaf = false;
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                depth += 1;
                if depth <= DEPTH {
                    path.push(String::from_utf8_lossy(start.local_name().as_ref()).into_owned());
                }
                text.clear();
                leaf = true;
            }
            Ok(Event::End(_)) => {
                if depth <= DEPTH {
                    let names: Vec<&str> = path.iter().map(String::as_str).collect();
                    if leaf {
                        on(&names, Piece::Text(&text));
                    }
                    on(&names, Piece::End);
                    path.pop();
                }
                depth = depth.saturating_sub(1);
                leaf = false;
            }
            Ok(Event::Text(piece)) => match piece.xml10_content() {
                Ok(piece) => text.push_str(&piece),
                Err(_) => return false,
            },
            Ok(Event::CData(piece)) => match piece.decode() {
                Ok(piece) => text.push_str(&piece),
                Err(_) => return false,
            },
            Ok(Event::GeneralRef(reference)) => {
                let named = match &*reference {
                    b"amp" => Some('&'),
                    b"lt" => Some('<'),
                    b"gt" => Some('>'),
                    b"quot" => Some('"'),
                    b"apos" => Some('\''),
                    _ => reference.resolve_char_ref().ok().flatten(),
                };
                // `&#1;` is no character of XML 1.0, yet a key may hold it: the rest still counts.
                text.push(named.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Ok(Event::Eof) => return depth == 0,
            Ok(_) => (),
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_error_gives_its_code_message_request_id_and_region() {
        let body = error(
            b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>PermanentRedirect</Code>\
              <Message>use the &quot;right&quot;\n endpoint &#233;</Message>\
              <RequestId>4442587FB7D0A2F9</RequestId><Region>eu-west-1</Region></Error>",
        );
        assert_eq!(body.code, "PermanentRedirect");
        assert_eq!(body.message, "use the \"right\"  endpoint é");
        assert_eq!(body.request_id, "4442587FB7D0A2F9");
        assert_eq!(body.region, "eu-west-1");
    }

    #[test]
    fn an_error_of_sts_is_read_through_its_wrapper() {
        let body = error(
            b"<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
              <Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error>\
              <RequestId>r</RequestId></ErrorResponse>",
        );
        assert_eq!((body.code.as_str(), body.request_id.as_str()), ("AccessDenied", "r"));
    }

    #[test]
    fn garbage_gives_what_was_recognised_before_it() {
        assert_eq!(error(b"<html><body>502 Bad Gateway"), ErrorBody::default());
        assert_eq!(error(b""), ErrorBody::default());
        let cut = error(b"<Error><Code>SlowDown</Code><Message>Please red");
        assert_eq!(cut.code, "SlowDown");
        assert_eq!(cut.message, "");
    }

    #[test]
    fn a_field_is_cut_at_its_limit() {
        let long = format!("<Error><Message>{}</Message></Error>", "x".repeat(10_000));
        assert_eq!(error(long.as_bytes()).message.len(), FIELD);
    }

    #[test]
    fn a_page_lists_keys_in_the_servers_order_and_says_where_to_go_on() {
        let read = page(
            b"<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
              <Name>logs</Name><IsTruncated>true</IsTruncated>\
              <NextContinuationToken>t/1=</NextContinuationToken>\
              <Contents><Key>b/c&amp;d%20+</Key><Size>12</Size><ETag>&quot;x&quot;</ETag>\
              <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>\
              <Contents><Key>a</Key><Size>0</Size></Contents></ListBucketResult>",
        )
        .unwrap();
        assert_eq!((read.truncated, read.next.as_deref()), (Some(true), Some("t/1=")));
        let keys: Vec<_> = read.entries.iter().map(|e| (e.key.as_str(), e.size)).collect();
        assert_eq!(keys, [("b/c&d%20+", 12), ("a", 0)]);
        assert_eq!(read.entries[0].etag, "\"x\"");
    }

    #[test]
    fn a_page_that_says_it_is_the_last_goes_on_nowhere_and_one_that_says_nothing_may_go_on() {
        let read = |inner: &str| {
            let page = page(format!("<ListBucketResult>{inner}</ListBucketResult>").as_bytes());
            let page = page.unwrap();
            (page.truncated, page.next)
        };
        let next = "<NextContinuationToken>t</NextContinuationToken>";
        let last = "<IsTruncated>false</IsTruncated>";
        assert_eq!(read(&format!("{next}{last}")), (Some(false), None));
        assert_eq!(read(next), (None, Some("t".to_owned())));
        assert_eq!(read("<IsTruncated>yes</IsTruncated>"), (None, None));
        let empty = "<IsTruncated>true</IsTruncated><NextContinuationToken/>";
        assert_eq!(read(empty), (Some(true), None));
    }

    #[test]
    fn a_page_that_was_cut_is_no_page() {
        assert_eq!(page(b"<ListBucketResult><Contents><Key>a</Key></Contents>"), None);
        assert_eq!(page(b"<html></html>"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = error(&bytes);
            let _ = page(&bytes);
        }

        #[test]
        fn any_markup_is_read_without_a_panic(text in "(<(/?)(Error|Code|Contents|a:Key|!\\[CDATA\\[|\\?xml)>?|&[a-z#0-9]{0,4};?|[ -~é]){0,40}") {
            let _ = error(text.as_bytes());
            let _ = page(text.as_bytes());
        }
    }
}
