//! Puts events of the log that have a field `event` into the journal.

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter};

use crate::observe::events::{Event, journal};

/// The field with the kind of an event.
pub(super) const KIND: &str = "event";

/// Longest text that is kept.
const TEXT_CHARS: usize = 500;

/// Adds events to the journal of the process.
pub(super) struct EventLayer;

impl<S: Subscriber> Layer<S> for EventLayer {
    fn on_event(&self, logged: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut event = Event {
            at: Timestamp::now(),
            severity: severity(*logged.metadata().level()).to_owned(),
            ..Event::default()
        };
        logged.record(&mut Fields(&mut event));
        journal().add(event);
    }
}

const fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        _ => "info",
    }
}

/// Lets the layer see what has a kind, whatever the levels of the log.
pub(super) struct HasKind;

impl HasKind {
    fn is_wanted(metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && *metadata.level() <= Level::INFO
            && metadata.fields().field(KIND).is_some()
    }
}

impl<S> Filter<S> for HasKind {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        Self::is_wanted(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::is_wanted(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
}

struct Fields<'a>(&'a mut Event);

impl Fields<'_> {
    fn set(&mut self, field: &Field, text: &str) {
        let text: String = text.chars().take(TEXT_CHARS).collect();
        let event = &mut *self.0;
        match field.name() {
            KIND => event.kind = text,
            "message" => event.text = text,
            "listener" => event.listener = Some(text),
            "group" => event.group = Some(text),
            "target" => event.target = Some(text),
            "replica" => event.replica = Some(text),
            name if name.starts_with("log.") => {}
            name => self.detail(name, text.into()),
        }
    }

    fn detail(&mut self, name: &str, value: Value) {
        let name = name.trim_start_matches("r#").to_owned();
        self.0.details.insert(name, value);
    }

    fn number(&mut self, field: &Field, value: Value) {
        match field.name() {
            "listener" | "group" | "target" | "replica" => {
                self.set(field, &value.to_string());
            }
            name => self.detail(name, value),
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.number(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, &format!("{value:?}"));
    }
}
