//! A format of Fastly's with VCL expressions, as a format of this module and calls of `.set()`.
//!
//! Formats of varnishncsa, and Fastly's without `%{...}V`, are formats of this module as they are.

use super::fastly::{Equivalent, equivalent};
use super::options::Options;
use super::specifier::closing;
use super::time::Zone;

/// A value that VCL sets for a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetValue {
    /// The key: the format has `%{key}x`.
    pub key: String,
    /// The expression.
    pub expression: String,
    /// Where the value is one of two: on what condition it is the expression, and what it is else.
    pub either: Option<(String, String)>,
    /// It is Varnish's; else it is Fastly's as it was given, which Varnish may not have.
    pub varnish: bool,
}

/// An expression without an equivalent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untranslated {
    /// The expression as it was given.
    pub expression: String,
    /// The column at which its specifier begins, in characters from 1.
    pub column: usize,
    /// What to do about it.
    pub advice: String,
}

/// A converted format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Converted {
    /// The format. What has no equivalent is a value that nobody sets yet.
    pub format: String,
    /// What VCL has to set, in the order of the format.
    pub values: Vec<SetValue>,
    /// What is left for a person.
    pub untranslated: Vec<Untranslated>,
}

/// Replaces each `%{...}V` of a format that is compiled with `options`; everything else stays as it is.
#[must_use]
pub fn convert(format: &str, options: &Options) -> Converted {
    let mut conversion =
        Conversion { local: options.zone_of() == Zone::Local, ..Conversion::default() };
    let mut rest = format;
    // Where a backslash is the format's own, it makes text of what comes behind it.
    let escapes = options.dialect.reads_backslashes(options.escape_of(format));
    while let Some(at) = rest.find(|c| c == '%' || escapes && c == '\\') {
        let (before, from) = rest.split_at(at);
        conversion.done.format.push_str(before);
        let column = format.len() - from.len();
        let column = format.get(..column).unwrap_or_default().chars().count() + 1;
        let after = from.get(1..).unwrap_or_default();
        let opens = from.starts_with("%{");
        let expression = closing(after).filter(|_| opens).and_then(|close| {
            let tail = after.get(close + 1..)?.strip_prefix('V')?;
            Some((after.get(1..close)?, tail))
        });
        if let Some((expression, tail)) = expression {
            let specifier = conversion.replace(expression.trim(), column);
            conversion.done.format.push_str(&specifier);
            rest = tail;
        } else {
            // The sign and what it is for, so that the second of %% and that of \% begin nothing.
            let length = 1 + after.chars().next().map_or(0, char::len_utf8);
            conversion.done.format.push_str(from.get(..length).unwrap_or(from));
            rest = from.get(length..).unwrap_or_default();
        }
    }
    conversion.done.format.push_str(rest);
    conversion.done
}

/// A conversion under way.
#[derive(Default)]
struct Conversion {
    done: Converted,
    /// The format's times are local.
    local: bool,
    /// The keys that were given, each with what it stands for.
    keys: Vec<(String, String)>,
}

impl Conversion {
    /// What stands for `expression`, whose specifier begins at `column`.
    fn replace(&mut self, expression: &str, column: usize) -> String {
        let left = |advice| Untranslated { expression: expression.to_owned(), column, advice };
        let (key, value) = match equivalent(expression) {
            Equivalent::Format(format) => {
                if self.local && format.ends_with(" GMT}t") {
                    let advice = "its time is GMT: set timezone to utc";
                    self.done.untranslated.push(left(advice.to_owned()));
                }
                return format;
            }
            Equivalent::Set(name, value) => (self.key(&name, &value), Some((value, None, true))),
            Equivalent::Unknown(value) => {
                let key = self.key(&words(expression), expression);
                let advice = format!(
                    "an expression of VCL: check that Varnish has it, and call .set(\"{key}\", ...)"
                );
                self.done.untranslated.push(left(advice));
                (key, Some((value, None, false)))
            }
            Equivalent::Either(condition, then, otherwise) => {
                let key = self.key(&words(&then), expression);
                (key, Some((then, Some((condition, otherwise)), true)))
            }
            Equivalent::Unavailable(advice) => {
                let key = self.key(&words(expression), expression);
                let advice =
                    format!("Varnish does not have it: {advice}; its key here is \"{key}\"");
                self.done.untranslated.push(left(advice));
                (key, None)
            }
        };
        if let Some((expression, either, varnish)) = value
            && !self.done.values.iter().any(|known| known.key == key)
        {
            self.done.values.push(SetValue { key: key.clone(), expression, either, varnish });
        }
        format!("%{{{key}}}x")
    }

    /// A key by this name, which stands for nothing else.
    fn key(&mut self, name: &str, meaning: &str) -> String {
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let free = std::iter::once(name.to_owned())
            .chain(numbered)
            .find(|candidate| self.keys.iter().all(|(key, of)| key != candidate || of == meaning));
        let key = free.unwrap_or_else(|| name.to_owned());
        self.keys.push((key.clone(), meaning.to_owned()));
        key
    }
}

