//! Reads what k6 writes: a line for each sample of each metric, of which `http_reqs` count.
//!
//! <https://grafana.com/docs/k6/latest/results-output/real-time/json/> and `…/csv/`. A sample has
//! the time when its request ended.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use super::super::curve::{Counter, MAX_RATE};
use super::reader::{FormatReader, is_blank};
use crate::tools::simulate::LoadCurve;

/// The metric that counts requests.
const REQUESTS: &str = "http_reqs";

/// The beginning of the first line of a CSV file.
pub(super) const CSV_HEAD: &str = "metric_name,timestamp,metric_value";

/// `--out json`: one object a line.
#[derive(Debug, Default)]
pub(super) struct Json(Counter);

/// `--out csv`: a header, then a row for each sample.
#[derive(Debug, Default)]
pub(super) struct Csv(Counter);

/// The used keys of a line; `type` is `Metric` where a metric is declared.
#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metric: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    value: Option<f64>,
}

impl FormatReader for Json {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if is_blank(line) {
            return Ok(());
        }
        let object: Object<'_> =
            serde_json::from_str(line).map_err(|error| format!("not a sample of k6: {error}"))?;
        if object.kind != "Point" || object.metric != REQUESTS {
            return Ok(());
        }
        let (Some(time), Some(value)) = (object.data.time, object.data.value) else {
            return Err(format!("a point of {REQUESTS} without time or value"));
        };
        self.0.add(timestamp(&time)?, count(value)?)
    }

    fn finish(self: Box<Self>) -> Result<LoadCurve, String> {
        self.0.finish().ok_or_else(no_requests)
    }
}

impl FormatReader for Csv {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if is_blank(line) || line.starts_with(CSV_HEAD) {
            return Ok(());
        }
        // Names of metrics and numbers are never quoted; later cells may be.
        let mut cells = line.splitn(4, ',');
        let (metric, time, value) = (cells.next(), cells.next(), cells.next());
        let (Some(metric), Some(time), Some(value)) = (metric, time, value) else {
            return Err(format!("expected `{CSV_HEAD},…`"));
        };
        if metric != REQUESTS {
            return Ok(());
        }
        let time = csv_time(time)?;
        let value = value
            .parse::<f64>()
            .map_err(|_| format!("`{value}` is no number of requests"))?;
        self.0.add(time, count(value)?)
    }

    fn finish(self: Box<Self>) -> Result<LoadCurve, String> {
        self.0.finish().ok_or_else(no_requests)
    }
}

fn no_requests() -> String {
    format!("no sample of {REQUESTS} is in it: did k6 send requests?")
}

fn count(value: f64) -> Result<f64, String> {
    // NaN is in no range.
    let is_legal = (0.0..=MAX_RATE).contains(&value);
    is_legal
        .then_some(value)
        .ok_or_else(|| format!("{value} is no number of requests"))
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|error| format!("`{text}` is no time: {error}"))
}

/// Parses a time of any `K6_CSV_TIME_FORMAT`: the formats differ by magnitude and shape.
fn csv_time(text: &str) -> Result<Timestamp, String> {
    if text.contains('T') {
        return timestamp(text);
    }
    let not = || format!("`{text}` is no time");
    let number: i64 = text.parse().map_err(|_| not())?;
    let time = match number.unsigned_abs() {
        0..100_000_000_000 => Timestamp::from_second(number),
        100_000_000_000..100_000_000_000_000 => Timestamp::from_millisecond(number),
        100_000_000_000_000..100_000_000_000_000_000 => Timestamp::from_microsecond(number),
        _ => Ok(Timestamp::from_nanosecond(i128::from(number)).unwrap_or(Timestamp::MAX)),
    };
    time.map_err(|_| not())
}

#[cfg(test)]
mod tests {
    use super::super::{LoadFormat, read};

