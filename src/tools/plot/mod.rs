//! Draws a load and the replicas that follow it, as SVG.
//!
//! A [`Figure`] is a column of panels over the same time; each has series on an axis to the left
//! and perhaps on one to the right. [`svg`] draws it. The callers decide what it shows.

mod draw;
mod shape;

pub use draw::{PlotError, svg};

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Shown in large letters.
    pub title: String,
    /// Shown in small letters below the title.
    pub subtitle: String,
    /// The length of the time axis, seconds.
    pub seconds: f64,
    /// From top to bottom; at least one.
    pub panels: Vec<Panel>,
}

/// A diagram over the time of its figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Shown at its top left.
    pub title: String,
    /// Shown in small letters after the title.
    pub note: String,
    /// Drawn first.
    pub left: Axis,
    /// Drawn over it.
    pub right: Option<Axis>,
}

/// Series of one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The quantity with its unit. Axes with the same label have the same scale.
    pub label: String,
    /// Drawn in this order.
    pub series: Vec<Series>,
}

/// Values over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The name in the legend.
    pub name: String,
    /// Its appearance.
    pub style: Style,
    /// Pairs of seconds and value, in the order of time.
    pub points: Vec<(f64, f64)>,
}

/// What a series shows, which determines its appearance in every figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Requests: an area.
    Load,
    /// Replicas that serve: a stepped area.
    Running,
    /// Desired replicas: a stepped line.
    Desired,
    /// The bounds of the count: a thin stepped line.
    Bound,
    /// A metric: a line.
    Metric,
    /// The target of a metric: a dashed line.
    Target,
}
