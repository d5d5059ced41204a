//! Which columns a format's lines have, and what stands between them.
//!
//! The lines of one format are the same texts with other values between them. [`Program::columns`] gives
//! both in their order: enough to take a line apart and to write it again. What each specifier prints
//! decides the type: a status is a number, `%t` a time. In JSON a column is a value with its key for a name;
//! elsewhere it is a specifier. Values that nothing separates are one column.
//!
//! Non-goals: taking lines apart (`cli::columns`). Limits: a time whose text does not say the moment (no
//! date, for example) is text, and so is local time: it could not be written again.
//!
//! | file | what |
//! |---|---|
//! | `column` | what lines are made of |
//! | `atoms` | a format as bytes and values |
//! | `names`, `types` | what a specifier's column is called, and what its values are |
//! | `lines` | columns of lines that are not JSON, and what both kinds share |
//! | `document` | columns of JSON |

mod atoms;
mod column;
mod document;
mod lines;
mod names;
mod types;

pub use self::column::{Column, ColumnType, Part, Position};

use self::atoms::Atom;
use self::lines::Columns;
use super::program::{Place, Program};

impl Program {
    /// The parts of a line without its newline, in their order.
    #[must_use]
    pub fn columns(&self) -> Vec<Part> {
        let mut found = Columns { program: self, parts: Vec::new(), text: Vec::new() };
        found.prefix();
        let atoms = self.atoms();
        match atoms
            .iter()
            .any(|atom| matches!(atom, Atom::Value(place, _) if *place != Place::Text))
        {
            true => found.json(&atoms),
            false => found.plain(&atoms),
        }
        found.flush();
        found.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Options, TagTable};

    fn shown(format: &str) -> String {
        let program =
            Program::compile(format, &Options::default(), &TagTable::varnish_7()).unwrap();
        let parts = program.columns();
        let show = |part: &Part| match part {
            Part::Literal(text) => text.clone(),
            Part::Column(column) => {
                let absent = column.absent.as_ref().map_or_else(String::new, |a| format!("|{a}"));
                format!("<{}:{:?}{absent}>", column.name, column.kind)
            }
        };
        parts.iter().map(show).collect()
    }

    #[test]
    fn the_columns_of_the_combined_format_have_the_types_of_its_specifiers() {
        assert_eq!(
            shown(r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#),
            "<client_ip:Text|-> - <user:Text|-> \
             <time:Time(\"[%d/%b/%Y:%H:%M:%S %z]\")|-> \"<request:Text|->\" \
             <status:Int32|-> <body_bytes:Int64|-> \"<req_referer:Text|->\" \"<req_user_agent:Text|->\""
        );
        assert_eq!(
            shown("%{%Y-%m-%dT%T}t.%{msec_frac}tZ %U%q %{X}i%D %{sec}t %{end:usec}t %{a}x"),
            "<time:Time(\"%Y-%m-%dT%H:%M:%S.%3\")>Z <url:Text> <req_x_duration_us:Text> \
             <time_2:Epoch(1)|-> <end_time:Epoch(1000000)|-> <a:Text|->"
        );
    }

    #[test]
    fn the_columns_of_a_json_format_have_the_names_of_its_keys() {
        assert_eq!(
            shown(
                r#"{"time":"%{%Y-%m-%dT%H:%M:%S}t.%{usec_frac}tZ","req":{"url":"%U%q","h":[%{A}i,"%m"]},
                "v":1,"status":%>s,"dt":"%B","first":%{Varnish:time_firstbyte}x,"age":"x%{Age}oy","s3log_x":%I}"#
            ),
            "{\"time\":\"<time:Time(\"%Y-%m-%dT%H:%M:%S.%6Z\")>\",\"req\":{\"url\":\"<req_url:Text>\",\
             \"h\":[<req_h_0:Text|null>,\"<req_h_1:Text>\"]},\"v\":1,\"status\":<status:Int32|null>,\
             \"dt\":\"<dt_2:Int64|>\",\"first\":<first:Seconds|null>,\"age\":\"<age:Text>\",\
             \"s3log_x\":<_s3log_x:Int64|null>}"
        );
    }
}
