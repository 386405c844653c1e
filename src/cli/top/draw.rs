//! Draws what `weir top` shows.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style as TerminalStyle};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::super::events;
use super::super::screen::Style;
use super::super::status::{group, listeners, page, words};
use super::super::table::{Cell, Column, Piece, Table, printable};
use super::app::{App, Mode, View};
use crate::admin::{GroupStatus, Severity, Status, age};

/// What keys do.
const HELP: [(&str, &str); 8] = [
    ("tab, 1 2 3", "another view"),
    ("up, down", "a line"),
    ("page up, page down", "a page"),
    ("g, G", "the first, the last line"),
    ("/", "only what contains a text"),
    ("esc", "everything again; then the end"),
    ("?", "this"),
    ("q", "the end"),
];

pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let rows = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ];
    let [head, tabs, body, foot] = Layout::vertical(rows).areas(frame.area());
    let paint = Paint(app.is_coloured);
    frame.render_widget(Paragraph::new(paint.line(&heading(app))), head);
    frame.render_widget(Paragraph::new(paint.line(&titles(app))), tabs);
    let lines = content(app, usize::from(body.width));
    let first = app.first_line(lines.len(), usize::from(body.height));
    let shown = lines.iter().skip(first).take(usize::from(body.height));
    let shown: Vec<Line<'_>> = shown.map(|line| paint.line(line)).collect();
    frame.render_widget(Paragraph::new(shown), body);
    let last = (first + usize::from(body.height)).min(lines.len());
    frame.render_widget(
        Paragraph::new(paint.line(&footer(app, last, lines.len()))),
        foot,
    );
    if app.mode == Mode::Help {
        help(frame, body, paint);
    }
}

/// How styles look on this terminal.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn line(self, pieces: &[Piece]) -> Line<'static> {
        let spans = pieces
            .iter()
            .map(|(style, text)| Span::styled(text.clone(), self.style(*style)));
        Line::from(spans.collect::<Vec<_>>())
    }

    fn style(self, style: Style) -> TerminalStyle {
        let plain = TerminalStyle::default();
        let coloured = |colour| if self.0 { plain.fg(colour) } else { plain };
        match style {
            Style::Plain => plain,
            Style::Strong => plain.add_modifier(Modifier::BOLD),
            Style::Dim => plain.add_modifier(Modifier::DIM),
            Style::Good => coloured(Color::Green),
            Style::Warning => coloured(Color::Yellow),
            Style::Bad => coloured(Color::Red).add_modifier(Modifier::BOLD),
        }
    }
}

fn plain(text: impl Into<String>) -> Piece {
    (Style::Plain, text.into())
}

/// The process in one line; or why there is no news of it.
fn heading(app: &App) -> Vec<Piece> {
    let mut line = Vec::new();
    if let Some(lost) = &app.lost {
        line.push((Style::Bad, format!("{}; trying again  ", printable(lost))));
    }
    let Some(status) = &app.status else {
        if app.lost.is_none() {
            line.push(plain(format!("asking {}", printable(&app.admin))));
        }
        return line;
    };
    line.push((
        Style::Strong,
        format!("weir {}", printable(&status.version)),
    ));
    line.push(plain(format!(
        "  {}  up {}",
        printable(&status.phase),
        age(status.uptime)
    )));
    if let Some(rate) = app.rate.filter(|_| app.lost.is_none()) {
        line.push(plain(format!("  {rate:.0} requests/s")));
    }
    if let Some(bytes) = status.process.memory_bytes {
        line.push((Style::Dim, format!("  {}", words::mebibytes(bytes))));
    }
    if let Some(open) = status.process.open_files {
        let most = status.process.max_open_files;
        line.push((Style::Dim, format!("  {open} of {most} files")));
    }
    line
}

fn titles(app: &App) -> Vec<Piece> {
    let mut line = Vec::new();
    for view in View::ALL {
        let style = if view == app.view {
            Style::Strong
        } else {
            Style::Dim
        };
        let (open, close) = if view == app.view {
            ("[", "]")
        } else {
            (" ", " ")
        };
        line.push((style, format!("{open}{}{close} ", view.title())));
    }
    let problems = app.status.iter().flat_map(|status| &status.problems);
    let errors = problems
        .filter(|problem| problem.severity == Severity::Error)
        .count();
    if errors > 0 {
        line.push((Style::Bad, words::plural(errors, "error")));
    }
    line
}

fn footer(app: &App, last: usize, lines: usize) -> Vec<Piece> {
    if app.mode == Mode::Filter {
        return vec![(Style::Strong, format!("/{}_", printable(&app.filter)))];
    }
    let mut line = vec![(Style::Dim, "q end  tab view  / filter  ? help".to_owned())];
    if !app.filter.is_empty() {
        line.push((
            Style::Warning,
            format!("  only: {}", printable(&app.filter)),
        ));
    }
    if lines > 0 {
        line.push((Style::Dim, format!("  {last} of {lines} lines")));
    }
    line
}

