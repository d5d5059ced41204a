//! A state on a terminal, from 80 by 24 on.
//!
//! Red is what was lost or needs somebody, yellow what is late. Without colours the words say the same.
//! A row whose numbers have no room is said shorter, and not cut.

use std::cmp::Reverse;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row as TableRow, Sparkline, Table};

use super::sample::{ANSWERS, DROPS, Row};
use super::state::State;
use crate::cli::terminal::output::{count, count_within, counted, counted_within, short, size};
use crate::cli::terminal::when;
use crate::printable::printable;

/// A lag that is worth a colour, in seconds; blocks of 60 s, the default, are normal.
const LATE: u64 = 180;

const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const ODD: Style = Style::new().fg(Color::Yellow);
const GOOD: Style = Style::new().fg(Color::Green);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let rows = u16::try_from(state.rows().len()).unwrap_or(u16::MAX);
    let table = rows.saturating_add(1).clamp(2, frame.area().height.saturating_sub(16).max(4));
    let [head, streams, detail, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(table),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    header(frame, head, state);
    self::streams(frame, streams, state);
    match (&state.lines, state.rows().get(state.selected())) {
        (Some(lines), row) => self::lines(frame, detail, lines, row),
        (None, Some(row)) => self::detail(frame, detail, state, row),
        (None, None) => nothing(frame, detail, state),
    }
    let keys = " q quit   space freeze   s sort   up/down select   t lines of the stream";
    frame.render_widget(Paragraph::new(keys).style(FAINT), foot);
}

fn header(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let last = state.history().last();
    let time = last.map_or_else(String::new, |sample| when::show(sample.at));
    let uptime = last.and_then(|sample| sample.uptime).map_or_else(String::new, |seconds| {
        format!("   cache process up {}", when::show_age(seconds.saturating_mul(1_000_000_000)))
    });
    let mut spans =
        vec![Span::styled(" s3log top", Modifier::BOLD), Span::raw(format!("   {time}{uptime}"))];
    spans.push(Span::raw(format!("  by {}", state.order().word())));
    if state.frozen {
        spans.push(Span::styled("  FROZEN", ODD));
    }
    frame.render_widget(Line::from(spans), area);
}

/// Columns for the number of each stream's records a second, and of those that were dropped.
const RATE: u16 = 7;
const DROPPED: u16 = 9;

