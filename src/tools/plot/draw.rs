//! Draws a figure. Widths of texts are estimated, because the fonts of the viewer are not known.

use std::iter;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::shape::{round_up, steps, thin, unit_of_time};
use super::{Axis, Figure, Panel, Series, Style};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

// All lengths are pixels.
const WIDTH: u32 = 1200;
/// Height of the title and subtitle.
const HEAD: u32 = 64;
const PANEL: u32 = 216;
/// Height of the name of the time axis below the last panel.
const FOOT: u32 = 26;
/// Width of the numbers and the name of an axis.
const AXIS: u32 = 60;
const MARGIN: u32 = 10;
const SIDE: u32 = AXIS + MARGIN;
/// Height of the line with a panel's title and legend.
const CAPTION: u32 = 30;

const INK: RGBColor = RGBColor(38, 50, 56);
const FAINT: RGBColor = RGBColor(96, 112, 120);
const GRID: RGBColor = RGBColor(226, 231, 234);

/// Why a figure could not be drawn.
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
            let corner = (0, (HEAD + PANEL * index).cast_signed());
            let area = root.clone().shrink(corner, (WIDTH, size));
            draw_panel(&area, panel, figure, is_last)?;
        }
        root.present()?;
    }
    Ok(text)
}

/// The appearance of a text.
#[derive(Clone, Copy)]
struct Font {
    size: u32,
    color: RGBColor,
    weight: FontStyle,
}

const TITLE: Font = Font {
    size: 25,
    color: INK,
    weight: FontStyle::Bold,
};
const SUBTITLE: Font = Font {
    size: 17,
    color: FAINT,
    weight: FontStyle::Normal,
};
const HEADING: Font = Font { size: 18, ..TITLE };
const NOTE: Font = Font {
    size: 15,
    ..SUBTITLE
};

fn head(root: &Area<'_>, figure: &Figure) -> Result<(), PlotError> {
    let left = SIDE.cast_signed();
    write(root, &figure.title, TITLE, HPos::Left, (left, 14))?;
    write(root, &figure.subtitle, SUBTITLE, HPos::Left, (left, 42))
}

/// Writes a line of text with its upper left, or upper right, corner at a point.
fn write(
    area: &Area<'_>,
    text: &str,
    font: Font,
    corner: HPos,
    at: (i32, i32),
) -> Result<(), PlotError> {
    let description = FontDesc::new(FontFamily::SansSerif, f64::from(font.size), font.weight);
    let style = TextStyle::from(description)
        .color(&font.color)
        .pos(Pos::new(corner, VPos::Top));
    Ok(area.draw_text(&printable(text), &style, at)?)
}

/// Removes control characters, which XML cannot have even as entities.
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

/// The end of an axis. All axes with one label have the same scale, so that panels can be compared.
fn top(figure: &Figure, axis: &Axis) -> f64 {
    let highest = figure
        .panels
        .iter()
        .flat_map(|panel| iter::once(&panel.left).chain(&panel.right))
        .filter(|other| other.label == axis.label)
        .map(highest)
        .fold(0.0, f64::max);
    round_up(highest * 1.05)
}

/// The largest value of an axis.
fn highest(axis: &Axis) -> f64 {
    axis.series
        .iter()
        .flat_map(|series| series.points.iter().map(|point| point.1))
        .filter(|value| value.is_finite())
        .fold(0.0, f64::max)
}

/// Divisors that convert a series to the coordinates of the left axis.
#[derive(Clone, Copy)]
struct Scale {
    time: f64,
    value: f64,
    /// The end of the figure, seconds.
    end: f64,
}

fn draw_series(chart: &mut Chart<'_, '_>, series: &Series, scale: Scale) -> Result<(), PlotError> {
    let appearance = Appearance::of(series.style);
    let points = match appearance.shape {
        Shape::Steps => steps(&series.points, scale.end),
        Shape::Line => thin(&series.points),
    };
    let scaled = points
        .into_iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(time, value)| (time / scale.time, value / scale.value));
    let line = appearance.color.stroke_width(appearance.width);
    if appearance.fill > 0.0 {
        let area = AreaSeries::new(scaled, 0.0, appearance.color.mix(appearance.fill));
        chart.draw_series(area.border_style(line))?;
    } else if appearance.is_dashed {
        chart.draw_series(DashedLineSeries::new(scaled, 6, 4, line))?;
    } else {
        chart.draw_series(LineSeries::new(scaled, line))?;
    }
    Ok(())
}

/// The appearance of a series.
struct Appearance {
    color: RGBColor,
    width: u32,
    /// Opacity of the area below the line, 0 to 1.
    fill: f64,
    is_dashed: bool,
    shape: Shape,
}

enum Shape {
    Line,
    Steps,
}

impl Appearance {
    /// Colours that colour-blind viewers can distinguish: M. Okabe and K. Ito, Color Universal
    /// Design, 2008.
    fn of(style: Style) -> Self {
        let solid = |color, width, fill, shape| Self {
            color,
            width,
            fill,
            is_dashed: false,
            shape,
        };
        match style {
            Style::Load => solid(RGBColor(0, 114, 178), 2, 0.14, Shape::Line),
            Style::Running => solid(RGBColor(0, 158, 115), 1, 0.22, Shape::Steps),
            Style::Desired => solid(RGBColor(213, 94, 0), 2, 0.0, Shape::Steps),
            Style::Bound => solid(RGBColor(160, 172, 178), 1, 0.0, Shape::Steps),
            Style::Metric => solid(RGBColor(84, 60, 150), 1, 0.0, Shape::Line),
            Style::Target => Self {
                is_dashed: true,
                ..solid(RGBColor(84, 60, 150), 1, 0.0, Shape::Steps)
            },
        }
    }
}

/// Writes a panel's title to the left and its legend to the right.
fn caption(area: &Area<'_>, panel: &Panel) -> Result<(), PlotError> {
    let left = SIDE.cast_signed();
    write(area, &panel.title, HEADING, HPos::Left, (left, 8))?;
    let after = left + width(&panel.title, 10.0) + 10;
    write(area, &panel.note, NOTE, HPos::Left, (after, 10))?;
    let right = panel.right.iter().flat_map(|axis| &axis.series);
    let mut all: Vec<&Series> = panel.left.series.iter().chain(right).collect();
    // Lines with one name, such as both bounds, share an entry.
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

/// The estimated width of a text.
fn width(text: &str, letter: f64) -> i32 {
    (text.chars().count() as f64 * letter) as i32
}

/// Draws a sample of a style, 22 pixels wide.
fn swatch(area: &Area<'_>, style: Style, left: i32) -> Result<(), PlotError> {
    let appearance = Appearance::of(style);
    let (top, middle, bottom) = (9, 15, 21);
    let line = appearance.color.stroke_width(appearance.width);
    if appearance.fill > 0.0 {
        let corners = [(left, top), (left + 22, bottom)];
        area.draw(&Rectangle::new(
            corners,
            appearance.color.mix(appearance.fill).filled(),
        ))?;
        area.draw(&PathElement::new([(left, top), (left + 22, top)], line))?;
        return Ok(());
    }
    let dashes: &[(i32, i32)] = if appearance.is_dashed {
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

/// A number of an axis in its shortest form.
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
    fn values_that_are_not_finite_are_left_out() {
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
