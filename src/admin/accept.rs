//! Which format of the metrics page a scraper prefers (RFC 9110 section 12.5.1).

use http::header::{ACCEPT, HeaderMap};

/// A format of the metrics page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4, which browsers show too.
    Text,
}

/// `OpenMetrics` for scrapers that name it and do not prefer plain text to it.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(ACCEPT);
    let ranges = || {
        let texts = accepted.iter().filter_map(|value| value.to_str().ok());
        texts.flat_map(|text| text.split(','))
    };
    let weight = |wanted: &str| {
        let weights = ranges().filter(|range| media_type(range).eq_ignore_ascii_case(wanted));
        weights.map(thousandths).max()
    };
    match weight("application/openmetrics-text") {
        Some(weight_of_newer)
            if weight_of_newer > 0 && Some(weight_of_newer) >= weight("text/plain") =>
        {
            Format::OpenMetrics
        }
        Some(_) | None => Format::Text,
    }
}

fn media_type(range: &str) -> &str {
    range.split(';').next().unwrap_or_default().trim()
}

/// The weight of a media range, `q=0.5`, in thousandths; one without is whole.
fn thousandths(range: &str) -> u32 {
    let parameters = range.split(';').skip(1).map(str::trim);
    let weight = parameters
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("q"));
    let Some((_, weight)) = weight else {
        return 1000;
    };
    let weight = weight.parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0);
    (weight * 1000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_format_is_for_those_who_prefer_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let cases = [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html", Format::Text),
            ("text/plain;version=0.0.4", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "Application/OpenMetrics-Text ; version=1.0.0",
                Format::OpenMetrics,
            ),
            (prometheus, Format::OpenMetrics),
            (
                "application/openmetrics-text;q=0.1,text/plain;q=0.2",
                Format::Text,
            ),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=x, text/plain", Format::Text),
        ];
        for (accept, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(format(&headers), expected, "{accept}");
        }
    }
}
