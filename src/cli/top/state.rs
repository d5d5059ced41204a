//! What the person at the terminal has chosen, and what a key does.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::sample::{History, Row, Sample};

/// What streams are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Name,
    Rate,
    Lag,
    Drops,
}

impl Order {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "rate",
            Self::Lag => "lag",
            Self::Drops => "drops",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Name => Self::Rate,
            Self::Rate => Self::Lag,
            Self::Lag => Self::Drops,
            Self::Drops => Self::Name,
        }
    }
}

/// What a key asks of the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// Draw again.
    Draw,
    Quit,
    /// Show the lines of this stream.
    Lines(String),
    /// Show no lines any more.
    NoLines,
}

/// The view.
#[derive(Debug)]
pub(super) struct State {
    history: History,
    rows: Vec<Row>,
    order: Order,
    /// The stream that is looked at, by its name: rows move.
    selected: Option<String>,
    pub(super) frozen: bool,
    /// The newest lines of the stream, if they are shown.
    pub(super) lines: Option<Vec<String>>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            history: History::default(),
            rows: Vec::new(),
            order: Order::Name,
            selected: None,
            frozen: false,
            lines: None,
        }
    }

    /// Takes a moment. While the view is frozen it is counted and not shown.
    pub(super) fn push(&mut self, sample: Sample) {
        if self.frozen {
            return;
        }
        self.history.push(sample);
        self.rows = self.history.rows();
        self.sort();
    }

    fn sort(&mut self) {
        let rate = |row: &Row| row.records_in.unwrap_or_default();
        match self.order {
            Order::Name => self.rows.sort_by(|a, b| a.stream.cmp(&b.stream)),
            Order::Rate => self.rows.sort_by(|a, b| rate(b).total_cmp(&rate(a))),
            Order::Lag => self.rows.sort_by_key(|row| std::cmp::Reverse(row.lag)),
            Order::Drops => self.rows.sort_by_key(|row| std::cmp::Reverse(row.dropped)),
        }
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn order(&self) -> Order {
        self.order
    }

    /// The place of the stream that is looked at: the first, until one is chosen.
    pub(super) fn selected(&self) -> usize {
        let place = self.rows.iter().position(|row| Some(&row.stream) == self.selected.as_ref());
        place.unwrap_or_default()
    }

    fn select(&mut self, place: usize) {
        let last = self.rows.len().saturating_sub(1);
        self.selected = self.rows.get(place.min(last)).map(|row| row.stream.clone());
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Draw;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Wish::Quit,
            KeyCode::Esc if self.lines.is_some() => return Wish::NoLines,
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Char(' ') => self.frozen = !self.frozen,
            KeyCode::Char('s') => {
                self.order = self.order.next();
                self.sort();
            }
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected().saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected() + 1),
            KeyCode::Char('t') if self.lines.is_some() => return Wish::NoLines,
            KeyCode::Char('t') => {
                // A route's counters are those of NAME_ROUTE; its lines are the stream's.
                let row = self.rows.get(self.selected());
                return row.map_or(Wish::Draw, |row| Wish::Lines(stream(&row.stream).to_owned()));
            }
            _ => {}
        }
        Wish::Draw
    }
}

/// The stream whose counters have this name: without `_ROUTE`.
fn stream(counters: &str) -> &str {
    let is_route =
        |rest: &str| rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    match counters.rsplit_once('_') {
        Some((stream, route)) if is_route(route) => stream,
        _ => counters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::varnishd::StreamCounters;

    fn state(lags: &[(&str, u64)]) -> State {
        let mut state = State::new();
        state.push(sample(lags));
        state
    }

    fn sample(lags: &[(&str, u64)]) -> Sample {
        let stream =
            |(name, lag): &(&str, u64)| StreamCounters::example(name, &[("oldest_unsent", *lag)]);
        Sample { streams: lags.iter().map(stream).collect(), ..Sample::default() }
    }

    fn press(state: &mut State, code: KeyCode) -> Wish {
        state.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn names(state: &State) -> Vec<&str> {
        state.rows().iter().map(|row| &*row.stream).collect()
    }

    #[test]
    fn the_selected_stream_stays_selected_when_the_order_changes() {
        let mut state = state(&[("a", 1), ("b", 9), ("c", 5)]);
        press(&mut state, KeyCode::Down);
        assert_eq!((names(&state), state.selected()), (vec!["a", "b", "c"], 1));
        press(&mut state, KeyCode::Char('s'));
        press(&mut state, KeyCode::Char('s'));
        assert_eq!((state.order(), names(&state)), (Order::Lag, vec!["b", "c", "a"]));
        assert_eq!(state.selected(), 0, "b is looked at");
        for _ in 0..9 {
            press(&mut state, KeyCode::Down);
        }
        assert_eq!(state.selected(), 2, "there is no more below");
        state.push(sample(&[("b", 1)]));
        assert_eq!(state.selected(), 0, "what is gone is not looked at");
    }

    #[test]
    fn a_frozen_view_stands_still_until_it_is_let_go() {
        let mut state = state(&[("a", 1)]);
        press(&mut state, KeyCode::Char(' '));
        state.push(sample(&[("a", 2)]));
        assert_eq!(state.rows()[0].lag, 1);
        press(&mut state, KeyCode::Char(' '));
        state.push(sample(&[("a", 3)]));
        assert_eq!(state.rows()[0].lag, 3);
    }

    #[test]
    fn keys_quit_and_open_and_close_the_lines_of_the_stream() {
        let mut state = state(&[("access_0123456789abcdef", 1)]);
        assert_eq!(press(&mut state, KeyCode::Char('t')), Wish::Lines("access".to_owned()));
        state.lines = Some(Vec::new());
        assert_eq!(press(&mut state, KeyCode::Esc), Wish::NoLines);
        state.lines = None;
        assert_eq!(press(&mut state, KeyCode::Esc), Wish::Quit);
        assert_eq!(press(&mut state, KeyCode::Char('q')), Wish::Quit);
        let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(state.key(control), Wish::Quit);
        assert_eq!(press(&mut State::new(), KeyCode::Char('t')), Wish::Draw, "nothing is there");
    }
}
