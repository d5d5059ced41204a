//! What stands here for the VCL expressions that Fastly's formats hold as `%{...}V`.
//!
//! Source: Fastly's VCL variables reference and "Custom log formats" in its documentation. Only the
//! common ones are known by name; for any other expression the answer is a call of `.set()`.

use super::fastly_header::{Whose, whose};

/// Where a value comes from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Equivalent {
    /// A specifier.
    Format(String),
    /// A value that VCL sets: the key, and the expression in Varnish's VCL.
    Set(String, String),
    /// The same, of an expression that Varnish may not have.
    Unknown(String),
    /// One of two values of Varnish's VCL: the condition, the value where it holds, and the other one.
    Either(String, String, String),
    /// Varnish does not know it; what to do instead.
    Unavailable(&'static str),
}

impl Equivalent {
    /// What an operator does about it, as a part of a sentence.
    #[must_use]
    pub(super) fn advice(&self) -> String {
        match self {
            Self::Format(format) => format!("write {format} instead"),
            Self::Set(key, expression) => set(key, expression),
            Self::Unknown(expression) => set("key", expression),
            Self::Either(condition, then, otherwise) => format!(
                "call .set(\"key\", ...) on the stream in VCL, with {then} if ({condition}) and else \
                 {otherwise}, and write %{{key}}x instead"
            ),
            Self::Unavailable(advice) => format!("Varnish does not have it: {advice}"),
        }
    }
}

/// The advice to set a value, where Fastly reads it: when the answer is there.
fn set(key: &str, expression: &str) -> String {
    // A synthesised answer has no object.
    let place =
        if expression.contains("obj.") { "vcl_deliver" } else { "vcl_deliver and vcl_synth" };
    format!(
        "call .set(\"{key}\", {expression}) on the stream in {place} and write %{{{key}}}x instead"
    )
}

const NO_GEO: &str = "look the address up in VCL, with vmod_maxminddb for example, or have a proxy send \
                      it in a header, and pass it to .set()";
const NO_TLS: &str = "have the TLS proxy in front send it in a header, and write %{Header}i";
const NO_PLACE: &str = "write this node's place into the format itself, or set hostname";
const NO_FASTLY: &str = "leave it out";

/// A TIME of Fastly's as text: by RFC 1123, in GMT.
const START: &str = "%{%a, %d %b %Y %H:%M:%S GMT}t";
/// The same of the end, when Fastly evaluates a format.
const END: &str = "%{end:%a, %d %b %Y %H:%M:%S GMT}t";

/// The reason that goes with the status that was sent; VCL's is that of a status before.
const REASON: &str = "%{s3log:reason}x";

/// What has a name of its own here.
pub(super) const NAMES: &[(&str, &str)] = &[
    ("client.ip", "%a"),
    ("client.port", "%{remote}p"),
    ("fastly_info.is_h2", "%H"),
    ("fastly_info.state", "%{Varnish:handling}x"),
    ("now", END),
    ("now.sec", "%{end:sec}t"),
    ("req.body_bytes_read", "%{VSL:ReqAcct[2]}x"),
    ("req.bytes_read", "%I"),
    ("req.header_bytes_read", "%{VSL:ReqAcct[1]}x"),
    ("req.host", "%V"),
    ("req.method", "%m"),
    ("req.proto", "%H"),
    ("req.request", "%m"),
    ("req.url", "%U%q"),
    ("req.url.path", "%U"),
    ("req.xid", "%{Varnish:vxid}x"),
    ("resp.body_bytes_written", "%B"),
    ("resp.bytes_written", "%O"),
    ("resp.header_bytes_written", "%{VSL:ReqAcct[4]}x"),
    ("resp.response", REASON),
    ("resp.status", "%>s"),
    ("server.ip", "%A"),
    ("server.port", "%p"),
    ("time.elapsed", "%{s3log:elapsed}x"),
    ("time.elapsed.msec", "%{ms}T"),
    ("time.elapsed.sec", "%T"),
    ("time.elapsed.usec", "%D"),
    ("time.end", END),
    ("time.end.msec", "%{end:msec}t"),
    ("time.end.msec_frac", "%{end:msec_frac}t"),
    ("time.end.sec", "%{end:sec}t"),
    ("time.end.usec", "%{end:usec}t"),
    ("time.end.usec_frac", "%{end:usec_frac}t"),
    ("time.now", END),
    ("time.start", START),
    ("time.start.msec", "%{msec}t"),
    ("time.start.msec_frac", "%{msec_frac}t"),
    ("time.start.sec", "%{sec}t"),
    ("time.start.usec", "%{usec}t"),
    ("time.start.usec_frac", "%{usec_frac}t"),
    ("time.to_first_byte", "%{Varnish:time_firstbyte}x"),
];

