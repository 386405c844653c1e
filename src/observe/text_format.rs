//! Converts a metrics page from the newer text format to the older one.
//!
//! In `OpenMetrics` a counter's family is named without the `_total` of its series, and the
//! page ends in `# EOF`; in the text format 0.0.4 the family has the name of its series. A
//! scraper which expects one format and gets the other takes every counter for untyped.
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>)

/// An `OpenMetrics` page in the Prometheus text format 0.0.4.
pub fn prometheus(openmetrics: &str) -> String {
    let mut page = String::with_capacity(openmetrics.len());
    // The help of a family comes before its type, which decides its name.
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some((name, kind)) = family_type(line) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take_if(|(described, _)| *described == name) {
                // Quotes are escaped in the newer format only.
                let text = text.replace("\\\"", "\"");
                page.extend(["# HELP ", name, suffix, " ", &text, "\n"]);
            }
            page.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            page.extend([line, "\n"]);
        }
    }
    page
}

fn family_type(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_has_the_name_of_its_series() {
        let openmetrics = "\
            # HELP weir_requests Requests \\\"answered\\\", by code.\n\
            # TYPE weir_requests counter\n\
            weir_requests_total{code=\"2xx\"} 3\n\
            # HELP weir_ready Whether.\n\
            # TYPE weir_ready gauge\n\
            # UNIT weir_ready things\n\
            weir_ready 1\n\
            # TYPE weir_wait_seconds histogram\n\
            weir_wait_seconds_sum 0.5\n\
            weir_wait_seconds_bucket{le=\"+Inf\"} 1\n\
            # EOF\n";
        let expected = "\
            # HELP weir_requests_total Requests \"answered\", by code.\n\
            # TYPE weir_requests_total counter\n\
            weir_requests_total{code=\"2xx\"} 3\n\
            # HELP weir_ready Whether.\n\
            # TYPE weir_ready gauge\n\
            weir_ready 1\n\
            # TYPE weir_wait_seconds histogram\n\
            weir_wait_seconds_sum 0.5\n\
            weir_wait_seconds_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(prometheus(openmetrics), expected);
    }
}
