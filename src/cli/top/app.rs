//! What `weir top` knows and shows, and what keys do to it.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::admin::{EventList, GroupStatus, Status, between};
use crate::observe::Event;

/// Events that are kept.
const KEPT_EVENTS: usize = 2000;

/// Longest filter.
const MAX_FILTER: usize = 100;

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    /// What is wrong, the listeners, the groups.
    #[default]
    Overview,
    /// The targets and replicas of each group.
    Targets,
    /// What has happened, the newest first.
    Events,
}

impl View {
    pub(super) const ALL: [Self; 3] = [Self::Overview, Self::Targets, Self::Events];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "1 overview",
            Self::Targets => "2 targets",
            Self::Events => "3 events",
        }
    }
}

/// What keys mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Commands,
    /// Letters of the filter.
    Filter,
    /// Any key closes the list of keys.
    Help,
}

/// The state of the command.
#[derive(Debug)]
pub(super) struct App {
    pub(super) admin: String,
    pub(super) is_coloured: bool,
    pub(super) view: View,
    /// The last one, also while Weir does not answer.
    pub(super) status: Option<Status>,
    /// Requests per second between the last two.
    pub(super) rate: Option<f64>,
    /// Oldest first.
    pub(super) events: VecDeque<Event>,
    /// Why there is no new status.
    pub(super) lost: Option<String>,
    /// What lines or rows must contain.
    pub(super) filter: String,
    pub(super) mode: Mode,
    /// The first line of each view that is shown.
    scroll: [usize; 3],
    /// Lines of a page, as they were drawn last.
    page: usize,
    /// Only this group.
    only: Option<String>,
    is_over: bool,
}

impl App {
    pub(super) fn new(admin: &str, only: Option<String>, is_coloured: bool) -> Self {
        Self {
            admin: admin.to_owned(),
            is_coloured,
            view: if only.is_some() {
                View::Targets
            } else {
                View::Overview
            },
            status: None,
            rate: None,
            events: VecDeque::new(),
            lost: None,
            filter: String::new(),
            mode: Mode::Commands,
            scroll: [0; 3],
            page: 10,
            only,
            is_over: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn quit(&mut self) {
        self.is_over = true;
    }

    /// Takes the answer to the last request.
    pub(super) fn update(&mut self, status: Result<Status, String>) {
        match status {
            Ok(mut status) => {
                self.lost = None;
                if let Some(only) = &self.only {
                    status.target_groups.retain(|group| group.name == *only);
                    status
                        .problems
                        .retain(|problem| problem.group.as_ref() == Some(only));
                }
                self.rate = self
                    .status
                    .as_ref()
                    .and_then(|before| rate(before, &status));
                self.status = Some(status);
            }
            Err(problem) => self.lost = Some(problem),
        }
    }

    /// Takes what has happened since the last time.
    pub(super) fn add_events(&mut self, events: Result<EventList, String>) {
        // The status says it too.
        let Ok(list) = events else {
            return;
        };
        let begins_anew = |event: &Event| {
            self.events
                .back()
                .is_some_and(|last| event.sequence <= last.sequence)
        };
        if list.events.first().is_some_and(begins_anew) {
            self.events.clear();
        }
        let only = self.only.clone();
        let wanted = |event: &Event| only.is_none() || event.group == only;
        self.events.extend(list.events.into_iter().filter(wanted));
        let surplus = self.events.len().saturating_sub(KEPT_EVENTS);
        self.events.drain(..surplus);
    }

    /// The groups that the filter lets pass by their name or by one of their targets.
    pub(super) fn groups(&self) -> impl Iterator<Item = &GroupStatus> {
        let groups = self.status.iter().flat_map(|status| &status.target_groups);
        groups.filter(|group| {
            let mut targets = group.targets.iter();
            self.passes(&group.name)
                || targets.any(|target| self.passes(&target.address.to_string()))
        })
    }

    /// Whether a text contains the filter, in capitals or not.
    pub(super) fn passes(&self, text: &str) -> bool {
        let filter = self.filter.to_lowercase();
        filter.is_empty() || text.to_lowercase().contains(&filter)
    }

    /// The first line that is shown, of so many on a page of so many.
    pub(super) fn first_line(&mut self, lines: usize, page: usize) -> usize {
        self.page = page.max(1);
        let most = lines.saturating_sub(page);
        let scroll = self.place();
        *scroll = (*scroll).min(most);
        *scroll
    }

    fn place(&mut self) -> &mut usize {
        match self.view {
            View::Overview => &mut self.scroll[0],
            View::Targets => &mut self.scroll[1],
            View::Events => &mut self.scroll[2],
        }
    }

    pub(super) fn press(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            self.is_over = true;
            return;
        }
        match self.mode {
            Mode::Commands => self.command(key.code),
            Mode::Filter => self.type_filter(key.code),
            Mode::Help => self.mode = Mode::Commands,
        }
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.mode = Mode::Commands,
            KeyCode::Esc => {
                self.mode = Mode::Commands;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) if self.filter.len() < MAX_FILTER => self.filter.push(letter),
            _ => {}
        }
        *self.place() = 0;
    }

    fn command(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char('q') => self.is_over = true,
            // First of all it takes the filter back.
            KeyCode::Esc if self.filter.is_empty() => self.is_over = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('1') => self.view = View::Overview,
            KeyCode::Char('2') => self.view = View::Targets,
            KeyCode::Char('3') => self.view = View::Events,
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(View::ALL.len() - 1),
            other => self.move_by(other),
        }
    }

    fn move_by(&mut self, key: KeyCode) {
        let page = self.page;
        let scroll = self.place();
        *scroll = match key {
            KeyCode::Down | KeyCode::Char('j') => scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => scroll.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => scroll.saturating_add(page),
            KeyCode::PageUp => scroll.saturating_sub(page),
            KeyCode::Char('g') => 0,
            KeyCode::Char('G') => usize::MAX,
            _ => return,
        };
    }

    fn turn(&mut self, by: usize) {
        let place = View::ALL.iter().position(|view| *view == self.view);
        let next = (place.unwrap_or_default() + by) % View::ALL.len();
        self.view = View::ALL[next];
    }
}

/// Requests per second between two states of one process.
fn rate(before: &Status, now: &Status) -> Option<f64> {
    let seconds = between(before.now, now.now).as_secs_f64();
    let (before, now) = (requests(before), requests(now));
    (seconds > 0.0).then(|| now.saturating_sub(before) as f64 / seconds)
}

fn requests(status: &Status) -> u64 {
    let groups = status.target_groups.iter();
    let targets = groups.flat_map(|group| &group.targets);
    targets.map(|target| target.requests).sum()
}
