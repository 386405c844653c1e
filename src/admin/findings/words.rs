//! Words that several findings have.

/// `the last minute`, or how much of it there is.
pub(super) fn window(seconds: f64) -> String {
    if seconds >= 45.0 {
        "the last minute".to_owned()
    } else {
        format!("the last {}s", seconds.max(1.0) as u64)
    }
}

pub(super) fn plural(count: usize, what: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {what}{end}")
}
