//! A progress bar on standard error, when that is a terminal; else nothing.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that goes away when it is dropped.
#[derive(Debug)]
pub(in crate::cli) struct Progress(ProgressBar);

impl Progress {
    /// So many steps of `what`.
    pub(in crate::cli) fn of(steps: u64, what: &'static str) -> Self {
        Self::styled(
            ProgressBar::with_draw_target(Some(steps), target()),
            "{msg} [{bar:30}] {human_pos}/{human_len} {eta}",
            what,
        )
    }

    /// Work whose end is not known.
    pub(in crate::cli) fn open(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, target());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self::styled(bar, "{spinner} {msg} {human_pos}", what)
    }

    /// Work that nobody watches.
    pub(in crate::cli) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    fn styled(bar: ProgressBar, template: &str, what: &'static str) -> Self {
        // A template that indicatif does not take leaves its own style.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        Self(bar)
    }

    /// So many steps more are done.
    pub(in crate::cli) fn add(&self, steps: u64) {
        self.0.inc(steps);
    }

    /// So many steps are done.
    pub(in crate::cli) fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Takes the bar away.
    pub(in crate::cli) fn clear(&self) {
        self.0.finish_and_clear();
    }

    /// Runs `write`, which writes to the terminal, with the bar out of its way.
    pub(in crate::cli) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}