/// One row a stream.
fn streams(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let head = ["stream", "in/s", "out/s", "ring", "waiting", "lag", "answer", "dropped"];
    let head = TableRow::new(head.map(Cell::from)).style(FAINT);
    let selected = state.selected();
    // What is looked at stays in sight.
    let most = usize::from(area.height.saturating_sub(1));
    let skip = (selected + 1).saturating_sub(most);
    let rows = state.rows().iter().enumerate().skip(skip).take(most).map(|(place, row)| {
        let style = if place == selected { Modifier::REVERSED.into() } else { Style::new() };
        stream(row).style(style)
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(RATE),
        Constraint::Length(RATE),
        Constraint::Length(5),
        // The longest size, and how many blocks in four characters.
        Constraint::Length(18),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(DROPPED),
    ];
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

fn stream(row: &Row) -> TableRow<'static> {
    let dropped = if row.dropped > 0 { BAD } else { Style::new() };
    let lag = if row.lag > LATE { ODD } else { Style::new() };
    let waiting = size(row.waiting_bytes);
    let blocks = count_within(row.waiting_blocks, 14_usize.saturating_sub(waiting.len()));
    TableRow::new([
        Cell::from(printable(&row.stream).into_owned()),
        Cell::from(rate(row.records_in, RATE.into())),
        Cell::from(rate(row.records_out, RATE.into())),
        Cell::from(format!("{:3} %", percent(row.ring_used, row.ring_size))),
        Cell::from(format!("{waiting} in {blocks}")),
        Cell::from(Span::styled(age(row.lag), lag)),
        Cell::from(Span::styled(status(row.last_status), status_style(row))),
        Cell::from(Span::styled(count_within(row.dropped, DROPPED.into()), dropped)),
    ])
}

/// All that is known of one stream.
fn detail(frame: &mut Frame<'_>, area: Rect, state: &State, row: &Row) {
    let block = Block::new().borders(Borders::TOP).title(format!(" {} ", printable(&row.stream)));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [numbers, lag, rates] =
        Layout::vertical([Constraint::Length(8), Constraint::Fill(1), Constraint::Fill(1)])
            .areas(inner);
    frame.render_widget(Paragraph::new(self::numbers(row, inner.width)), numbers);
    let ages: Vec<u64> = state.history().series(&row.stream, "oldest_unsent").collect();
    chart(frame, lag, "lag, seconds", &ages, ODD);
    let growth = state.history().growth(&row.stream, "records");
    chart(frame, rates, "records taken a moment", &growth, GOOD);
}

/// The numbers above the charts, eight lines.
fn numbers(row: &Row, width: u16) -> Vec<Line<'static>> {
    // Beside a name, and three sizes of at most ten characters each.
    let wide = usize::from(width.saturating_sub(52)).clamp(10, 60);
    let mut lines = vec![
        Line::from(vec![
            Span::raw(format!(" in       {:>9} records/s", rate(row.records_in, 9))),
            Span::raw(format!("  {:>10}/s", bytes(row.bytes_in))),
            Span::raw(format!("   compressed {}", ratio(row.compression))),
        ]),
        Line::from(vec![
            Span::raw(format!(" out      {:>9} records/s", rate(row.records_out, 9))),
            Span::raw(format!("  {:>10}/s", bytes(row.bytes_out))),
            Span::raw(format!("   {} stored", counted(row.uploaded_blocks, "block"))),
        ]),
    ];
    let (used, high, all) = (row.ring_used, row.ring_high_water, row.ring_size);
    lines.push(store(" ring     ", wide, used, high, all));
    lines.push(spool(row, wide));
    lines.push(sending(row, wide));
    let width = usize::from(width);
    lines.push(fitting(width, |narrow| answers(row, narrow)));
    lines.push(fitting(width, |narrow| drops(row, narrow.then_some(width))));
    lines.push(fitting(width, |narrow| aside(row, narrow)));
    lines
}

/// A line, or where it has no room its narrow form.
fn fitting(width: usize, line: impl Fn(bool) -> Line<'static>) -> Line<'static> {
    let whole = line(false);
    if whole.width() <= width { whole } else { line(true) }
}

/// How full something is that has a limit.
fn store(name: &'static str, wide: usize, used: u64, high: u64, all: u64) -> Line<'static> {
    let fullness = match percent(used, all) {
        0..50 => GOOD,
        50..88 => ODD,
        _ => BAD,
    };
    let mut spans = vec![Span::raw(name)];
    spans.extend(bar(wide, used, high, all, fullness));
    spans.push(Span::raw(format!(" {} of {}, had {}", size(used), size(all), size(high))));
    Line::from(spans)
}

fn spool(row: &Row, wide: usize) -> Line<'static> {
    let (used, high) =
        (row.spool_used.unwrap_or_default(), row.spool_high_water.unwrap_or_default());
    if let Some(all) = row.spool_max.filter(|all| *all > 0) {
        return store(" spool    ", wide, used, high, all);
    }
    // A module that does not say where it ends, or a stream that is not started: against what `top` has seen,
    // so that a full bar is no alarm; the lag is.
    let (used, high) = (row.waiting_bytes, row.waiting_high_water);
    let mut spans = vec![Span::raw(" spool    ")];
    spans.extend(bar(wide, used, high, high.max(1), Style::new()));
    // Beside a bar, two sizes and words as long as "blocks".
    let blocks = counted_within(row.waiting_blocks, "block", 4);
    spans.push(Span::raw(format!(" {} in {blocks}, had {}", size(used), size(high))));
    Line::from(spans)
}

/// Uploads under way.
fn sending(row: &Row, wide: usize) -> Line<'static> {
    let name = Span::raw(" sending  ");
    let (Some(blocks), Some(all), Some(sent)) =
        (row.uploading_blocks, row.uploading_bytes, row.uploading_sent)
    else {
        return Line::from(vec![name, Span::styled("not told by this module", FAINT)]);
    };
    if blocks == 0 {
        return Line::from(vec![name, Span::styled("nothing", FAINT)]);
    }
    let mut spans = vec![name];
    spans.extend(bar(wide, sent, 0, all, Style::new()));
    let blocks = counted(blocks, "block");
    spans.push(Span::raw(format!(" {} of {}, {blocks}", size(sent), size(all))));
    Line::from(spans)
}