    /// As k6 1.3 writes it.
    const JSON: &str = r#"{"type":"Metric","data":{"name":"http_reqs","type":"counter","contains":"default","thresholds":[],"submetrics":null},"metric":"http_reqs"}
{"metric":"http_reqs","type":"Point","data":{"time":"2026-11-22T11:40:01.999999999Z","value":1,"tags":{"url":"http://127.0.0.1/\"metric\"","status":"200"}}}
{"metric":"http_req_duration","type":"Point","data":{"time":"2026-11-22T11:40:01.9Z","value":1.5,"tags":{}}}
{"metric":"http_reqs","type":"Point","data":{"time":"2026-11-22T13:40:03.1+02:00","value":1,"tags":null}}
{"metric":"http_reqs","type":"Point","data":{"time":"2026-11-22T11:40:01Z","value":1,"tags":{}}}
"#;

    const CSV: &str = "metric_name,timestamp,metric_value,check,error,error_code,expected_response,group,method,name,proto\n\
        http_reqs,1795340401,1.000000,,,,true,,GET,\"a,b\",HTTP/1.1\n\
        http_req_duration,1795340401,0.233800,,,,true,,GET,list,HTTP/1.1\n\
        http_reqs,1795340401,1.000000,,,,true,,GET,list,HTTP/1.1\n\
        http_reqs,1795340403,1.000000,,,,true,,GET,list,HTTP/1.1\n";

    #[test]
    fn points_of_http_reqs_are_the_requests() {
        for (text, format) in [(JSON, LoadFormat::K6Json), (CSV, LoadFormat::K6Csv)] {
            let load = read(text.as_bytes(), "todo").unwrap();
            assert_eq!(load.format, format);
            assert_eq!(load.curve.rates(), [2.0, 0.0, 1.0]);
        }
        let load = read(JSON.as_bytes(), "todo").unwrap();
        let start = load.curve.start().unwrap();
        assert_eq!(start.to_string(), "2026-11-22T11:40:01Z");
    }

    #[test]
    fn csv_times_may_have_any_of_k6s_formats() {
        for time in [
            "1795340401",
            "1795340401000",
            "1795340401000000",
            "1795340401000000000",
            "2026-11-22T11:40:01Z",
        ] {
            let text = format!("metric_name,timestamp,metric_value\nhttp_reqs,{time},1\n");
            let load = read(text.as_bytes(), "todo").unwrap();
            let start = load.curve.start().unwrap();
            assert_eq!(start.as_second() / 86_400, 1_795_340_401 / 86_400, "{time}");
        }
    }

    #[test]
    fn a_broken_line_is_named() {
        let json = |line: &str| format!("{JSON}{line}\n");
        let csv = |line: &str| format!("{CSV}{line}\n");
        for (text, says) in [
            (json("{"), "line 6: not a sample of k6: "),
            (json("http_reqs"), "line 6: not a sample of k6: "),
            (
                json(r#"{"metric":"http_reqs","type":"Point","data":{}}"#),
                "line 6: a point of http_reqs without time or value",
            ),
            (
                json(r#"{"metric":"http_reqs","type":"Point","data":{"time":"now","value":1}}"#),
                "line 6: `now` is no time: ",
            ),
            (
                json(
                    r#"{"metric":"http_reqs","type":"Point","data":{"time":"2026-11-22T11:40:01Z","value":-1}}"#,
                ),
                "line 6: -1 is no number of requests",
            ),
            (
                json(
                    r#"{"metric":"http_reqs","type":"Point","data":{"time":"2027-11-22T11:40:01Z","value":1}}"#,
                ),
                "line 6: 2027-11-22T11:40:01Z is more than 7 days away",
            ),
            (
                csv("http_reqs,1795340401"),
                "line 6: expected `metric_name,",
            ),
            (csv("http_reqs,soon,1"), "line 6: `soon` is no time"),
            (
                csv("http_reqs,9223372036854775808,1"),
                "line 6: `9223372036854775808` is no time",
            ),
            (
                csv("http_reqs,9223372036854775807,1"),
                "line 6: 2262-04-11T23:47:16",
            ),
            (
                csv("http_reqs,1795340401,x"),
                "line 6: `x` is no number of requests",
            ),
            (
                csv("http_reqs,1795340401,inf"),
                "line 6: inf is no number of requests",
            ),
            (
                CSV.lines().take(1).collect(),
                "no sample of http_reqs is in it",
            ),
        ] {
            let problem = read(text.as_bytes(), "todo").unwrap_err().to_string();
            assert!(problem.starts_with(says), "{says}: {problem}");
        }
    }
}
