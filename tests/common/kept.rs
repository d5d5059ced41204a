//! What the fake server keeps of an object, and its answers about objects that are no object: a
//! listing, tags, a retention.

use std::collections::{BTreeMap, HashMap};

/// An object as it was put; its key is as it stands in the request line.
#[derive(Debug, Default)]
pub struct Object {
    pub body: Vec<u8>,
    pub headers: Vec<(String, String)>,
}

/// The headers of a PUT that are kept.
pub fn of(headers: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let kept = |name: &&String| {
        name.starts_with("x-amz-meta-")
            || name.starts_with("x-amz-object-lock-")
            || ["content-type", "x-amz-storage-class", "x-amz-tagging"].contains(&name.as_str())
    };
    let found = headers.iter().filter(|(name, _)| kept(name));
    found.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Percent-decoded.
pub fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn xml(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/xml\r\n");
    format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// The answer to a GET with a query.
pub fn answer(objects: &HashMap<String, Object>, target: &str) -> Vec<u8> {
    let (key, query) = target.split_once('?').unwrap();
    if key.is_empty() {
        let given = query.split('&').find_map(|part| part.strip_prefix("prefix="));
        let prefix = decoded(given.unwrap_or_default());
        let keys = objects.iter().map(|(key, object)| (decoded(key), object.body.len()));
        let rows = keys.filter(|(key, _)| key.starts_with(&prefix)).map(|(key, size)| {
            format!("<Contents><Key>{}</Key><Size>{size}</Size></Contents>", escaped(&key))
        });
        let rows: String = rows.collect();
        let body = format!(
            "<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>1</KeyCount>{rows}\
             </ListBucketResult>"
        );
        return xml("200 OK", &body);
    }
    let object = objects.get(key);
    let header = |name: &str| {
        let mut headers = object?.headers.iter();
        headers.find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    };
    match query.split(['&', '=']).next().unwrap() {
        "tagging" => {
            let pairs = header("x-amz-tagging").unwrap_or_default().split('&');
            let rows = pairs.filter_map(|pair| pair.split_once('=')).map(|(name, value)| {
                let (name, value) = (escaped(&decoded(name)), escaped(&decoded(value)));
                format!("<Tag><Key>{name}</Key><Value>{value}</Value></Tag>")
            });
            let rows: String = rows.collect();
            xml("200 OK", &format!("<Tagging><TagSet>{rows}</TagSet></Tagging>"))
        }
        "retention" => {
            let mode = header("x-amz-object-lock-mode").unwrap_or_default();
            let until = header("x-amz-object-lock-retain-until-date").unwrap_or_default();
            let body = format!("<Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate>");
            xml("200 OK", &format!("<Retention>{body}</Retention>"))
        }
        _ => xml("501 Not Implemented", "<Error><Code>NotImplemented</Code></Error>"),
    }
}