/// What the gateway has said lately. The narrow form has 80 columns at most, and leaves the last answer to the row
/// of the stream.
fn answers(row: &Row, narrow: bool) -> Line<'static> {
    let show = if narrow { short } else { count };
    let last = Span::styled(format!("last {}", status(row.last_status)), status_style(row));
    let mut spans = vec![Span::raw(" answers  ")];
    if !narrow {
        spans.push(last);
    }
    if let Some((seconds, answers)) = row.answers_lately {
        let gap = if narrow { "" } else { "   " };
        spans.push(Span::raw(format!("{gap}in {seconds} s:")));
        let begin = spans.len();
        for ((_, class), number) in ANSWERS.iter().zip(answers).filter(|(_, number)| *number > 0) {
            let style = if *class == "2xx" { GOOD } else { BAD };
            spans.push(Span::styled(format!(" {class} {} ", show(number)), style));
        }
        if spans.len() == begin {
            spans.push(Span::raw(" nothing "));
        }
    }
    let failed = show(row.failed_attempts);
    let text = if narrow {
        format!(" {failed} failed")
    } else {
        format!("  {failed} failed and repeated")
    };
    spans.push(Span::raw(text));
    Line::from(spans)
}

/// What was lost, by cause; the most frequent first, as many as there is room for where the line may have so many
/// columns only.
fn drops(row: &Row, most: Option<usize>) -> Line<'static> {
    let name = " dropped  ";
    if row.dropped == 0 {
        return Line::from(vec![Span::raw(name), Span::styled("nothing", GOOD)]);
    }
    let now = row.drops.filter(|drops| *drops > 0.0);
    let now = |room| {
        now.map_or_else(String::new, |drops| format!("   {}/s now", rate(Some(drops), room)))
    };
    let causes = DROPS.iter().zip(row.dropped_by).filter(|(_, dropped)| *dropped > 0);
    let mut causes: Vec<_> = causes.map(|((_, cause), dropped)| (dropped, *cause)).collect();
    let text = match most {
        None => {
            let causes =
                causes.iter().map(|(dropped, cause)| format!("{} {cause}", count(*dropped)));
            causes.collect::<Vec<_>>().join(", ") + &now(usize::MAX)
        }
        Some(most) => {
            causes.sort_by_key(|(dropped, _)| Reverse(*dropped));
            let now = now(4);
            let room = most.saturating_sub(name.len() + now.len());
            first_of(&causes, room) + &now
        }
    };
    Line::from(vec![Span::raw(name), Span::styled(text, BAD)])
}

/// Causes and their short numbers in at most `room` characters: all, or the first of them and that there are others.
fn first_of(causes: &[(u64, &str)], room: usize) -> String {
    let others = "others";
    let mut texts: Vec<_> =
        causes.iter().map(|(dropped, cause)| format!("{} {cause}", short(*dropped))).collect();
    let mut text = texts.join(", ");
    while text.len() > room && texts.pop().is_some() {
        text = texts.iter().map(|text| format!("{text}, ")).collect::<String>() + others;
    }
    text
}

/// What is not whole, or waits for somebody. The narrow form has 80 columns at most.
fn aside(row: &Row, narrow: bool) -> Line<'static> {
    let (show, gap) = if narrow { (short as fn(u64) -> String, "  ") } else { (count as _, "   ") };
    let parts = [
        (row.quarantined_blocks, ["in quarantine"; 2], BAD),
        (row.held_blocks, ["without a key", "without key"], BAD),
        (row.truncated, ["cut lines"; 2], ODD),
        (row.incomplete, ["incomplete lines", "incomplete"], ODD),
    ];
    let mut spans = vec![Span::raw(" aside    ")];
    for (number, [what, brief], style) in parts.into_iter().filter(|(number, ..)| *number > 0) {
        if spans.len() > 1 {
            spans.push(Span::raw(gap));
        }
        let what = if narrow { brief } else { what };
        spans.push(Span::styled(format!("{} {what}", show(number)), style));
    }
    if spans.len() == 1 {
        spans.push(Span::styled("nothing", GOOD));
    }
    Line::from(spans)
}

