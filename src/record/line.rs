//! Lines that VCL has made itself: `.log_line()`.

use super::limit;
use super::options::MessageType;
use super::prefix::LENGTH_MAX;
use super::program::Program;
use super::render::{Rendered, frame};

impl Program {
    /// Appends `text` as exactly one line, with the prefix of its message type and its newline,
    /// to `out`. A line break inside it is written as `\n`; nothing else is escaped. `now` is in
    /// seconds since 1970.
    pub fn render_line(&self, text: &[u8], now: f64, out: &mut Vec<u8>) -> Rendered {
        let start = out.len();
        self.prefix.write(Some(now), out);
        for (index, part) in text.split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                out.extend_from_slice(b"\\n");
            }
            out.extend_from_slice(part);
        }
        out.push(b'\n');
        let logplex = self.message == MessageType::Logplex;
        let most = self.max_line.saturating_sub(if logplex { LENGTH_MAX } else { 0 });
        let truncated = out.len() - start > most;
        if truncated {
            limit::cut_line(out, start, most);
        }
        if logplex {
            frame(out, start);
        }
        Rendered { truncated, incomplete: false }
    }

    /// Whether the format asks for response headers.
    #[must_use]
    pub fn reads_response_headers(&self) -> bool {
        !self.response.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use crate::record::{MARK, MessageType, Options, Program, TagTable};

    fn line(options: &Options, text: &[u8]) -> (Vec<u8>, bool) {
        let program = Program::compile("%s", options, &TagTable::new([])).unwrap();
        let mut out = b"before\n".to_vec();
        let rendered = program.render_line(text, 1_760_177_655.003, &mut out);
        (out.split_off(7), rendered.truncated)
    }

    #[test]
    fn a_line_break_inside_a_line_never_starts_a_new_one() {
        let (out, truncated) = line(&Options::default(), b"one\ntwo\n");
        assert_eq!(out, b"one\\ntwo\\n\n");
        assert!(!truncated);
    }

    #[test]
    fn a_line_of_vcl_gets_the_prefix_of_its_message_type() {
        let options = Options {
            message: MessageType::Loggly,
            hostname: "edge".into(),
            tag: "access".into(),
            pid: 7,
            ..Options::default()
        };
        let (out, _) = line(&options, b"\xff x");
        assert_eq!(out, b"<134>1 2025-10-11T10:14:15.003000Z edge access 7 - - \xff x\n");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_marked() {
        let options = Options { max_line: 256, ..Options::default() };
        let (out, truncated) = line(&options, &[b'x'; 1000]);
        assert!(truncated && out.len() <= 256);
        assert!(out.strip_suffix(b"\n").unwrap().ends_with(MARK));
    }
}
