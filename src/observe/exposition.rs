//! Families on a metrics page, as `OpenMetrics` writes them.
//!
//! A thin layer over `prometheus-client`'s encoder, for collectors that have their numbers
//! elsewhere. The encoder escapes quotes and adds `_total`; this layer adds the shape of families
//! and escapes unsafe characters in labels.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::names::Name;
use crate::model::escape_lines;

/// A label and its value.
pub(crate) type Label<'a> = (&'static str, &'a str);

/// A page that is being written.
pub(crate) struct Page<'a>(DescriptorEncoder<'a>);

impl<'a> Page<'a> {
    pub(crate) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    pub(crate) fn counters(
        &mut self,
        name: Name,
        fill: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.family(name, MetricType::Counter, fill)
    }

    pub(crate) fn gauges(
        &mut self,
        name: Name,
        fill: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.family(name, MetricType::Gauge, fill)
    }

    pub(crate) fn histograms(
        &mut self,
        name: Name,
        fill: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.family(name, MetricType::Histogram, fill)
    }

    fn family(
        &mut self,
        (name, help): Name,
        kind: MetricType,
        fill: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let unit = unit(name);
        let name = match &unit {
            Some(unit) => name.trim_end_matches(unit.as_str()).trim_end_matches('_'),
            None => name,
        };
        let metric = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        fill(&mut Family(metric))
    }
}

/// The unit that a name ends in. The encoder adds it to the name again.
fn unit(name: &str) -> Option<Unit> {
    match name.rsplit_once('_')?.1 {
        "seconds" => Some(Unit::Seconds),
        "bytes" => Some(Unit::Bytes),
        "percent" => Some(Unit::Other("percent".to_owned())),
        _ => None,
    }
}

/// One metric with its series. The caller must write no series twice.
pub(crate) struct Family<'a>(MetricEncoder<'a>);

impl Family<'_> {
    pub(crate) fn count(&mut self, value: u64, labels: &[Label<'_>]) -> fmt::Result {
        self.series(labels, |series| {
            series.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    /// For times, which are no whole numbers.
    pub(crate) fn count_seconds(&mut self, value: f64, labels: &[Label<'_>]) -> fmt::Result {
        self.series(labels, |series| {
            series.encode_counter::<NoLabelSet, _, f64>(&value, None)
        })
    }

    pub(crate) fn gauge(
        &mut self,
        value: &impl EncodeGaugeValue,
        labels: &[Label<'_>],
    ) -> fmt::Result {
        self.series(labels, |series| series.encode_gauge(value))
    }

    /// `buckets` are upper bounds with the observations in each bucket alone: the encoder
    /// accumulates them. The last bound is infinite.
    pub(crate) fn histogram(
        &mut self,
        sum: f64,
        buckets: &[(f64, u64)],
        labels: &[Label<'_>],
    ) -> fmt::Result {
        let count = buckets.iter().map(|(_, count)| count).sum();
        self.series(labels, |series| {
            series.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
        })
    }

    fn series(
        &mut self,
        labels: &[Label<'_>],
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        if labels.is_empty() {
            return write(&mut self.0);
        }
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| (*name, escape_lines(value)))
            .collect();
        write(&mut self.0.encode_family(&labels)?)
    }
}
