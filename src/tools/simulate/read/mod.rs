//! Reads a [`LoadCurve`] from a file.
//!
//! The first line determines the format. A file is read line by line and only counts are kept, so
//! that its size does not matter. Errors name the line.

mod access_log;
mod curve;
mod error;
mod k6;
pub(super) mod lines;
mod reader;

use std::io::BufRead;

use super::LoadCurve;
use lines::{Line, Lines};
use reader::{FormatReader, is_blank};

pub use error::ReadError;

/// A load that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// The load itself.
    pub curve: LoadCurve,
    /// The format of the file.
    pub format: LoadFormat,
    /// Oddities of the file, as messages.
    pub notes: Vec<String>,
}

/// The format of a file of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadFormat {
    /// `k6 run --out json=FILE`.
    K6Json,
    /// `k6 run --out csv=FILE`.
    K6Csv,
    /// Weir's log with `--log-format json` and `access_log = "all"`.
    AccessLogJson,
    /// The same with `--log-format pretty`.
    AccessLogPretty,
    /// Lines of `seconds,requests_per_second`.
    Curve,
}

/// Reads a file of any format. Of an access log only the requests to `group` count.
pub fn read(input: impl BufRead, group: &str) -> Result<Load, ReadError> {
    let mut lines = Lines::new(input);
    let mut notes = Vec::new();
    let Some(first) = first_line(&mut lines)? else {
        return Err(ReadError::Empty("the file is empty".to_owned()));
    };
    let format = format_of(&first.text).ok_or_else(|| ReadError::Line {
        line: first.number,
        problem: UNKNOWN.to_owned(),
    })?;
    let mut reader = format.reader(group);
    let mut next = Some(first);
    while let Some(Line { text, number, cut }) = next {
        match reader.line(&text) {
            Ok(()) => {}
            // The program that writes a log may be in the middle of a line, or was killed there.
            Err(_) if cut && format.is_log() => {
                notes.push(format!("line {number} is cut off and left out"));
            }
            Err(problem) => {
                return Err(ReadError::Line {
                    line: number,
                    problem,
                });
            }
        }
        next = lines.next()?;
    }
    let curve = reader.finish().map_err(ReadError::Empty)?;
    Ok(Load {
        curve,
        format,
        notes,
    })
}

/// The error for a first line that belongs to no format.
const UNKNOWN: &str = "neither k6's JSON (`k6 run --out json=FILE`) or CSV (`--out csv=FILE`), nor a log of Weir \
    with `access_log = \"all\"`, nor a load curve (`seconds,requests_per_second`)";

/// The first line that is not blank.
fn first_line(lines: &mut Lines<impl BufRead>) -> Result<Option<Line>, ReadError> {
    loop {
        match lines.next()? {
            Some(line) if is_blank(&line.text) => {}
            other => return Ok(other),
        }
    }
}

fn format_of(line: &str) -> Option<LoadFormat> {
    let line = line.trim();
    if line.starts_with('{') {
        let names = |name: &str| line.contains(name);
        return if names("\"metric\"") && names("\"type\"") {
            Some(LoadFormat::K6Json)
        } else {
            names("\"timestamp\"").then_some(LoadFormat::AccessLogJson)
        };
    }
    if line.starts_with(k6::CSV_HEAD) {
        Some(LoadFormat::K6Csv)
    } else if access_log::is_pretty(line) {
        Some(LoadFormat::AccessLogPretty)
    } else {
        curve::is_curve(line).then_some(LoadFormat::Curve)
    }
}

impl LoadFormat {
    fn reader(self, group: &str) -> Box<dyn FormatReader> {
        match self {
            Self::K6Json => Box::new(k6::Json::default()),
            Self::K6Csv => Box::new(k6::Csv::default()),
            Self::AccessLogJson => Box::new(access_log::Json::new(group)),
            Self::AccessLogPretty => Box::new(access_log::Pretty::new(group)),
            Self::Curve => Box::new(curve::Curve::default()),
        }
    }

    /// Whether a program writes it line by line and may still be writing.
    const fn is_log(self) -> bool {
        match self {
            Self::K6Json | Self::K6Csv | Self::AccessLogJson | Self::AccessLogPretty => true,
            Self::Curve => false,
        }
    }

    /// The name for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::K6Json => "a k6 trace (JSON)",
            Self::K6Csv => "a k6 trace (CSV)",
            Self::AccessLogJson | Self::AccessLogPretty => "an access log",
            Self::Curve => "a load curve",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn problem(text: &str) -> String {
        read(text.as_bytes(), "todo").unwrap_err().to_string()
    }

    #[test]
    fn a_file_of_no_known_format_is_refused_with_the_known_ones() {
        for text in ["hello\n", "{\"a\": 1}\n", "a,b\n1,2\n", "<html>", "-1,5\n"] {
            let problem = problem(text);
            assert!(
                problem.starts_with("line 1: neither k6's JSON"),
                "{problem}"
            );
        }
        assert!(problem("\n\n# note\n\nwhat\n").starts_with("line 5: neither"));
    }

    #[test]
    fn an_empty_file_is_no_load() {
        for text in ["", "\n\n", "# only a comment\n"] {
            assert_eq!(problem(text), "the file is empty");
        }
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_line() {
        let error = read(&b"0,1\n\xff\xfe,2\n"[..], "todo").unwrap_err();
        assert_eq!(error.to_string(), "line 2: it is not text");
        let endless = io::repeat(b'7');
        let error = read(io::BufReader::new(endless), "todo").unwrap_err();
        assert_eq!(error.to_string(), "line 1: it is longer than 1 MiB");
    }

    #[test]
    fn a_log_that_ends_in_the_middle_of_a_line_is_read_up_to_there() {
        let point = |second: u32| {
            format!(
                r#"{{"metric":"http_reqs","type":"Point","data":{{"time":"2026-01-01T00:00:0{second}Z","value":1,"tags":{{}}}}}}"#
            )
        };
        let whole = format!("{}\n{}\n", point(1), point(2));
        let load = read(whole.as_bytes(), "todo").unwrap();
        assert_eq!(load.curve.rates(), [1.0, 1.0]);
        assert_eq!(load.notes, Vec::<String>::new());

        let cut = &whole[..whole.len() - 20];
        let load = read(cut.as_bytes(), "todo").unwrap();
        assert_eq!(load.curve.rates(), [1.0]);
        assert_eq!(load.notes, ["line 2 is cut off and left out"]);
        // With its end it is not cut off but broken, and so is a line of a curve.
        assert!(problem(&format!("{cut}\n")).starts_with("line 2: "));
        assert!(problem("0,1\n1,x").starts_with("line 2: "));
    }
}
