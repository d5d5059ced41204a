//! Whose a request header is that a Fastly format names.
//!
//! Fastly reads `req.http.X` in `vcl_log`, behind all that VCL and Fastly did to it; `%{X}i` here is what the client sent.
//!
//! Source: "HTTP headers" in Fastly's reference, and the IANA's list of fields.

/// Who makes a request header, as a rule.
pub(super) enum Whose {
    /// Fastly, of what every request has: the specifier that prints it here, and the expression of VCL.
    Every(&'static str, &'static str),
    /// Fastly, of what Varnish does not know: a client only forges it.
    Fastly,
    /// The client, and VCL leaves it as it came.
    Client,
    /// VCL, varnishd or a proxy.
    Vcl,
}

/// How the names of Fastly's own begin.
const FASTLYS: &str = "fastly-";

/// Those of Fastly's that stand for what every request has.
const EVERY: [(&str, &str, &str); 2] =
    [("fastly-client-ip", "%a", "client.ip"), ("fastly-orig-host", "%v", "req.http.host")];

/// The client's; a name with a dash at its end stands for all that begin with it.
const CLIENTS: [&str; 27] = [
    "accept",
    "accept-",
    "access-control-request-",
    "authorization",
    "cache-control",
    "connection",
    "content-",
    "cookie",
    "date",
    "dnt",
    "expect",
    "from",
    "host",
    "if-",
    "max-forwards",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "sec-",
    "te",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "x-requested-with",
];

/// Who makes the request header `name`.
pub(super) fn whose(name: &str) -> Whose {
    let name = name.to_ascii_lowercase();
    if let Some((_, specifier, expression)) = EVERY.iter().find(|(known, ..)| *known == name) {
        return Whose::Every(specifier, expression);
    }
    if name.starts_with(FASTLYS) {
        return Whose::Fastly;
    }
    let is = |known: &str| name == known || known.ends_with('-') && name.starts_with(known);
    if CLIENTS.iter().any(|known| is(known)) { Whose::Client } else { Whose::Vcl }
}