/// What VCL has under this or another name.
const VALUES: &[(&str, &str, &str)] = &[
    ("obj.hits", "hits", "obj.hits"),
    ("req.restarts", "restarts", "req.restarts"),
    ("req.url.qs", "qs", r#"regsub(req.url, "^[^?]*\??", "")"#),
    ("server.hostname", "node", "server.hostname"),
    ("server.identity", "node", "server.identity"),
];

/// What Varnish has not, by the beginning of its name.
const MISSING: &[(&str, &str)] = &[
    ("client.as.", NO_GEO),
    ("client.class.", NO_FASTLY),
    ("client.geo.", NO_GEO),
    ("client.socket.", NO_FASTLY),
    ("fastly.", NO_FASTLY),
    ("fastly_info.", NO_FASTLY),
    ("geoip.", NO_GEO),
    ("req.digest", NO_FASTLY),
    ("req.is_ipv6", "write %a, which shows the address"),
    ("req.is_ssl", NO_TLS),
    ("req.protocol", NO_TLS),
    ("req.service_id", "write it into the format itself"),
    ("req.vcl", NO_FASTLY),
    ("server.datacenter", NO_PLACE),
    ("server.pop", NO_PLACE),
    ("server.region", NO_PLACE),
    ("tls.", NO_TLS),
    ("waf.", NO_FASTLY),
];

/// Fastly's functions that only escape. Values are escaped here as the format's `escape` says.
const ESCAPERS: [&str; 2] = ["json.escape", "cstr_escape"];

/// What stands here for `expression`.
#[must_use]
pub(super) fn equivalent(expression: &str) -> Equivalent {
    let expression = expression.trim();
    if let Some(inner) = escaped(expression) {
        return equivalent(inner);
    }
    if let Some([layout, time]) = call(expression, "strftime").as_deref()
        && let Some(layout) = long_string(layout)
    {
        match *time {
            "time.start" => return Equivalent::Format(format!("%{{{layout}}}t")),
            "time.end" | "now" | "time.now" => {
                return Equivalent::Format(format!("%{{end:{layout}}}t"));
            }
            _ => {}
        }
    }
    if let Some(name) = header(expression, "resp.http.") {
        return Equivalent::Format(format!("%{{{name}}}o"));
    }
    if let Some(name) = header(expression, "req.http.") {
        return request_header(name);
    }
    if let Some((_, format)) = NAMES.iter().find(|(name, _)| *name == expression) {
        return Equivalent::Format((*format).to_owned());
    }
    if let Some((_, key, value)) = VALUES.iter().find(|(name, ..)| *name == expression) {
        return Equivalent::Set((*key).to_owned(), (*value).to_owned());
    }
    if let Some((_, advice)) = MISSING.iter().find(|(name, _)| expression.starts_with(name)) {
        return Equivalent::Unavailable(advice);
    }
    if let Some([condition, then, _]) = call(expression, "if").as_deref()
        && let Some((specifier, _)) = every(condition)
        && escaped(unquoted(then)).unwrap_or(unquoted(then)).eq_ignore_ascii_case(condition)
    {
        return Equivalent::Format(specifier.to_owned());
    }
    if let Some([condition, then, otherwise]) = call(expression, "if").as_deref()
        && (*condition == "resp.response" || every(condition).is_none())
        && let (Some(condition), Some(then), Some(otherwise)) =
            (vcl(condition), vcl(unquoted(then)), vcl(unquoted(otherwise)))
    {
        return Equivalent::Either(condition, then, otherwise);
    }
    if call(expression, "if").is_some() {
        let advice = "set both values with .set() in an if and else of VCL, and write %{key}x";
        return Equivalent::Unavailable(advice);
    }
    let expression = if expression.is_empty() { "req.http.host" } else { expression };
    Equivalent::Unknown(expression.to_owned())
}

/// The name behind `prefix`, if `expression` is a header and nothing else.
fn header<'t>(expression: &'t str, prefix: &str) -> Option<&'t str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    expression.strip_prefix(prefix).filter(|name| !name.is_empty() && name.bytes().all(known))
}

/// What stands for a request header: Fastly reads it behind the last line of VCL.
fn request_header(name: &str) -> Equivalent {
    match whose(name) {
        Whose::Every(specifier, _) => Equivalent::Format(specifier.to_owned()),
        Whose::Client => Equivalent::Format(format!("%{{{name}}}i")),
        Whose::Fastly if name.eq_ignore_ascii_case("fastly-ssl") => Equivalent::Unavailable(NO_TLS),
        Whose::Fastly => Equivalent::Unavailable(NO_FASTLY),
        Whose::Vcl => {
            let key = name.to_ascii_lowercase().replace('-', "_");
            Equivalent::Set(key, format!("req.http.{name}"))
        }
    }
}

