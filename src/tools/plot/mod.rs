//! Pictures of a load and of the replicas that followed it, as SVG.
//!
//! A [`Figure`] is a column of panels over the same time; each has its series on an axis to
//! the left and perhaps on one to the right. [`svg`] draws it. What is drawn is up to others.

mod draw;
mod shape;

pub use draw::{PlotError, svg};

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it shows, large.
    pub title: String,
    /// What else there is to know, small, below.
    pub subtitle: String,
    /// How long it is, in seconds.
    pub seconds: f64,
    /// From top to bottom; at least one.
    pub panels: Vec<Panel>,
}

/// A diagram over the time of its figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// What else there is to know, small, behind it.
    pub note: String,
    /// Drawn first.
    pub left: Axis,
    /// Drawn over it.
    pub right: Option<Axis>,
}

/// Series of one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What is counted, and its unit. Axes of one label have one scale.
    pub label: String,
    /// Drawn in this order.
    pub series: Vec<Series>,
}

/// Values over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// For the legend.
    pub name: String,
    /// How it looks.
    pub style: Style,
    /// Seconds and value, in order of time.
    pub points: Vec<(f64, f64)>,
}

/// How a series looks: its colour says what it is, in every picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Requests: an area.
    Load,
    /// Replicas that serve: an area of steps.
    Running,
    /// Replicas that there should be: a line of steps.
    Desired,
    /// The least and the most there may be: a thin line of steps.
    Bound,
    /// What is measured: a line.
    Metric,
    /// What it should be: a broken line.
    Target,
}
