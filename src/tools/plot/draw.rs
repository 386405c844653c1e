//! Draws a figure. Nothing is measured in a font: a viewer brings its own.

use std::iter;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::shape::{round_up, steps, thin, unit_of_time};
use super::{Axis, Figure, Panel, Series, Style};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Pixels.
const WIDTH: u32 = 1200;
const HEAD: u32 = 64;
const PANEL: u32 = 216;
/// The last panel has the name of the time axis below it.
const FOOT: u32 = 26;
/// For the numbers and the name of an axis, and outside of it.
const AXIS: u32 = 60;
const MARGIN: u32 = 10;
const SIDE: u32 = AXIS + MARGIN;
/// A panel's line with its title and legend.
const CAPTION: u32 = 30;

const INK: RGBColor = RGBColor(38, 50, 56);
const FAINT: RGBColor = RGBColor(96, 112, 120);
const GRID: RGBColor = RGBColor(226, 231, 234);

/// A picture that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw: {0}")]
pub struct PlotError(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for PlotError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

/// Draws a figure as an SVG document.
pub fn svg(figure: &Figure) -> Result<String, PlotError> {
    let height = HEAD + PANEL * figure.panels.len() as u32 + FOOT;
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        head(&root, figure)?;
        for (index, panel) in (0..).zip(&figure.panels) {
            let is_last = index as usize + 1 == figure.panels.len();
            let size = PANEL + if is_last { FOOT } else { 0 };
            let place = (0, (HEAD + PANEL * index).cast_signed());
            let area = root.clone().shrink(place, (WIDTH, size));
            draw_panel(&area, panel, figure, is_last)?;
        }
        root.present()?;
    }
    Ok(text)
}

/// How a text looks.
#[derive(Clone, Copy)]
struct Letters {
    size: u32,
    color: RGBColor,
    weight: FontStyle,
}

const TITLE: Letters = Letters {
    size: 25,
    color: INK,
    weight: FontStyle::Bold,
};
const SUBTITLE: Letters = Letters {
    size: 17,
    color: FAINT,
    weight: FontStyle::Normal,
};
const HEADING: Letters = Letters { size: 18, ..TITLE };
const NOTE: Letters = Letters {
    size: 15,
    ..SUBTITLE
};

fn head(root: &Area<'_>, figure: &Figure) -> Result<(), PlotError> {
    let left = SIDE.cast_signed();
    write(root, &figure.title, TITLE, HPos::Left, (left, 14))?;
    write(root, &figure.subtitle, SUBTITLE, HPos::Left, (left, 42))
}

/// A line of text whose upper left, or right, corner is at a place.
fn write(
    area: &Area<'_>,
    text: &str,
    letters: Letters,
    corner: HPos,
    place: (i32, i32),
) -> Result<(), PlotError> {
    let font = FontDesc::new(
        FontFamily::SansSerif,
        f64::from(letters.size),
        letters.weight,
    );
    let style = TextStyle::from(font).color(&letters.color);
    let style = style.pos(Pos::new(corner, VPos::Top));
    Ok(area.draw_text(&printable(text), &style, place)?)
}

/// XML has no control characters, not even as entities.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn draw_panel(
    area: &Area<'_>,
    panel: &Panel,
    figure: &Figure,
    is_last: bool,
) -> Result<(), PlotError> {
    caption(area, panel)?;
    let (unit, length) = unit_of_time(figure.seconds);
    let end = (figure.seconds / length).max(1e-3);
    let top = |axis: &Axis| top(figure, axis);
    let right = panel.right.as_ref();
    let mut chart = ChartBuilder::on(area)
        .margin_top(CAPTION)
        .margin_bottom(8)
        .margin_left(MARGIN)
        .margin_right(if right.is_some() { MARGIN } else { SIDE })
        .x_label_area_size(if is_last { 22 + FOOT } else { 22 })
        .y_label_area_size(AXIS)
        .right_y_label_area_size(if right.is_some() { AXIS } else { 0 })
        .build_cartesian_2d(0.0..end, 0.0..top(&panel.left))?
        .set_secondary_coord(0.0..end, 0.0..right.map_or(1.0, top));
    let text = ("sans-serif", 15).into_font().color(&FAINT);
    let name = ("sans-serif", 15).into_font().color(&INK);
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(text.clone())
        .axis_desc_style(name.clone())
        .x_labels(12)
        .y_labels(6)
        .x_label_formatter(&|value| number(*value))
        .y_label_formatter(&|value| number(*value))
        .y_desc(printable(&panel.left.label));
    if is_last {
        mesh.x_desc(format!("time since the beginning ({unit})"));
    }
    mesh.draw()?;
    let scale = Scale {
        time: length,
        value: 1.0,
        end: figure.seconds,
    };
    for series in &panel.left.series {
        draw_series(&mut chart, series, scale)?;
    }
    let Some(right) = right else { return Ok(()) };
    chart
        .configure_secondary_axes()
        .axis_style(GRID)
        .label_style(text)
        .axis_desc_style(name)
        .y_labels(6)
        .y_label_formatter(&|value| number(*value))
        .y_desc(printable(&right.label))
        .draw()?;
    let scale = Scale {
        value: top(right) / top(&panel.left),
        ..scale
    };
    for series in &right.series {
        draw_series(&mut chart, series, scale)?;
    }
    Ok(())
}