/// The specifier and the expression for what every request has.
fn every(expression: &str) -> Option<(&'static str, &'static str)> {
    if expression == "resp.response" {
        return Some((REASON, "resp.reason"));
    }
    match whose(header(expression, "req.http.")?) {
        Whose::Every(specifier, expression) => Some((specifier, expression)),
        _ => None,
    }
}

/// The names that Varnish's VCL has as well, or under another name.
const PORTABLE: &[(&str, &str)] = &[
    ("client.ip", "client.ip"),
    ("obj.hits", "obj.hits"),
    ("req.method", "req.method"),
    ("req.proto", "req.proto"),
    ("req.request", "req.method"),
    ("req.restarts", "req.restarts"),
    ("req.url", "req.url"),
    ("resp.response", "resp.reason"),
    ("resp.status", "resp.status"),
    ("server.hostname", "server.hostname"),
    ("server.identity", "server.identity"),
];

/// The quotes that Fastly's JSON formats put around a value that may be null, `"%22" + ... + "%22"`:
/// a value outside of quotes gets its own here.
fn unquoted(expression: &str) -> &str {
    const QUOTE: &str = "\"%22\"";
    let plus = |text: &str| text.trim().trim_matches('+').trim().len();
    let inner = expression.strip_prefix(QUOTE).and_then(|rest| rest.strip_suffix(QUOTE));
    match inner {
        Some(inner) if plus(inner) > 0 => inner.trim().trim_matches('+').trim(),
        _ => expression,
    }
}

/// An expression in Varnish's VCL, if it has nothing in it that is Fastly's alone.
fn vcl(expression: &str) -> Option<String> {
    let expression = expression.trim();
    if let Some(inner) = escaped(expression) {
        return vcl(inner);
    }
    if let Some((_, expression)) = every(expression) {
        return Some(expression.to_owned());
    }
    let mut out = String::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let end = rest.get(1..)?.find('"')? + 2;
            let text = rest.get(..end)?;
            // Fastly reads %xx in it, and Varnish does not.
            if text.contains('%') {
                return None;
            }
            out.push_str(text);
            rest = rest.get(end..)?;
        } else if first.is_ascii_alphabetic() {
            let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            let end = rest.find(|c| !name(c)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at_checked(end)?;
            let header = ["req.http.", "resp.http."]
                .iter()
                .any(|prefix| word.strip_prefix(prefix).is_some_and(|name| !name.is_empty()));
            if ESCAPERS.contains(&word) && behind.starts_with('(') {
                // The parentheses stay where they are.
            } else if header {
                let name = word.strip_prefix("req.http.").unwrap_or_default();
                if matches!(whose(name), Whose::Every(..) | Whose::Fastly) {
                    return None;
                }
                out.push_str(word);
            } else {
                out.push_str(PORTABLE.iter().find(|(fastlys, _)| *fastlys == word)?.1);
            }
            rest = behind;
        } else if first.is_ascii_digit() || " ()!=~<>&|+".contains(first) {
            out.push(first);
            rest = rest.get(1..)?;
        } else {
            return None;
        }
    }
    if out.is_empty() { None } else { Some(out) }
}

/// What is escaped, if all of the text is a call of one of [`ESCAPERS`].
fn escaped(text: &str) -> Option<&str> {
    ESCAPERS.iter().find_map(|escaper| match call(text, escaper)?[..] {
        [inner] => Some(inner),
        _ => None,
    })
}

/// The arguments of a call of `function`, if that is all of the text; commas in strings and inner
/// calls separate nothing.
fn call<'t>(text: &'t str, function: &str) -> Option<Vec<&'t str>> {
    let inner = text.strip_prefix(function)?.trim_start().strip_prefix('(')?.strip_suffix(')')?;
    let (mut depth, mut quoted, mut from) = (0_usize, false, 0);
    let mut arguments = Vec::new();
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'(' => depth += 1,
            // Closes the call itself: this is not one call.
            b')' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                arguments.push(inner.get(from..at)?.trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    arguments.push(inner.get(from..)?.trim());
    Some(arguments)
}

/// The content of `"..."`, `{"..."}` or, as in a format, `\{"..."\}`.
fn long_string(text: &str) -> Option<&str> {
    let text = text.strip_prefix("\\{").or_else(|| text.strip_prefix('{')).unwrap_or(text);
    let text = text.strip_suffix("\\}").or_else(|| text.strip_suffix('}')).unwrap_or(text);
    text.strip_prefix('"')?.strip_suffix('"').filter(|inner| !inner.contains(['"', '{', '}']))
}