fn help(frame: &mut Frame<'_>, area: Rect, paint: Paint) {
    let lines =
        HELP.map(|(key, what)| paint.line(&[(Style::Strong, format!("{key:<20}")), plain(what)]));
    let (width, height) = (50.min(area.width), 10.min(area.height));
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    let text = Paragraph::new(lines.to_vec()).block(Block::bordered().title("keys"));
    frame.render_widget(text, place);
}

/// The lines of the view.
fn content(app: &App, width: usize) -> Vec<Vec<Piece>> {
    let Some(status) = &app.status else {
        return Vec::new();
    };
    match app.view {
        View::Overview => overview(app, status, width),
        View::Targets => targets(app, status, width),
        View::Events => {
            let newest = app.events.iter().rev().map(events::pieces);
            let is_wanted = |line: &Vec<Piece>| {
                let text: String = line.iter().map(|(_, text)| text.as_str()).collect();
                app.passes(&text)
            };
            newest.filter(is_wanted).collect()
        }
    }
}

fn overview(app: &App, status: &Status, width: usize) -> Vec<Vec<Piece>> {
    let mut lines = Vec::new();
    let is_wanted = |text: &str, subject: &str| app.passes(text) || app.passes(subject);
    for problem in &status.problems {
        if is_wanted(&problem.text, &problem.subject()) {
            lines.extend(page::problem(problem, Some(width)));
        }
    }
    if status.problems.is_empty() {
        lines.push(vec![(Style::Good, "nothing is wrong".to_owned())]);
    }
    lines.push(Vec::new());
    lines.extend(groups(app).lines(width));
    lines.push(Vec::new());
    lines.extend(listeners::listener_table(&status.listeners).lines(width));
    lines
}

/// A row for each group.
fn groups(app: &App) -> Table<8> {
    let mut table = Table::new([
        Column::from("GROUP"),
        Column::from("HEALTHY"),
        Column::from("REQ/MIN"),
        Column::from("ERRORS"),
        Column::from("P95"),
        Column::ranked("IN FLIGHT", 1),
        Column::ranked("WAITING", 2),
        Column::ranked("REPLICAS", 3),
    ]);
    for group in app.groups() {
        let minutes = group.targets.iter().map(|target| &target.minute);
        let requests: u64 = minutes.clone().map(|minute| minute.requests).sum();
        let errors: u64 = minutes.clone().map(|minute| minute.errors).sum();
        let slowest = minutes
            .filter_map(|minute| minute.p95_ms)
            .max_by(f64::total_cmp);
        let in_flight: u32 = group.targets.iter().map(|target| target.in_flight).sum();
        table.row([
            Cell::from(&group.name),
            healthy(group),
            Cell::from(requests.to_string()),
            Cell::styled(
                if errors > 0 { Style::Bad } else { Style::Plain },
                errors.to_string(),
            ),
            Cell::from(words::millis(slowest)),
            Cell::from(in_flight.to_string()),
            Cell::from(match group.queue_length {
                0 => words::dash(),
                most => format!("{} of {most}", group.waiting),
            }),
            Cell::from(match group.desired {
                None => words::dash(),
                Some(desired) => format!("{} of {desired}", group.replicas.len()),
            }),
        ]);
    }
    table
}

/// `2 of 3`.
fn healthy(group: &GroupStatus) -> Cell {
    let active = group
        .targets
        .iter()
        .filter(|target| target.draining.is_none());
    let all = active.clone().count();
    let healthy = active.filter(|target| target.state == "healthy").count();
    let style = match healthy {
        0 => Style::Bad,
        healthy if healthy < all => Style::Warning,
        _ => Style::Good,
    };
    Cell::styled(style, format!("{healthy} of {all}"))
}

fn targets(app: &App, status: &Status, width: usize) -> Vec<Vec<Piece>> {
    let mut lines = Vec::new();
    for group in app.groups() {
        lines.push(vec![(
            Style::Strong,
            group::heading(group).trim_end().to_owned(),
        )]);
        lines.push(vec![(Style::Dim, printable(&group::facts(group)))]);
        let is_named = app.passes(&group.name);
        let wanted = group.targets.iter();
        let wanted = wanted.filter(|target| is_named || app.passes(&target.address.to_string()));
        lines.extend(group::target_table(wanted, status.now).lines(width));
        if !group.replicas.is_empty() {
            lines.extend(group::replica_table(&group.replicas, status.now).lines(width));
        }
        lines.push(Vec::new());
    }
    lines
}
