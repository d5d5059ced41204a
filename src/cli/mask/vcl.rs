//! The streams of a VCL, as far as their formats depend on it: what `new NAME = s3log.stream(...)` is given, and
//! from which subroutines `NAME.log()` is called.
//!
//! Reads what the VCL compiler has accepted, so that nothing is checked here. Non-goals: values that are no
//! literals, which a constructor's arguments rarely are, arguments without a name, and C in VCL.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::Side;
use crate::settings::Arguments;
use crate::settings::table::argument;

/// A piece of VCL.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A name, a number with its unit, or an operator's character.
    Word(String),
    /// A string's content.
    Text(String),
}

impl Token {
    /// `None` for a string.
    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            Self::Text(_) => None,
        }
    }
}

/// A stream as it was made.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) arguments: Arguments,
    /// The settings file.
    pub(super) config: Option<String>,
}

/// What a VCL has of the module.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) streams: Vec<Stream>,
    /// VCL restarts requests.
    pub(super) restarts: bool,
    /// Each subroutine's calls of others.
    calls: BTreeMap<String, BTreeSet<String>>,
    /// The subroutines in which a stream's `.log()` is called.
    logs: BTreeMap<String, BTreeSet<String>>,
}

impl Source {
    /// Reads the text of one VCL, or of several.
    pub(super) fn read(text: &str) -> Self {
        let tokens = tokens(text);
        let mut source = Self::default();
        let (mut sub, mut depth) = (String::new(), 0usize);
        for (at, token) in tokens.iter().enumerate() {
            let rest = tokens.get(at..).unwrap_or_default();
            match words(rest).as_slice() {
                ["sub", name, "{", ..] if depth == 0 => sub = (*name).to_owned(),
                ["call", name, ..] => {
                    source.calls.entry(sub.clone()).or_default().insert((*name).to_owned());
                }
                ["return", "(", "restart", ..] => source.restarts = true,
                ["new", name, "=", _, ".", "stream", "(", ..] => {
                    let given = rest.get(7..).unwrap_or_default();
                    source.streams.extend(stream(name, given));
                }
                [name, ".", "log", "(", ..] => {
                    source.logs.entry((*name).to_owned()).or_default().insert(sub.clone());
                }
                _ => {}
            }
            match token {
                Token::Word(word) if word == "{" => depth += 1,
                Token::Word(word) if word == "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        source
    }

    /// From which sides the stream has lines: what `.log()` calls in a subroutine of each, or in one that it
    /// calls.
    pub(super) fn sides(&self, stream: &str) -> Vec<Side> {
        let Some(subs) = self.logs.get(stream) else { return Vec::new() };
        let mut found = Vec::new();
        for (side, wanted) in [(Side::Client, false), (Side::Backend, true)] {
            let of = |name: &String| {
                let other = name == "vcl_init" || name == "vcl_fini";
                name.starts_with("vcl_") && !other && name.starts_with("vcl_backend_") == wanted
            };
            let all = self.calls.keys().chain(subs).filter(|name| of(name));
            if all.into_iter().any(|name| self.reaches(name, subs)) {
                found.push(side);
            }
        }
        found
    }

    /// Whether subroutine `from` is one of `subs` or calls one, by whatever way.
    fn reaches(&self, from: &str, subs: &BTreeSet<String>) -> bool {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from]);
        while let Some(name) = left.pop() {
            if subs.contains(name) {
                return true;
            }
            if seen.insert(name) {
                left.extend(self.calls.get(name).into_iter().flatten().map(String::as_str));
            }
        }
        false
    }
}

/// The words that `tokens` begins with, up to a string, as many as one look needs.
fn words(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().take(7).map_while(Token::word).collect()
}

/// The stream `name` of the arguments that `tokens` begins with.
fn stream(name: &str, tokens: &[Token]) -> Option<Stream> {
    let mut arguments = Arguments::new(name);
    let mut config = None;
    let mut rest = tokens;
    loop {
        let end = end(rest)?;
        let (given, after) = rest.split_at_checked(end)?;
        if let [Token::Word(key), Token::Word(equals), value @ ..] = given
            && equals == "="
        {
            let text = text(value);
            if key == "config" {
                config = Some(text);
            } else if let Some(known) = argument(key) {
                arguments.set(known.name, Some(text));
            }
        }
        match after.split_first()? {
            (Token::Word(comma), more) if comma == "," => rest = more,
            _ => return Some(Stream { name: name.to_owned(), arguments, config }),
        }
    }
}

