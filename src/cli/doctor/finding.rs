//! What was found, and the one sentence that says what to do.

use std::io::Write;

use crate::cli::Error;
use crate::cli::terminal::output::{Paint, json};
use crate::printable::printable;

/// How serious it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing has to be done now.
    Note,
    /// Something is wrong, or will be.
    Fix,
    /// This user, or this machine, does not show it.
    Unseen,
}

impl Mark {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Fix => "fix",
            Self::Unseen => "unseen",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// What it is about, one word: `varnish`, `spool`.
    pub(super) about: &'static str,
    /// The stream, or the folder of its route; `None` for the node.
    pub(super) stream: Option<String>,
    pub(super) mark: Mark,
    /// What was found.
    pub(super) text: String,
    /// What to do, one imperative sentence; `None` where nothing has to be done.
    pub(super) action: Option<String>,
}

impl Finding {
    fn new(about: &'static str, mark: Mark, text: impl Into<String>) -> Self {
        Self { about, stream: None, mark, text: text.into(), action: None }
    }

    pub(super) fn ok(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(about, Mark::Ok, text)
    }

    pub(super) fn note(
        about: &'static str,
        text: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self { action: Some(action.into()), ..Self::new(about, Mark::Note, text) }
    }

    pub(super) fn fix(
        about: &'static str,
        text: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self { action: Some(action.into()), ..Self::new(about, Mark::Fix, text) }
    }

    pub(super) fn unseen(
        about: &'static str,
        text: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self { action: Some(action.into()), ..Self::new(about, Mark::Unseen, text) }
    }

    /// The same, of a stream.
    pub(super) fn of(self, stream: &str) -> Self {
        Self { stream: Some(stream.to_owned()), ..self }
    }

    /// Prints it for a person, or as one JSON object.
    ///
    /// # Errors
    /// The output's.
    pub(super) fn print(
        &self,
        out: &mut dyn Write,
        paint: Paint,
        as_json: bool,
    ) -> Result<(), Error> {
        if as_json {
            let line = serde_json::json!({
                "about": self.about, "stream": self.stream, "result": self.mark.word(),
                "detail": self.text, "action": self.action,
            });
            return Ok(json(out, &line)?);
        }
        let mark = match self.mark {
            Mark::Ok => paint.good("ok    "),
            Mark::Note => paint.odd("note  "),
            Mark::Fix => paint.bad("FIX   "),
            Mark::Unseen => paint.odd("unseen"),
        };
        let stream = self.stream.as_ref().map_or_else(String::new, |name| format!("{name}: "));
        writeln!(
            out,
            "{mark}  {:11}  {}{}",
            self.about,
            printable(&stream),
            printable(&self.text)
        )?;
        if let Some(action) = &self.action {
            writeln!(out, "                     -> {}", printable(action))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_printed_with_what_to_do_and_cannot_forge_a_line() {
        let finding = Finding::fix("spool", "a\nok b", "Do c.").of("x\u{1b}");
        let mut out = Vec::new();
        finding.print(&mut out, Paint::stdout(), false).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "FIX     spool        x\\u{1b}: a\\nok b\n                     -> Do c.\n"
        );
        let mut out = Vec::new();
        finding.print(&mut out, Paint::stdout(), true).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&value["result"], &value["action"]), (&"fix".into(), &"Do c.".into()));
    }
}
