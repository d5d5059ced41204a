//! Texts that a server sends back, without the secrets that it was sent.

/// Fewest bytes of a secret at the end of a text that count as its beginning.
const CUT: usize = 8;

/// `text` without `secret`, also where the text was cut in the middle of it: the fields of an
/// error are cut, and a session token is often longer than they are.
pub(in crate::s3) fn redact(text: &str, secret: &str) -> String {
    if secret.is_empty() {
        return text.to_owned();
    }
    let out = text.replace(secret, "[redacted]");
    let cut = (CUT..secret.len())
        .rev()
        .filter_map(|len| secret.get(..len))
        .find_map(|beginning| out.strip_suffix(beginning));
    match cut {
        Some(rest) => format!("{rest}[redacted]"),
        None => out,
    }
}
