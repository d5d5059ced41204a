//! A stream as VCL, with a format in a string that means it.

use std::fmt::Write as _;

use crate::record::SetValue;

/// What the VCL is to have.
pub(super) struct Vcl<'a> {
    pub(super) stream: &'a str,
    /// The arguments beside those of the site, as VCL literals.
    pub(super) arguments: Vec<(&'static str, String)>,
    pub(super) values: &'a [SetValue],
    pub(super) client: bool,
    pub(super) backend: bool,
}

/// A STRING of VCL with this text, whatever quotes it has.
pub(super) fn literal(text: &str) -> String {
    if !text.contains(['"', '\n']) {
        return format!("\"{text}\"");
    }
    if !text.contains("\"}") && !text.ends_with('"') {
        return format!("{{\"{text}\"}}");
    }
    if !text.contains("\"\"\"") && !text.ends_with('"') && !text.starts_with('"') {
        return format!("\"\"\"{text}\"\"\"");
    }
    // Cut where a string would end: VCL joins strings that follow each other.
    let mut parts: Vec<String> = Vec::new();
    for part in text.split_inclusive('"') {
        match part.strip_suffix('"') {
            Some(head) => {
                if !head.is_empty() {
                    parts.push(format!("{{\"{head}\"}}"));
                }
                parts.push("{\"\"\"}".to_owned());
            }
            None => parts.push(format!("{{\"{part}\"}}")),
        }
    }
    parts.join(" ")
}

impl Vcl<'_> {
    /// A VCL that loads as it is, once its backend and its site's values are put in.
    pub(super) fn text(&self) -> String {
        let mut text = String::from("vcl 4.1;\n\nimport s3log;\n\n");
        let stream = self.stream;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "sub vcl_init {{\n    new {stream} = s3log.stream(\n        \
             endpoint = \"https://gateway.storjshare.io\",\n        bucket = \"edge-logs\",\n        \
             credentials = \"/etc/varnish/s3log.credentials\""
        );
        for (name, value) in &self.arguments {
            let _ = write!(text, ",\n        {name} = {value}");
        }
        text.push_str(");\n}\n");
        if self.client {
            let early = self.sets(|expression| !at_delivery(expression));
            let _ = write!(text, "\nsub vcl_recv {{\n    {stream}.log();\n{early}}}\n");
            // A synthesised answer has no object.
            let late = self.sets(at_delivery);
            let synth = self.sets(|value| at_delivery(value) && !mentions(value, &["obj."]));
            for (subroutine, sets) in [("vcl_deliver", late), ("vcl_synth", synth)] {
                if !sets.is_empty() {
                    let _ = write!(text, "\nsub {subroutine} {{\n{sets}}}\n");
                }
            }
        }
        if self.backend {
            for subroutine in ["vcl_backend_response", "vcl_backend_error"] {
                let _ = write!(text, "\nsub {subroutine} {{\n    {stream}.log();\n}}\n");
            }
        }
        text
    }

    fn sets(&self, belongs: impl Fn(&SetValue) -> bool) -> String {
        let mut text = String::new();
        for value in self.values.iter().filter(|value| belongs(value)) {
            let SetValue { key, expression, either, varnish } = value;
            let set = |expression: &str| format!("{}.set(\"{key}\", {expression});", self.stream);
            if let Some((condition, otherwise)) = either {
                let (then, otherwise) = (set(expression), set(otherwise));
                let _ = writeln!(
                    text,
                    "    if ({condition}) {{\n        {then}\n    }} else {{\n        {otherwise}\n    }}"
                );
                continue;
            }
            let call = set(expression);
            // One that Varnish may not have would keep the VCL from loading.
            let mark = if *varnish { "" } else { "# " };
            let call = call.replace(['\n', '\r'], " ");
            let _ = writeln!(text, "    {mark}{call}");
        }
        text
    }
}

/// Whether an expression has its value, or as much of it as Fastly logs, only when there is an answer: VCL changes
/// requests. Those that are not known are taken to.
fn at_delivery(value: &SetValue) -> bool {
    !value.varnish || mentions(value, &["resp.", "obj.", "req."])
}

fn mentions(value: &SetValue, prefixes: &[&str]) -> bool {
    let either = value.either.iter().flat_map(|(condition, otherwise)| [condition, otherwise]);
    let mut all = either.chain([&value.expression]);
    all.any(|text| prefixes.iter().any(|prefix| text.contains(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What VCL reads: strings side by side, each `"..."`, `{"..."}` or `"""..."""`.
    fn read(mut vcl: &str) -> String {
        let mut text = String::new();
        while !vcl.is_empty() {
            let (open, close) = if vcl.starts_with("{\"") {
                ("{\"", "\"}")
            } else if vcl.starts_with("\"\"\"") {
                ("\"\"\"", "\"\"\"")
            } else {
                ("\"", "\"")
            };
            let inner = vcl.strip_prefix(open).unwrap();
            let (content, rest) = inner.split_once(close).unwrap();
            text.push_str(content);
            vcl = rest.trim_start();
        }
        text
    }

    #[test]
    fn a_literal_means_the_text_whatever_quotes_it_has() {
        for text in [
            "%h %s",
            r#"%h "%r" %s"#,
            r#""%r""#,
            "{\"a\":\"%s\"}",
            "{\n  \"a\": %s\n}",
            "{\"a\":\"\"\"}",
            "\"}\"\"\"",
            "\"",
            "\"\"",
            "",
        ] {
            assert_eq!(read(&literal(text)), text, "{text:?}: {}", literal(text));
        }
    }
}
