//! Reads a metrics page as a scraper does, and fails the test when it is not valid
//! (`OpenMetrics` 1.0: families in one piece, no series twice, counters end in `_total`,
//! buckets accumulate, `# EOF` ends it).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

/// A valid page.
#[derive(Debug)]
pub(crate) struct ParsedPage {
    text: String,
    series: BTreeMap<String, f64>,
}

#[derive(Debug)]
struct Shared<C>(Arc<C>);

impl<C: Collector> Collector for Shared<C> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.0.encode(encoder)
    }
}

impl ParsedPage {
    /// The page of one collector.
    pub(crate) fn of<C: Collector>(collector: Arc<C>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Shared(collector)));
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        Self::parse(page)
    }

    pub(crate) fn parse(text: String) -> Self {
        let body = text
            .strip_suffix("# EOF\n")
            .expect("the page ends with EOF");
        let (mut families, mut series) = (BTreeSet::new(), BTreeMap::new());
        let mut family = (String::new(), String::new());
        for line in body.lines() {
            if let Some(line) = line.strip_prefix("# TYPE ") {
                let (name, kind) = line.split_once(' ').unwrap();
                assert!(families.insert(name.to_owned()), "{name} comes twice");
                family = (name.to_owned(), kind.to_owned());
                continue;
            }
            if let Some(unit) = line.strip_prefix("# UNIT ") {
                let (name, unit) = unit.split_once(' ').unwrap();
                assert_eq!(name, family.0, "{line}");
                assert!(name.ends_with(&format!("_{unit}")), "{line}");
                continue;
            }
            if let Some(help) = line.strip_prefix("# HELP ") {
                assert!(help.contains(' '), "no help: {line}");
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            check_name(name, &family);
            let value = value.parse().expect(line);
            assert!(series.insert(name.to_owned(), value).is_none(), "{line}");
        }
        assert!(!families.is_empty() && !series.is_empty());
        let page = Self { text, series };
        page.check_buckets();
        page
    }

    /// The value of one series, by its name with its labels as they are written.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        self.series.get(series).copied()
    }

    pub(crate) fn has(&self, part: &str) -> bool {
        self.text.contains(part)
    }

    /// Checks that buckets accumulate. In the order of the page: the map has another one.
    fn check_buckets(&self) {
        let mut before = (String::new(), 0.0);
        for line in self.text.lines().filter(|line| line.contains("_bucket{")) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let (start, rest) = name.split_once("le=\"").unwrap();
            let (bound, labels) = rest.split_once('"').unwrap();
            let labels = labels.trim_start_matches(',');
            let value: f64 = value.parse().unwrap();
            let histogram = format!("{start}{labels}");
            if before.0 == histogram {
                assert!(before.1 <= value, "{line}");
            }
            if bound == "+Inf" {
                let count = histogram.replace("_bucket{", "_count{");
                assert_eq!(self.value(&count), Some(value), "{count}");
                before = (String::new(), 0.0);
            } else {
                bound.parse::<f64>().expect(line);
                before = (histogram, value);
            }
        }
        assert_eq!(before.0, "", "a histogram without +Inf");
    }
}

fn check_name(series: &str, (family, kind): &(String, String)) {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    assert!(
        labels.ends_with('}') && labels != "}" || !series.contains('{'),
        "{series}"
    );
    let suffix = name.strip_prefix(family.as_str()).expect(series);
    let suffixes: &[&str] = match kind.as_str() {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_count", "_sum"],
        kind => panic!("{kind} is unknown to the older text format"),
    };
    assert!(suffixes.contains(&suffix), "{series} in {family}, a {kind}");
}