/// Where an axis ends: all of one name have the same scale, so that panels can be compared.
fn top(figure: &Figure, axis: &Axis) -> f64 {
    let panels = figure.panels.iter();
    let all = panels.flat_map(|panel| iter::once(&panel.left).chain(&panel.right));
    let same = all.filter(|other| other.label == axis.label);
    round_up(same.map(highest).fold(0.0, f64::max) * 1.05)
}

/// The largest value of an axis.
fn highest(axis: &Axis) -> f64 {
    let series = axis.series.iter();
    let values = series.flat_map(|series| series.points.iter().map(|point| point.1));
    values.filter(|value| value.is_finite()).fold(0.0, f64::max)
}

/// What the values of a series are divided by to be values of the left axis.
#[derive(Clone, Copy)]
struct Scale {
    time: f64,
    value: f64,
    /// Seconds at which the figure ends.
    end: f64,
}

fn draw_series(chart: &mut Chart<'_, '_>, series: &Series, scale: Scale) -> Result<(), PlotError> {
    let look = Look::of(series.style);
    let points = match look.shape {
        Shape::Steps => steps(&series.points, scale.end),
        Shape::Line => thin(&series.points),
    };
    let points = points.into_iter().filter(|(_, value)| value.is_finite());
    let scaled = points.map(|(time, value)| (time / scale.time, value / scale.value));
    let line = look.color.stroke_width(look.width);
    if look.fill > 0.0 {
        let area = AreaSeries::new(scaled, 0.0, look.color.mix(look.fill));
        chart.draw_series(area.border_style(line))?;
    } else if look.is_broken {
        chart.draw_series(DashedLineSeries::new(scaled, 6, 4, line))?;
    } else {
        chart.draw_series(LineSeries::new(scaled, line))?;
    }
    Ok(())
}

/// How a style is drawn.
struct Look {
    color: RGBColor,
    width: u32,
    /// How opaque the area below the line is.
    fill: f64,
    is_broken: bool,
    shape: Shape,
}

enum Shape {
    Line,
    Steps,
}

impl Look {
    /// Colours that people tell apart whatever they see of them: M. Okabe and K. Ito, Color
    /// Universal Design, 2008.
    fn of(style: Style) -> Self {
        let look = |color, width, fill, shape| Self {
            color,
            width,
            fill,
            is_broken: false,
            shape,
        };
        match style {
            Style::Load => look(RGBColor(0, 114, 178), 2, 0.14, Shape::Line),
            Style::Running => look(RGBColor(0, 158, 115), 1, 0.22, Shape::Steps),
            Style::Desired => look(RGBColor(213, 94, 0), 2, 0.0, Shape::Steps),
            Style::Bound => look(RGBColor(160, 172, 178), 1, 0.0, Shape::Steps),
            Style::Metric => look(RGBColor(84, 60, 150), 1, 0.0, Shape::Line),
            Style::Target => Self {
                is_broken: true,
                ..look(RGBColor(84, 60, 150), 1, 0.0, Shape::Steps)
            },
        }
    }
}

/// A panel's title to the left, what its lines mean to the right.
fn caption(area: &Area<'_>, panel: &Panel) -> Result<(), PlotError> {
    let left = SIDE.cast_signed();
    write(area, &panel.title, HEADING, HPos::Left, (left, 8))?;
    let after = left + width(&panel.title, 10.0) + 10;
    write(area, &panel.note, NOTE, HPos::Left, (after, 10))?;
    let right = panel.right.iter().flat_map(|axis| &axis.series);
    let mut all: Vec<&Series> = panel.left.series.iter().chain(right).collect();
    // Two lines of one name are told apart by where they are.
    all.dedup_by_key(|series| (&series.name, series.style));
    let mut end = (WIDTH - SIDE).cast_signed();
    for series in all.into_iter().rev() {
        write(area, &series.name, NOTE, HPos::Right, (end, 10))?;
        let begin = end - width(&series.name, 6.6) - 30;
        swatch(area, series.style, begin)?;
        end = begin - 16;
    }
    Ok(())
}

/// About as wide as a text is; there is no font to ask.
fn width(text: &str, letter: f64) -> i32 {
    (text.chars().count() as f64 * letter) as i32
}