/// Where an argument ends: at the comma or the parenthesis behind it.
fn end(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0usize;
    tokens.iter().position(|token| {
        let Token::Word(word) = token else { return false };
        match word.as_str() {
            "(" => depth += 1,
            ")" if depth > 0 => depth -= 1,
            ")" => return true,
            "," => return depth == 0,
            _ => {}
        }
        false
    })
}

/// A literal: strings are put together, `10s` is as it is written.
fn text(tokens: &[Token]) -> String {
    tokens
        .iter()
        .map(|token| match token {
            Token::Word(word) if word == "+" => "",
            Token::Word(word) => word,
            Token::Text(text) => text,
        })
        .collect()
}

/// VCL without its comments.
fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let until = |from: usize, end: &str| {
            let inside = rest.get(from..).unwrap_or_default();
            let length = inside.find(end).unwrap_or(inside.len());
            (inside.get(..length).unwrap_or_default(), from + length + end.len())
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let length = if rest.starts_with('#') || rest.starts_with("//") {
            until(0, "\n").1
        } else if rest.starts_with("/*") {
            until(2, "*/").1
        } else if rest.starts_with("\"\"\"") {
            let (inside, length) = until(3, "\"\"\"");
            found.push(Token::Text(inside.to_owned()));
            length
        } else if rest.starts_with("{\"") {
            let (inside, length) = until(2, "\"}");
            found.push(Token::Text(inside.to_owned()));
            length
        } else if first == '"' {
            let (inside, length) = until(1, "\"");
            found.push(Token::Text(inside.to_owned()));
            length
        } else if is_name(first) {
            let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            found.push(Token::Word(rest.get(..length).unwrap_or_default().to_owned()));
            length
        } else {
            if !first.is_whitespace() {
                found.push(Token::Word(first.to_string()));
            }
            first.len_utf8()
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const VCL: &str = r#"
        vcl 4.1;
        import s3log;
        sub vcl_init { # new no = s3log.stream(format = "no");
            new access = s3log.stream(endpoint = "http://a", // , format = "no"
                format = {"%h "%r" %{a}x"}, period = 10s, esi=true);
            new two = s3log.stream(format = "%m " """%U "q" """ + "x", config = "/etc/s3log.toml");
        }
        /* sub vcl_recv { two.log(); } */
        sub ours { two.log("low"); }
        sub between { if (req.url) { call ours; } }
        sub vcl_recv { access.log(); access.log_line("two.log()"); return (pass); }
        sub vcl_backend_response { call between; }
        sub vcl_deliver { return(restart); }
    "#;

    #[test]
    fn streams_have_the_arguments_that_vcl_gives_them() {
        let source = Source::read(VCL);
        let [access, two] = source.streams.as_slice() else { panic!("{source:?}") };
        assert_eq!(access.name, "access");
        assert_eq!(access.arguments.get("format"), Some(r#"%h "%r" %{a}x"#));
        assert_eq!(access.arguments.get("period"), Some("10s"));
        assert_eq!(access.arguments.get("esi"), Some("true"));
        assert_eq!(two.arguments.get("format"), Some(r#"%m %U "q" x"#));
        assert_eq!(two.config.as_deref(), Some("/etc/s3log.toml"));
        assert!(source.restarts);
    }

    #[test]
    fn a_streams_lines_are_from_the_side_of_the_subroutines_that_log() {
        let source = Source::read(VCL);
        assert_eq!(source.sides("access"), [Side::Client]);
        assert_eq!(source.sides("two"), [Side::Backend]);
        assert_eq!(source.sides("none"), []);
        let both = Source::read(
            "sub a { x.log(); call a; } sub vcl_recv { call a; } sub vcl_backend_fetch { call a; }",
        );
        assert_eq!(both.sides("x"), [Side::Client, Side::Backend]);
        assert!(!both.restarts);
    }

    #[test]
    fn the_examples_streams_are_found() {
        for text in
            [include_str!("../../../vcl/example.vcl"), include_str!("../../../vcl/json.vcl")]
        {
            let source = Source::read(text);
            assert_eq!(source.streams.len(), 1);
            assert!(source.streams[0].arguments.get("format").is_some());
            assert_eq!(source.sides(&source.streams[0].name), [Side::Client]);
        }
    }

    #[test]
    fn what_does_not_end_ends_with_the_text() {
        for text in
            ["\"a", "{\"a", "/* a", "new a = s3log.stream(format = ", "sub a {", "\"\"\"", "é"]
        {
            Source::read(text);
        }
    }
}
