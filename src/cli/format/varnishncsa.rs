//! varnishncsa's command line, read as its getopt(3) does (`varnishncsa_options.h`, 7.7).

use std::path::Path;

use crate::regular_file;

/// The options that have an argument; the last ones are of older releases.
const WITH_ARGUMENT: &str = "FfgkLnPQqRrtwiINxX";

/// The options without one.
const FLAGS: &str = "abcCdDEhjV";

/// What a command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CommandLine {
    /// The format; `None` for the default one.
    pub(super) format: Option<String>,
    pub(super) json: bool,
    pub(super) client: bool,
    pub(super) backend: bool,
    pub(super) esi: bool,
    /// What else was given, with what to do about it.
    pub(super) left: Vec<(String, &'static str)>,
}

/// Reads the words behind `varnishncsa`.
///
/// # Errors
/// What is wrong with them, for the person who gave them.
pub(super) fn read(words: &[String]) -> Result<CommandLine, String> {
    let mut read = CommandLine::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            return Err(format!("varnishncsa takes options only, not {word:?}"));
        };
        for (at, letter) in letters.char_indices() {
            if FLAGS.contains(letter) {
                read.flag(letter);
                continue;
            }
            if !WITH_ARGUMENT.contains(letter) {
                return Err(format!("varnishncsa 7.7 has no option -{letter}"));
            }
            let attached = letters.get(at + 1..).filter(|text| !text.is_empty());
            let argument = attached.or_else(|| words.next().map(String::as_str));
            let argument = argument.ok_or_else(|| format!("-{letter} takes an argument"))?;
            read.option(letter, argument)?;
            break;
        }
    }
    if !read.backend {
        // varnishncsa's default.
        read.client = true;
    }
    Ok(read)
}

impl CommandLine {
    fn flag(&mut self, letter: char) {
        match letter {
            'b' => self.backend = true,
            'c' => self.client = true,
            'E' => {
                self.esi = true;
                self.client = true;
            }
            'j' => self.json = true,
            'a' | 'D' => {}
            'd' => self
                .leave("-d", "lines begin when the VCL is loaded; what is in the log is not read"),
            'C' => self.leave("-C", "write the condition in VCL, with (?i) in its expressions"),
            _ => {}
        }
    }

    fn option(&mut self, letter: char, argument: &str) -> Result<(), String> {
        let given = format!("-{letter} {argument:?}");
        match letter {
            // varnishncsa refuses %%: it is how a unit file writes a percent sign.
            'F' => self.format = Some(argument.replace("%%", "%")),
            'f' => {
                let text = regular_file::read_text(Path::new(argument), regular_file::SETTINGS_MAX)
                    .map_err(|error| format!("-f {argument}: {error}"))?;
                // varnishncsa reads one line.
                self.format = Some(text.lines().next().unwrap_or_default().to_owned());
            }
            'k' => self.leave(&given, "a stream has no end"),
            'Q' => self.leave(&given, "call .log() inside an if with the conditions of that file"),
            'q' => self.leave(&given, "call .log() inside an if with that condition, or .nolog() in vcl_deliver and vcl_synth where it does not hold"),
            'R' => self.leave(&given, "call .log() inside an if, with vmod_vsthrottle or sample"),
            'g' if argument == "vxid" => {}
            'g' => self.leave(
                &given,
                "lines are not grouped: %{Varnish:vxid}x tells which belong together",
            ),
            'r' => self.leave(&given, "a recorded log is not read"),
            'i' | 'I' | 'x' | 'X' => {
                self.leave(&given, "no counterpart: the format says what is printed")
            }
            // Of the program and not of its lines: -L, -n, -N, -P, -t, -w.
            _ => {}
        }
        Ok(())
    }

    fn leave(&mut self, given: &str, advice: &'static str) {
        self.left.push((given.to_owned(), advice));
    }
}

/// Splits a command line as a POSIX shell does that expands nothing.
///
/// # Errors
/// A quote is not closed.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a single quote is not closed".to_owned()),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('$' | '`' | '"' | '\\')) => word.push(c),
                            Some('\n') => {}
                            Some(c) => word.extend(['\\', c]),
                            None => return Err("a double quote is not closed".to_owned()),
                        },
                        Some(c) => word.push(c),
                        None => return Err("a double quote is not closed".to_owned()),
                    }
                }
            }
            '\\' => match chars.next() {
                Some('\n') | None => {}
                Some(c) => word.get_or_insert_default().push(c),
            },
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(text).unwrap()
    }

    #[test]
    fn words_are_those_of_a_shell() {
        for text in [
            r#"varnishncsa -F '%h "%r" %s' -j"#,
            r#"a "b \"c\" \d \\" e\ f ''"" g'h'"i" "#,
            "one \\\n two 'three\nfour'",
            "",
        ] {
            let script = format!("printf '%s\\0' _ {text}");
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            let expected: Vec<_> = printed.split_terminator('\0').skip(1).collect();
            assert_eq!(words(text), expected, "{text}");
        }
        assert!(split("a 'b").is_err() && split("\"a").is_err() && split("\"a\\").is_err());
    }

    #[test]
    fn options_are_read_as_getopt_reads_them() {
        let read = |text: &str| read(&words(text)).unwrap();
        let found = read(r#"-cbjE -F"%h %s" -g vxid -a -w /tmp/log -D -P pid"#);
        assert_eq!(found.format.as_deref(), Some("%h %s"));
        assert!(found.client && found.backend && found.json && found.esi);
        assert_eq!(found.left, []);
        assert!(read("-b").backend && !read("-b").client && read("").client);
        // `VSL_Arg` of -E: clients, too.
        let fragments = read("-b -E");
        assert!(fragments.client && fragments.backend && fragments.esi);
        // A unit file's %% is a percent sign, which varnishncsa has no specifier for.
        let of_a_unit = read("-F '%%h \"%%r\" %%{X}i'");
        assert_eq!(of_a_unit.format.as_deref(), Some("%h \"%r\" %{X}i"));
        let left = read("-q 'RespStatus >= 500' -g request -d").left;
        assert_eq!(left.len(), 3);
        assert_eq!(left[0].0, r#"-q "RespStatus >= 500""#);
    }

    #[test]
    fn what_varnishncsa_would_refuse_is_refused() {
        for (text, said) in [
            ("-F", "-F takes an argument"),
            ("-Z", "varnishncsa 7.7 has no option -Z"),
            ("%h", "varnishncsa takes options only, not \"%h\""),
            ("-f /nowhere/at/all", "-f /nowhere/at/all: "),
        ] {
            let error = read(&words(text)).unwrap_err();
            assert!(error.starts_with(said), "{text}: {error}");
        }
    }

    #[test]
    fn each_option_that_varnishncsa_has_is_known() {
        // `-?` in its synopsis, `man varnishncsa`.
        for letter in "abcCdDEFfghjkLnPQqrRtVw".chars() {
            assert!(FLAGS.contains(letter) || WITH_ARGUMENT.contains(letter), "-{letter}");
        }
    }
}