/// A bar of `width` cells: what is used, in `style`, and a mark where it was highest.
fn bar(width: usize, used: u64, high: u64, all: u64, style: Style) -> Vec<Span<'static>> {
    let cells = |part: u64| {
        let part = u128::from(part.min(all)) * width as u128;
        usize::try_from(part.div_ceil(u128::from(all.max(1)))).unwrap_or(width)
    };
    let (used_cells, high_cells) = (cells(used), cells(high));
    let mut rest: String = "·".repeat(width - used_cells);
    if high_cells > used_cells {
        let mut marked: Vec<char> = rest.chars().collect();
        if let Some(cell) = marked.get_mut(high_cells - used_cells - 1) {
            *cell = '|';
        }
        rest = marked.into_iter().collect();
    }
    vec![Span::styled("█".repeat(used_cells), style), Span::styled(rest, FAINT)]
}

/// A number over time, the newest at the right.
fn chart(frame: &mut Frame<'_>, area: Rect, title: &str, values: &[u64], style: Style) {
    let most = values.iter().max().copied().unwrap_or_default();
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let title = format!(" {title}, at most {} in {} moments", count(most), values.len());
    frame.render_widget(Paragraph::new(title).style(FAINT), head);
    let from = values.len().saturating_sub(usize::from(body.width));
    let shown = values.get(from..).unwrap_or_default();
    frame.render_widget(Sparkline::default().data(shown.iter().copied()).style(style), body);
}

fn lines(frame: &mut Frame<'_>, area: Rect, lines: &[String], row: Option<&Row>) {
    let name = row.map_or("", |row| &row.stream);
    let block = Block::new()
        .borders(Borders::TOP)
        .title(format!(" newest lines of {} (esc closes) ", printable(name)));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let from = lines.len().saturating_sub(usize::from(inner.height));
    let shown = lines.get(from..).unwrap_or_default();
    let shown: Vec<Line<'_>> =
        shown.iter().map(|line| Line::raw(printable(line).into_owned())).collect();
    let shown =
        if shown.is_empty() { vec![Line::styled(" waiting for a block", FAINT)] } else { shown };
    frame.render_widget(Paragraph::new(shown), inner);
}

fn nothing(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let problem = state.history().last().and_then(|sample| sample.problem.clone());
    let text = match problem {
        Some(problem) => vec![
            Line::styled(format!(" no counters: {}", printable(&problem)), BAD),
            Line::raw(" -> Start Varnish, or name it with -n; s3log doctor says more."),
        ],
        None => vec![
            Line::styled(" no stream", ODD),
            Line::raw(" -> Load a VCL that makes a stream of s3log; s3log doctor says more."),
        ],
    };
    frame.render_widget(Paragraph::new(text), area);
}

fn percent(used: u64, all: u64) -> u64 {
    used.saturating_mul(100).checked_div(all).unwrap_or_default().min(100)
}

/// Of at most `room` characters, or of four.
fn rate(a_second: Option<f64>, room: usize) -> String {
    match a_second {
        None => "-".to_owned(),
        Some(rate) if rate < 10.0 => format!("{rate:.1}"),
        Some(rate) => count_within(rate.round() as u64, room),
    }
}

fn bytes(a_second: Option<f64>) -> String {
    a_second.map_or_else(|| "-".to_owned(), |rate| size(rate as u64))
}

fn ratio(compression: Option<f64>) -> String {
    compression.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1} : 1"))
}

fn age(seconds: u64) -> String {
    when::show_age(seconds.saturating_mul(1_000_000_000))
}

fn status(status: u64) -> String {
    if status == 0 { "none".to_owned() } else { status.to_string() }
}

/// Green for what was stored; red for what was not, while something waits for it.
fn status_style(row: &Row) -> Style {
    match row.last_status {
        200..300 => GOOD,
        0 if row.failed_attempts == 0 => Style::new(),
        _ => BAD,
    }
}

#[cfg(test)]
mod tests;
