//! The command on a terminal in memory.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::cli::status::SAMPLE;
use crate::observe::Event;

fn app() -> App {
    let mut app = App::new("127.0.0.1:9090", None, true);
    app.update(Ok(serde_json::from_str(SAMPLE).unwrap()));
    app
}

/// What is drawn on a terminal of this size.
fn drawn(app: &mut App, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, app)).unwrap();
    terminal.backend().to_string()
}

fn press(app: &mut App, keys: &[KeyCode]) {
    for key in keys {
        app.press(KeyEvent::new(*key, KeyModifiers::NONE));
    }
}

fn events(from: u64, to: u64) -> EventList {
    let events = from..=to;
    let events = events.map(|sequence| Event {
        sequence,
        kind: "health".to_owned(),
        severity: "warning".to_owned(),
        group: Some("todo".to_owned()),
        text: format!("event {sequence}"),
        ..Event::default()
    });
    EventList {
        last: to,
        oldest: 1,
        events: events.collect(),
    }
}

const SIZE: (u16, u16) = (100, 30);

#[test]
fn each_view_shows_its_part() {
    let mut app = app();
    app.add_events(Ok(events(1, 3)));
    let overview = drawn(&mut app, SIZE);
    for part in [
        "weir 1.2.3",
        "1 error",
        "the reload was refused",
        "GROUP",
        "LISTENER",
        "12 of 10000",
    ] {
        assert!(overview.contains(part), "{part}: {overview}");
    }
    press(&mut app, &[KeyCode::Tab]);
    let targets = drawn(&mut app, SIZE);
    for part in ["todo: round_robin", "127.0.0.1:6400", "P95", "REPLICA"] {
        assert!(targets.contains(part), "{part}: {targets}");
    }
    press(&mut app, &[KeyCode::Char('3')]);
    let events = drawn(&mut app, SIZE);
    let newest = events.find("todo: event 3").unwrap();
    assert!(newest < events.find("todo: event 1").unwrap(), "{events}");
    press(&mut app, &[KeyCode::Right]);
    assert!(drawn(&mut app, SIZE).contains("[1 overview]"));
    press(&mut app, &[KeyCode::BackTab]);
    assert!(drawn(&mut app, SIZE).contains("[3 events]"));
}

#[test]
fn it_is_drawn_on_a_terminal_of_any_size() {
    let mut app = app();
    app.add_events(Ok(events(1, 100)));
    for size in [(1, 1), (5, 3), (20, 4), (40, 10), (300, 80)] {
        for keys in [
            KeyCode::Char('1'),
            KeyCode::Char('2'),
            KeyCode::Char('3'),
            KeyCode::Char('?'),
        ] {
            press(&mut app, &[keys, KeyCode::Char('G')]);
            drawn(&mut app, size);
        }
    }
}

#[test]
fn a_lost_weir_is_said_and_what_was_known_stays() {
    let mut app = app();
    app.update(Err("cannot connect to 127.0.0.1:9090".to_owned()));
    let lost = drawn(&mut app, SIZE);
    assert!(
        lost.contains("cannot connect to 127.0.0.1:9090; trying again"),
        "{lost}"
    );
    assert!(lost.contains("LISTENER"), "{lost}");
    app.update(Ok(serde_json::from_str(SAMPLE).unwrap()));
    assert!(!drawn(&mut app, SIZE).contains("trying again"));
    let mut never = App::new("127.0.0.1:9090", None, true);
    assert!(drawn(&mut never, SIZE).contains("asking 127.0.0.1:9090"));
}

#[test]
fn a_filter_leaves_what_contains_it() {
    let mut app = app();
    press(&mut app, &[KeyCode::Char('2'), KeyCode::Char('/')]);
    press(
        &mut app,
        &["E", "M", "P"].map(|letter| KeyCode::Char(letter.chars().next().unwrap())),
    );
    assert!(drawn(&mut app, SIZE).contains("/EMP_"));
    press(&mut app, &[KeyCode::Enter]);
    let left = drawn(&mut app, SIZE);
    assert!(
        left.contains("empty: random") && !left.contains("todo"),
        "{left}"
    );
    press(&mut app, &[KeyCode::Esc]);
    assert!(drawn(&mut app, SIZE).contains("todo: round_robin"));
    assert!(!app.is_over());
    press(&mut app, &[KeyCode::Esc]);
    assert!(app.is_over());
}

#[test]
fn lines_are_scrolled_within_what_there_is() {
    let mut app = app();
    app.add_events(Ok(events(1, 100)));
    let size = (100, 13);
    press(&mut app, &[KeyCode::Char('3'), KeyCode::Up]);
    assert!(drawn(&mut app, size).contains("10 of 100 lines"));
    press(&mut app, &[KeyCode::PageDown, KeyCode::Down]);
    assert!(drawn(&mut app, size).contains("21 of 100 lines"));
    press(&mut app, &[KeyCode::Char('G')]);
    let end = drawn(&mut app, size);
    assert!(
        end.contains("event 1 ") && end.contains("100 of 100 lines"),
        "{end}"
    );
    press(
        &mut app,
        &[KeyCode::Char('g'), KeyCode::Char('j'), KeyCode::Char('k')],
    );
    assert!(drawn(&mut app, size).contains("10 of 100 lines"));
}

#[test]
fn help_is_shown_until_any_key_and_q_and_control_c_end_it() {
    let mut app = app();
    press(&mut app, &[KeyCode::Char('?')]);
    assert!(drawn(&mut app, SIZE).contains("only what contains a text"));
    press(&mut app, &[KeyCode::Char('q')]);
    assert!(!app.is_over() && !drawn(&mut app, SIZE).contains("only what contains"));
    press(&mut app, &[KeyCode::Char('q')]);
    assert!(app.is_over());
    let mut other = self::app();
    other.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(other.is_over());
}

#[test]
fn only_a_group_is_shown_if_one_is_named() {
    let mut app = App::new("127.0.0.1:9090", Some("empty".to_owned()), false);
    app.update(Ok(serde_json::from_str(SAMPLE).unwrap()));
    app.add_events(Ok(events(1, 3)));
    let shown = drawn(&mut app, SIZE);
    assert!(
        shown.contains("empty: random") && !shown.contains("todo"),
        "{shown}"
    );
    assert_eq!(app.events.len(), 0);
}

#[test]
fn events_of_a_process_that_has_come_in_its_place_begin_anew() {
    let mut app = app();
    app.add_events(Ok(events(1, 50)));
    app.add_events(Ok(events(51, 60)));
    assert_eq!(app.events.len(), 60);
    assert_eq!(follow_up(&events(51, 60), Some(50)), Some(60));
    let none = EventList {
        last: 3,
        oldest: 1,
        events: Vec::new(),
    };
    assert_eq!(follow_up(&none, Some(3)), Some(3));
    assert_eq!(follow_up(&none, Some(60)), None);
    app.add_events(Ok(events(1, 3)));
    assert_eq!(app.events.len(), 3);
}

#[test]
fn without_colours_nothing_has_any() {
    let mut app = App::new("127.0.0.1:9090", None, false);
    app.update(Ok(serde_json::from_str(SAMPLE).unwrap()));
    let mut terminal = Terminal::new(TestBackend::new(100, 30)).unwrap();
    terminal.draw(|frame| draw::draw(frame, &mut app)).unwrap();
    let cells = &terminal.backend().buffer().content;
    let is_plain = |cell: &ratatui::buffer::Cell| cell.fg == ratatui::style::Color::Reset;
    assert!(cells.iter().all(is_plain));
}
