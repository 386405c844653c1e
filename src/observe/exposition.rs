//! Families on a metrics page, as `OpenMetrics` or Prometheus' protobuf writes them.
//!
//! A thin layer over `prometheus-client`'s encoder, for collectors that have their numbers
//! elsewhere. The encoder escapes quotes and adds `_total`; this layer adds the shape of families
//! and escapes unsafe characters in labels.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::durations::Durations;
use super::names::Name;
use super::protobuf::{Histogram, Kind, LabelPair, Metric, MetricFamily, Value};
use crate::model::escape_lines;

/// A label and its value.
pub(crate) type Label<'a> = (&'static str, &'a str);

/// A page that is being written.
pub(crate) struct Page<'a>(PageEncoder<'a>);

enum PageEncoder<'a> {
    Text(DescriptorEncoder<'a>),
    Protobuf(&'a mut Vec<MetricFamily>),
}

impl<'a> Page<'a> {
    pub(crate) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(PageEncoder::Text(encoder))
    }

    /// Adds to these families.
    pub(crate) fn protobuf(families: &'a mut Vec<MetricFamily>) -> Self {
        Self(PageEncoder::Protobuf(families))
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
        match &mut self.0 {
            PageEncoder::Text(encoder) => {
                let name = match &unit {
                    Some(unit) => name.trim_end_matches(unit.as_str()).trim_end_matches('_'),
                    None => name,
                };
                let metric = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
                fill(&mut Family(FamilyEncoder::Text(metric)))
            }
            PageEncoder::Protobuf(families) => {
                let mut family = protobuf_family(name, help, unit.as_ref(), kind);
                fill(&mut Family(FamilyEncoder::Protobuf(&mut family)))?;
                families.push(family);
                Ok(())
            }
        }
    }
}

fn protobuf_family(name: &str, help: &str, unit: Option<&Unit>, kind: MetricType) -> MetricFamily {
    let (suffix, kind) = match kind {
        MetricType::Counter => ("_total", Kind::Counter),
        MetricType::Histogram => ("", Kind::Histogram),
        _ => ("", Kind::Gauge),
    };
    MetricFamily {
        name: Some(format!("{name}{suffix}")),
        help: Some(help.to_owned()),
        kind: Some(kind.into()),
        metric: Vec::new(),
        unit: unit.map(|unit| unit.as_str().to_owned()),
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
pub(crate) struct Family<'a>(FamilyEncoder<'a>);

enum FamilyEncoder<'a> {
    Text(MetricEncoder<'a>),
    Protobuf(&'a mut MetricFamily),
}

/// A value of a gauge.
pub(crate) trait Number: EncodeGaugeValue {
    /// The nearest one that a double can have.
    fn double(&self) -> f64;
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(
        impl Number for $kind {
            #[allow(clippy::cast_lossless, reason = "some are, and some are not")]
            fn double(&self) -> f64 {
                *self as f64
            }
        }
    )*};
}

numbers!(u32, u64, i64, usize, f64);

impl Family<'_> {
    pub(crate) fn count(&mut self, value: u64, labels: &[Label<'_>]) -> fmt::Result {
        match &mut self.0 {
            FamilyEncoder::Text(encoder) => series(encoder, labels, |series| {
                series.encode_counter::<NoLabelSet, _, u64>(&value, None)
            }),
            FamilyEncoder::Protobuf(family) => counter(family, value.double(), labels),
        }
    }

    /// For times, which are no whole numbers.
    pub(crate) fn count_seconds(&mut self, value: f64, labels: &[Label<'_>]) -> fmt::Result {
        match &mut self.0 {
            FamilyEncoder::Text(encoder) => series(encoder, labels, |series| {
                series.encode_counter::<NoLabelSet, _, f64>(&value, None)
            }),
            FamilyEncoder::Protobuf(family) => counter(family, value, labels),
        }
    }

    pub(crate) fn gauge(&mut self, value: &impl Number, labels: &[Label<'_>]) -> fmt::Result {
        match &mut self.0 {
            FamilyEncoder::Text(encoder) => {
                series(encoder, labels, |series| series.encode_gauge(value))
            }
            FamilyEncoder::Protobuf(family) => {
                let gauge = Value {
                    value: Some(value.double()),
                };
                family.metric.push(Metric {
                    gauge: Some(gauge),
                    ..labelled(labels)
                });
                Ok(())
            }
        }
    }

    /// In text with the buckets that are exposed; in protobuf as a native histogram too.
    pub(crate) fn histogram(&mut self, durations: &Durations, labels: &[Label<'_>]) -> fmt::Result {
        match &mut self.0 {
            FamilyEncoder::Text(encoder) => {
                // The encoder accumulates them.
                let (sum, buckets) = (durations.sum.as_secs_f64(), durations.buckets());
                series(encoder, labels, |series| {
                    series.encode_histogram::<NoLabelSet>(sum, durations.total(), &buckets, None)
                })
            }
            FamilyEncoder::Protobuf(family) => {
                family.metric.push(Metric {
                    histogram: Some(Histogram::of(durations)),
                    ..labelled(labels)
                });
                Ok(())
            }
        }
    }
}

fn series(
    encoder: &mut MetricEncoder<'_>,
    labels: &[Label<'_>],
    write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() {
        return write(encoder);
    }
    let labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| (*name, escape_lines(value)))
        .collect();
    write(&mut encoder.encode_family(&labels)?)
}

#[allow(clippy::unnecessary_wraps, reason = "as its counterparts")]
fn counter(family: &mut MetricFamily, value: f64, labels: &[Label<'_>]) -> fmt::Result {
    let counter = Value { value: Some(value) };
    family.metric.push(Metric {
        counter: Some(counter),
        ..labelled(labels)
    });
    Ok(())
}

fn labelled(labels: &[Label<'_>]) -> Metric {
    let pair = |(name, value): &Label<'_>| LabelPair {
        name: Some((*name).to_owned()),
        value: Some((*value).to_owned()),
    };
    Metric {
        label: labels.iter().map(pair).collect(),
        ..Metric::default()
    }
}