/// The expression's first words, as a key.
fn words(expression: &str) -> String {
    let words: Vec<&str> = expression
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(5)
        .collect();
    if words.is_empty() { UNKNOWN.to_owned() } else { words.join("_") }
}

/// The key of an expression that is not known.
const UNKNOWN: &str = "key";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Dialect, Escape, Program, TagTable};

    fn convert(format: &str) -> Converted {
        super::convert(format, &Options::default())
    }

    #[test]
    fn common_expressions_become_specifiers_and_the_rest_of_the_format_stays() {
        let format = concat!(
            r#"{"time":"%{strftime(\{"%Y-%m-%dT%H:%M:%S%z"\}, time.start)}V","url":"%{json.escape(req.url)}V","#,
            r#""status":%{resp.status}V,"agent":"%{json.escape(req.http.User-Agent)}V","pct":"100%%","us":%D}"#
        );
        let converted = convert(format);
        assert_eq!(
            converted.format,
            concat!(
                r#"{"time":"%{%Y-%m-%dT%H:%M:%S%z}t","url":"%U%q","#,
                r#""status":%>s,"agent":"%{User-Agent}i","pct":"100%%","us":%D}"#
            )
        );
        assert!(converted.values.is_empty() && converted.untranslated.is_empty());
    }

    #[test]
    fn what_vcl_knows_is_set_and_what_varnish_lacks_is_said_with_its_place() {
        let converted =
            convert("%{obj.hits}V %{client.geo.city}V %{table.lookup(a, \"b\")}V %{obj.hits}V");
        assert_eq!(converted.format, "%{hits}x %{client_geo_city}x %{table_lookup_a_b}x %{hits}x");
        let set = |key: &str, expression: &str, varnish| SetValue {
            key: key.to_owned(),
            expression: expression.to_owned(),
            either: None,
            varnish,
        };
        assert_eq!(
            converted.values,
            [
                set("hits", "obj.hits", true),
                set("table_lookup_a_b", "table.lookup(a, \"b\")", false),
            ]
        );
        let left: Vec<_> =
            converted.untranslated.iter().map(|left| (&*left.expression, left.column)).collect();
        assert_eq!(left, [("client.geo.city", 14), ("table.lookup(a, \"b\")", 34)]);
        assert!(converted.untranslated[0].advice.contains("vmod_maxminddb"));
    }

    #[test]
    fn a_header_that_fastly_or_vcl_makes_is_never_that_of_the_client() {
        for (expression, format) in [
            ("req.http.Fastly-Client-IP", "%a"),
            ("json.escape(req.http.fastly-client-ip)", "%a"),
            ("req.http.Fastly-Orig-Host", "%v"),
            ("if(req.http.Fastly-Orig-Host, req.http.Fastly-Orig-Host, req.http.Host)", "%v"),
            ("if(req.http.Fastly-Client-IP, req.http.Fastly-Client-IP, client.ip)", "%a"),
            // What clients send, and VCL leaves as it came.
            ("req.http.user-agent", "%{user-agent}i"),
            ("req.http.Sec-Fetch-Mode", "%{Sec-Fetch-Mode}i"),
            ("req.http.If-None-Match", "%{If-None-Match}i"),
        ] {
            let converted = convert(&format!("%{{{expression}}}V"));
            assert_eq!(converted.format, format, "{expression}");
            assert!(converted.values.is_empty() && converted.untranslated.is_empty());
        }
        // Varnish appends an address to the first, and VCL makes the second.
        let converted = convert("%{req.http.X-Forwarded-For}V %{json.escape(req.http.X-Country)}V");
        assert_eq!(converted.format, "%{x_forwarded_for}x %{x_country}x");
        let set: Vec<_> =
            converted.values.iter().map(|value| (&*value.expression, value.varnish)).collect();
        assert_eq!(set, [("req.http.X-Forwarded-For", true), ("req.http.X-Country", true)]);
        assert!(converted.untranslated.is_empty());
        // A header of the name of an unknown expression's key is known all the same.
        assert!(convert("%{req.http.Key}V").untranslated.is_empty());
        // Varnish has none of these, whether or not a client sends them.
        let converted = convert(concat!(
            "%{req.http.Fastly-SSL}V %{req.http.Fastly-FF}V ",
            "%{if(req.http.Fastly-SSL, \"https\", \"http\")}V"
        ));
        assert!(converted.values.is_empty());
        assert_eq!(converted.untranslated.len(), 3);
    }

    #[test]
    fn a_time_in_gmt_is_left_to_do_where_times_are_local() {
        let with = |dialect, zone| {
            let options = Options { dialect, zone, ..Options::default() };
            super::convert("%{now}V", &options).untranslated
        };
        let left = with(Dialect::Varnishncsa, None);
        assert_eq!(left[0].advice, "its time is GMT: set timezone to utc");
        assert_eq!(with(Dialect::Apache, Some(Zone::Local)), left);
        assert_eq!(with(Dialect::Varnishncsa, Some(Zone::Utc)), []);
        assert_eq!(with(Dialect::Apache, None), []);
    }

    #[test]
    fn a_choice_between_two_values_is_one_in_vcl_where_varnish_has_both() {
        let converted = convert(concat!(
            r#"{"host":"%{if(req.http.X-Host, req.http.X-Host, req.http.Host)}V","#,
            r#""ip":"%{if(req.http.X-IP, req.http.X-IP, req.http.Fastly-Client-IP)}V","#,
            r#""type":%{if(resp.http.X, "%22"+json.escape(resp.http.X)+"%22", "null")}V,"#,
            r#""edge":%{if(fastly.ff.visits_this_service == 0, "true", "false")}V,"#,
            r#""x":"%{if(req.url ~ "^/a%20b", "y", "n")}V"}"#
        ));
        let values: Vec<_> = converted
            .values
            .iter()
            .map(|value| (&*value.expression, value.either.as_ref().unwrap()))
            .collect();
        let either =
            |condition: &str, otherwise: &str| (condition.to_owned(), otherwise.to_owned());
        assert_eq!(
            values,
            [
                ("req.http.X-Host", &either("req.http.X-Host", "req.http.Host")),
                ("req.http.X-IP", &either("req.http.X-IP", "client.ip")),
                ("resp.http.X", &either("resp.http.X", "\"null\"")),
            ]
        );
        // What is Fastly's alone is left, and so is a string whose %xx means another thing.
        assert_eq!(converted.untranslated.len(), 2);
    }

    #[test]
    fn two_expressions_never_share_a_key() {
        let converted = convert("%{f(\"a\")}V%{f('a')}V%{f(\"a\")}V");
        assert_eq!(converted.format, "%{f_a}x%{f_a_2}x%{f_a}x");
        assert_eq!(converted.values.len(), 2);
        let converted = convert("%{server.identity}V%{server.hostname}V");
        assert_eq!(converted.format, "%{node}x%{node_2}x");
        let converted = convert("%{client.geo.a.b.c}V%{client.geo.a.b.d}V");
        assert_eq!(converted.format, "%{client_geo_a_b_c}x%{client_geo_a_b_d}x");
        let converted = convert("%{client.geo.a.b.c.d}V%{client.geo.a.b.c.e}V");
        assert_eq!(converted.format, "%{client_geo_a_b_c}x%{client_geo_a_b_c_2}x");
    }

    #[test]
    fn a_format_without_expressions_is_left_as_it_is() {
        for format in ["", "%", "%h %{X}i %{", "%{VSL:ReqAcct[5]}x", "%%{a}V", "ä%ö", "%{a}"] {
            assert_eq!(convert(format).format, format, "{format:?}");
        }
    }

    #[test]
    fn a_percent_sign_behind_a_backslash_is_text_as_the_format_is_compiled() {
        assert_eq!(convert("\\%%{server.identity}V").format, "\\%%{node}x");
        assert_eq!(convert("\\%{server.identity}V").format, "\\%{server.identity}V");
        // JSON keeps backslashes: there %% is a percent sign.
        let json = r#"{"a":"\\%%{b}V"}"#;
        assert_eq!(convert(json).format, json);
        // But not where the dialect or the escape says otherwise.
        let with = |format, dialect, escape| {
            let options = Options { dialect, escape, ..Options::default() };
            super::convert(format, &options).format
        };
        let (given, converted) = (r#"{"a":"\%%{b}V"}"#, r#"{"a":"\%%{b}x"}"#);
        assert_eq!(with(given, Dialect::Varnishncsa, None), converted);
        assert_eq!(with(given, Dialect::Varnishncsa, Some(Escape::Json)), converted);
        assert_eq!(with(given, Dialect::Apache, Some(Escape::Clf)), converted);
        assert_eq!(with(given, Dialect::Apache, None), given);
        assert_eq!(with("\\%%{b}V", Dialect::Apache, Some(Escape::Json)), "\\%%{b}V");
    }

    fn options() -> impl Strategy<Value = Options> {
        let dialect = prop_oneof![Just(Dialect::Apache), Just(Dialect::Varnishncsa)];
        let escape = prop_oneof![Just(None), Just(Some(Escape::Clf)), Just(Some(Escape::Json))];
        (dialect, escape).prop_map(|(dialect, escape)| Options {
            dialect,
            escape,
            ..Options::default()
        })
    }

    proptest! {
        #[test]
        fn any_text_is_converted_and_no_expression_is_left(
            format in "[%{}Va\\\\\"ä .(),]{0,40}",
            options in options(),
        ) {
            let converted = super::convert(&format, &options);
            prop_assert_eq!(
                super::convert(&converted.format, &options).format,
                converted.format.clone()
            );
            // Compiling complains of other things at most.
            let compiled = Program::compile(&converted.format, &options, &TagTable::varnish_7());
            let said = compiled.err().map(|error| error.to_string()).unwrap_or_default();
            prop_assert!(!said.contains("VCL expressions"), "{said}");
        }
    }
}
