//! Which format of the metrics page a scraper prefers, by its `Accept` field (RFC 9110, section
//! 12.5.1).

use http::header::{ACCEPT, HeaderMap};

/// A format of the metrics page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricsFormat {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4, which browsers show too.
    Text,
    /// Prometheus' protobuf, which has native histograms.
    Protobuf,
}

/// The media type of that, with what follows it.
const PROTOBUF: &str = "application/vnd.google.protobuf";
const PROTOBUF_MESSAGE: &str = "io.prometheus.client.MetricFamily";

/// What a scraper prefers: of formats with equal weights protobuf, then `OpenMetrics`. Plain text for
/// those that name neither.
pub(super) fn preferred(headers: &HeaderMap) -> MetricsFormat {
    let text = weight(headers, "text/plain").max(weight(headers, "application/openmetrics-text"));
    let protobuf = weight(headers, PROTOBUF);
    if protobuf.is_some_and(|weight| weight > 0) && protobuf >= text {
        return MetricsFormat::Protobuf;
    }
    match weight(headers, "application/openmetrics-text") {
        Some(newer) if newer > 0 && Some(newer) >= weight(headers, "text/plain") => {
            MetricsFormat::OpenMetrics
        }
        Some(_) | None => MetricsFormat::Text,
    }
}

/// The highest weight of a media type in thousandths; `None` if no range names it.
fn weight(headers: &HeaderMap, wanted: &str) -> Option<u32> {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter(|range| media_type(range).eq_ignore_ascii_case(wanted))
        .filter(|range| wanted != PROTOBUF || is_of_prometheus(range))
        .map(thousandths)
        .max()
}

/// Whether a range of protobuf means the messages of Prometheus, each with its length.
fn is_of_prometheus(range: &str) -> bool {
    let has = |name: &str, value: &str| {
        let mut parameters = range
            .split(';')
            .filter_map(|one| one.trim().split_once('='));
        parameters.any(|(given, text)| {
            given.eq_ignore_ascii_case(name) && text.eq_ignore_ascii_case(value)
        })
    };
    has("proto", PROTOBUF_MESSAGE) && has("encoding", "delimited")
}

fn media_type(range: &str) -> &str {
    range.split(';').next().unwrap_or_default().trim()
}

/// The weight of a media range, `q=0.5`, in thousandths; 1000 without one.
fn thousandths(range: &str) -> u32 {
    let Some((_, weight)) = range
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("q"))
    else {
        return 1000;
    };
    let weight = weight.parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0);
    (weight * 1000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_format_is_for_scrapers_which_prefer_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let cases = [
            ("", MetricsFormat::Text),
            ("*/*", MetricsFormat::Text),
            ("text/html", MetricsFormat::Text),
            ("text/plain;version=0.0.4", MetricsFormat::Text),
            ("application/openmetrics-text", MetricsFormat::OpenMetrics),
            (
                "Application/OpenMetrics-Text ; version=1.0.0",
                MetricsFormat::OpenMetrics,
            ),
            (prometheus, MetricsFormat::OpenMetrics),
            (
                "application/openmetrics-text;q=0.1,text/plain;q=0.2",
                MetricsFormat::Text,
            ),
            ("application/openmetrics-text;q=0", MetricsFormat::Text),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                 application/openmetrics-text;version=1.0.0;q=0.8",
                MetricsFormat::Protobuf,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text,\
                 text/plain;q=0.8",
                MetricsFormat::Text,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.1,\
                 text/plain;q=0.8",
                MetricsFormat::Text,
            ),
            (
                "application/openmetrics-text;q=x, text/plain",
                MetricsFormat::Text,
            ),
        ];
        for (accept, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(preferred(&headers), expected, "{accept}");
        }
    }
}
