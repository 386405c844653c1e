//! A metrics page in the protobuf format of Prometheus, the only one that has native histograms
//! (<https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>).

use prost::Message;

use super::durations::{Durations, NATIVE_SCHEMA};

/// A metric with its series.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) help: Option<String>,
    #[prost(enumeration = "Kind", optional, tag = "3")]
    pub(crate) kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) metric: Vec<Metric>,
    #[prost(string, optional, tag = "5")]
    pub(crate) unit: Option<String>,
}

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    Counter = 0,
    Gauge = 1,
    Histogram = 4,
}

/// One series.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(crate) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub(crate) gauge: Option<Value>,
    #[prost(message, optional, tag = "3")]
    pub(crate) counter: Option<Value>,
    #[prost(message, optional, tag = "7")]
    pub(crate) histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LabelPair {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) value: Option<String>,
}

/// The value of a gauge or of a counter.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Value {
    #[prost(double, optional, tag = "1")]
    pub(crate) value: Option<f64>,
}

/// A histogram in both of its forms: with the buckets of the text formats, and native.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(crate) sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    pub(crate) schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    pub(crate) zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    pub(crate) zero_count: Option<u64>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    pub(crate) positive_delta: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(crate) upper_bound: Option<f64>,
}

/// Native buckets beside each other.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BucketSpan {
    /// From the end of the span before, or of the first one from index 0.
    #[prost(sint32, optional, tag = "1")]
    pub(crate) offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    pub(crate) length: Option<u32>,
}

/// A page of these families.
pub(crate) fn write(families: &[MetricFamily]) -> Vec<u8> {
    let mut page = Vec::new();
    for family in families {
        page.extend_from_slice(&family.encode_length_delimited_to_vec());
    }
    page
}

impl Histogram {
    pub(crate) fn of(durations: &Durations) -> Self {
        let mut below = 0;
        let bucket = durations.buckets().into_iter().map(|(bound, count)| {
            below += count;
            Bucket {
                cumulative_count: Some(below),
                upper_bound: Some(bound),
            }
        });
        let native = durations.native();
        let mut histogram = Self {
            sample_count: Some(durations.total()),
            sample_sum: Some(durations.sum.as_secs_f64()),
            bucket: bucket.collect(),
            schema: Some(NATIVE_SCHEMA),
            zero_threshold: Some(native.zero_threshold),
            zero_count: Some(native.zero_count),
            positive_span: Vec::new(),
            positive_delta: Vec::new(),
        };
        histogram.add_buckets(&native.buckets);
        histogram
    }

    /// Adds native buckets: their indexes in spans, and each count as the difference from the one
    /// before.
    fn add_buckets(&mut self, buckets: &[(i32, u64)]) {
        let (mut next, mut before) = (0, 0);
        for (index, count) in buckets {
            match self.positive_span.last_mut() {
                Some(span) if *index == next => span.length = span.length.map(|length| length + 1),
                _ => self.positive_span.push(BucketSpan {
                    offset: Some(index - next),
                    length: Some(1),
                }),
            }
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.positive_delta.push(count - before);
            (next, before) = (index + 1, count);
        }
        if self.positive_span.is_empty() {
            // Without a span it would not be a native histogram.
            self.positive_span.push(BucketSpan {
                offset: Some(0),
                length: Some(0),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Index and count of each native bucket, as a scraper reads them.
    fn read(histogram: &Histogram) -> Vec<(i32, i64)> {
        let (mut index, mut count) = (0, 0);
        let mut deltas = histogram.positive_delta.iter();
        let mut buckets = Vec::new();
        for span in &histogram.positive_span {
            index += span.offset.unwrap();
            for _ in 0..span.length.unwrap() {
                count += deltas.next().unwrap();
                buckets.push((index, count));
                index += 1;
            }
        }
        assert_eq!(deltas.next(), None);
        buckets
    }

    #[test]
    fn native_buckets_hold_what_was_counted() {
        let mut durations = Durations::default();
        let millis = [1.0, 1.0, 10.0, 12.0, 500.0, 0.01, 1e6];
        for millis in millis {
            durations.count(Duration::from_secs_f64(millis / 1000.0));
        }
        let histogram = Histogram::of(&durations);
        let read = read(&histogram);
        assert_eq!(histogram.sample_count, Some(7));
        assert_eq!(histogram.zero_count, Some(1), "ten microseconds");
        let sum: i64 = read.iter().map(|(_, count)| count).sum();
        assert_eq!(sum, 6);
        for millis in [1.0, 10.0, 12.0, 500.0_f64] {
            // The bucket of index i ends at 2^(i/4) seconds.
            let index = ((millis / 1000.0).log2() * 4.0).ceil() as i32;
            assert!(
                read.iter().any(|(at, _)| *at == index),
                "{millis}: {read:?}"
            );
        }
        let last = histogram.bucket.last().unwrap();
        assert_eq!(
            (last.cumulative_count, last.upper_bound),
            (Some(7), Some(f64::INFINITY))
        );
    }

    #[test]
    fn a_histogram_of_nothing_is_native_too() {
        let histogram = Histogram::of(&Durations::default());
        assert_eq!(histogram.positive_span.len(), 1);
        assert_eq!(read(&histogram), []);
    }

    #[test]
    fn families_are_delimited() {
        let family = MetricFamily {
            name: Some("weir_ready".to_owned()),
            ..MetricFamily::default()
        };
        let page = write(&[family.clone(), family.clone()]);
        let mut rest = &page[..];
        for _ in 0..2 {
            assert_eq!(
                MetricFamily::decode_length_delimited(&mut rest),
                Ok(family.clone())
            );
        }
        assert!(rest.is_empty());
    }
}