/// A sample of a style, 22 pixels wide.
fn swatch(area: &Area<'_>, style: Style, left: i32) -> Result<(), PlotError> {
    let look = Look::of(style);
    let (top, middle, bottom) = (9, 15, 21);
    let line = look.color.stroke_width(look.width);
    if look.fill > 0.0 {
        let corners = [(left, top), (left + 22, bottom)];
        area.draw(&Rectangle::new(corners, look.color.mix(look.fill).filled()))?;
        area.draw(&PathElement::new([(left, top), (left + 22, top)], line))?;
        return Ok(());
    }
    let dashes: &[(i32, i32)] = if look.is_broken {
        &[(0, 6), (8, 14), (16, 22)]
    } else {
        &[(0, 22)]
    };
    for (from, to) in dashes {
        let ends = [(left + from, middle), (left + to, middle)];
        area.draw(&PathElement::new(ends, line))?;
    }
    Ok(())
}

/// A number of an axis, as short as it can be told.
fn number(value: f64) -> String {
    let short = |value: f64| {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value.abs() {
        1e6.. => format!("{} M", short(value / 1e6)),
        1e4.. => format!("{} k", short(value / 1e3)),
        _ => short(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(panels: Vec<Panel>) -> Figure {
        Figure {
            title: "A & B <in> \"quotes\" \u{1b}".to_owned(),
            subtitle: "sub".to_owned(),
            seconds: 60.0,
            panels,
        }
    }

    fn panel(style: Style, points: Vec<(f64, f64)>, right: Option<Axis>) -> Panel {
        let series = vec![Series {
            name: "left".to_owned(),
            style,
            points,
        }];
        Panel {
            title: "Panel".to_owned(),
            note: "noted".to_owned(),
            left: Axis {
                label: "replicas".to_owned(),
                series,
            },
            right,
        }
    }

    /// Panics unless every element is closed in order and text has no bare `<` or `&`.
    pub(super) fn assert_well_formed(svg: &str) {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = svg;
        while let Some((text, after)) = rest.split_once('<') {
            assert!(!text.contains('>') || open.is_empty(), "{text}");
            let entities = text.matches('&').count();
            let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;"];
            let count: usize = known.iter().map(|name| text.matches(name).count()).sum();
            assert_eq!(entities, count, "{text}");
            let (tag, after) = after.split_once('>').expect("a tag ends");
            let name = tag
                .trim_start_matches('/')
                .split([' ', '\n', '/'])
                .next()
                .unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') && !tag.starts_with(['?', '!']) {
                open.push(name);
            }
            rest = after;
        }
        assert_eq!(open, Vec::<&str>::new());
        assert!(!svg.contains(|c: char| c.is_control() && c != '\n'));
    }

    #[test]
    fn a_picture_is_well_formed_and_says_what_it_shows() {
        let points: Vec<_> = (0..60)
            .map(|n| (f64::from(n), f64::from(n / 20 + 1)))
            .collect();
        let right = Axis {
            label: "CPU (%)".to_owned(),
            series: vec![
                Series {
                    name: "cpu".to_owned(),
                    style: Style::Metric,
                    points: points.clone(),
                },
                Series {
                    name: "target 20 %".to_owned(),
                    style: Style::Target,
                    points: vec![(0.0, 20.0)],
                },
            ],
        };
        let text = svg(&figure(vec![
            panel(Style::Load, points.clone(), None),
            panel(Style::Running, points, Some(right)),
        ]))
        .unwrap();
        assert_well_formed(&text);
        for part in [
            "<svg width=\"1200\"",
            "noted",
            "A &amp; B &lt;in&gt;",
            "target 20 %",
            "CPU (%)",
            "replicas",
            "time since the beginning (s)",
            "<polygon",
            "<polyline",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn odd_values_are_drawn_as_far_as_they_go() {
        let odd = vec![
            (0.0, f64::NAN),
            (1.0, f64::INFINITY),
            (2.0, -1.0),
            (3.0, 1e300),
        ];
        for style in [
            Style::Load,
            Style::Running,
            Style::Desired,
            Style::Bound,
            Style::Metric,
            Style::Target,
        ] {
            for points in [Vec::new(), vec![(0.0, 0.0)], odd.clone()] {
                let text = svg(&figure(vec![panel(style, points, None)])).unwrap();
                assert_well_formed(&text);
            }
        }
        let none = Figure {
            seconds: 0.0,
            ..figure(vec![panel(Style::Load, Vec::new(), None)])
        };
        assert_well_formed(&svg(&none).unwrap());
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 0.5, 12.25, 5000.0, 20_000.0, 1_500_000.0].map(number);
        assert_eq!(numbers, ["0", "0.5", "12.25", "5000", "20 k", "1.5 M"]);
    }
}
