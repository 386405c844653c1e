//! Todos, and the requests which create, change and list them.
//!
//! Every text of a request is parsed into a type with legal values only, so the store never sees a bad one. Moments
//! are RFC 3339 strings in UTC with milliseconds, in the database too: both databases then hold the same bytes.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};

/// Characters in a title: a line that a list can show.
const TITLE_LIMIT: usize = 200;

/// Characters in a description: a page, well below the body limit in bytes.
const DESCRIPTION_LIMIT: usize = 4000;

/// How many todos a list holds when the client does not say: one screen, and a small response under load.
const DEFAULT_LIMIT: i64 = 100;

/// The most todos that one list holds, so that no request makes a replica build an unbounded body.
const MAX_LIMIT: i64 = 1000;

/// A todo as it is stored and as it is answered.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Todo {
    /// Unique for the life of the database; never used again after a deletion.
    pub id: i64,
    /// Not blank.
    pub title: String,
    /// Free text.
    pub description: Option<String>,
    /// Whether it is done.
    pub completed: bool,
    /// When it should be done by, RFC 3339.
    pub deadline_at: Option<String>,
    /// When it was created, RFC 3339.
    pub created_at: String,
    /// When it last changed, RFC 3339.
    pub updated_at: String,
}

/// What a client sends to create a todo.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTodo {
    /// The one field that has no default.
    pub title: Title,
    /// Free text.
    #[serde(default)]
    pub description: Option<Description>,
    /// Whether it is done already.
    #[serde(default)]
    pub completed: bool,
    /// When it should be done by.
    #[serde(default)]
    pub deadline_at: Option<Moment>,
}

/// What a client sends to change a todo. An absent field stays as it is; an outer `Some` holds the new value.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The new title.
    #[serde(default, deserialize_with = "given")]
    pub title: Option<Title>,
    /// The new description; `null` removes it.
    #[serde(default, deserialize_with = "given")]
    pub description: Option<Option<Description>>,
    /// Whether it is done.
    #[serde(default, deserialize_with = "given")]
    pub completed: Option<bool>,
    /// The new deadline; `null` removes it.
    #[serde(default, deserialize_with = "given")]
    pub deadline_at: Option<Option<Moment>>,
}

/// Which todos a list holds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Filter {
    /// Only todos that are done, or only those that are not.
    pub completed: Option<bool>,
    /// How many at most.
    #[serde(default)]
    pub limit: Limit,
}

/// A title: not blank, at most 200 characters, no NUL.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Title(String);

impl Title {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Title {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("a title must not be blank".to_owned());
        }
        storable("title", text, TITLE_LIMIT).map(Self)
    }
}

/// A description: at most 4000 characters, no NUL.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Description(String);

impl Description {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Description {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        storable("description", text, DESCRIPTION_LIMIT).map(Self)
    }
}

/// A moment with a time zone, as RFC 3339 writes it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Moment(Timestamp);

impl Moment {
    /// The current time.
    pub fn now() -> Self {
        Self(Timestamp::now())
    }

    /// Seven days later.
    #[must_use]
    pub fn in_a_week(self) -> Self {
        Self(
            self.0
                .saturating_add(SignedDuration::from_hours(7 * 24))
                .unwrap_or(self.0),
        )
    }

    /// This moment in UTC with milliseconds, so that texts sort as the moments do.
    pub fn text(self) -> String {
        format!("{:.3}", self.0)
    }
}

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|_| format!("{text:?} is not an RFC 3339 moment like 2026-03-01T12:00:00Z"))
    }
}

/// How many todos a list holds: 1 to 1000.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "i64")]
pub struct Limit(i64);

impl Limit {
    /// The number, in the type that SQL uses.
    pub fn rows(self) -> i64 {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(DEFAULT_LIMIT)
    }
}

impl TryFrom<i64> for Limit {
    type Error = String;

    fn try_from(rows: i64) -> Result<Self, String> {
        if (1..=MAX_LIMIT).contains(&rows) {
            Ok(Self(rows))
        } else {
            Err(format!("{rows} is not between 1 and {MAX_LIMIT}"))
        }
    }
}

/// Refuses what a database would: PostgreSQL has no NUL in a text, and a bad request must not look like an outage.
fn storable(field: &str, text: String, limit: usize) -> Result<String, String> {
    if text.contains('\0') {
        return Err(format!("a {field} must not contain NUL"));
    }
    let length = text.chars().count();
    if length > limit {
        return Err(format!(
            "a {field} has at most {limit} characters, this one has {length}"
        ));
    }
    Ok(text)
}

/// Reads a field that is there, so that `null` reaches the field's own type instead of meaning "absent".
fn given<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_removes_a_deadline_and_absence_keeps_it() {
        let removes: Change = serde_json::from_str(r#"{"deadline_at":null}"#).unwrap();
        assert!(matches!(removes.deadline_at, Some(None)));
        let keeps: Change = serde_json::from_str("{}").unwrap();
        assert!(keeps.deadline_at.is_none());
    }

    #[test]
    fn null_is_not_a_title() {
        assert!(serde_json::from_str::<Change>(r#"{"title":null}"#).is_err());
    }

    #[test]
    fn moments_are_kept_in_utc() {
        let moment = Moment::try_from("2026-03-01T12:00:00+10:00".to_owned()).unwrap();
        assert_eq!(moment.text(), "2026-03-01T02:00:00.000Z");
    }

    #[test]
    fn a_moment_without_a_time_zone_is_refused() {
        assert!(Moment::try_from("2026-03-01T12:00:00".to_owned()).is_err());
    }

    #[test]
    fn a_title_is_measured_in_characters() {
        assert!(Title::try_from("ü".repeat(200)).is_ok());
        assert!(Title::try_from("u".repeat(201)).is_err());
    }
}
