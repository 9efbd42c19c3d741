//! Charts, as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The least width, and the height of what is between the legend and the labels.
const WIDTH: u32 = 900;
const HEIGHT: i32 = 320;
const MARGIN: i32 = 12;
/// Left of the axis: its numbers and what they are.
const AXIS: i32 = 76;
const FONT: &str = "sans-serif";
const TITLE: i32 = 20;
const TEXT: i32 = 14;
/// Told apart by those who cannot tell red from green as well (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];

/// What is drawn of a scenario.
#[derive(Debug)]
pub(crate) enum Chart {
    Bars(Bars),
    /// With the most that each group of bars may have, or the least. What is no number is no target.
    Targets(Bars, Vec<f64>),
    Lines(Lines),
}

/// A group of bars for each thing that was measured, with a bar for each kind.
#[derive(Debug)]
pub(crate) struct Bars {
    pub(crate) title: String,
    /// What the numbers are, with their unit.
    pub(crate) unit: String,
    pub(crate) groups: Vec<String>,
    /// A number for each group. One that is no number has no bar.
    pub(crate) kinds: Vec<(String, Vec<f64>)>,
    /// Ten times as much is always as far.
    pub(crate) logarithmic: bool,
}

/// Lines over a number.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) title: String,
    /// What the axes are, with their units.
    pub(crate) axes: [String; 2],
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

impl Chart {
    /// Draws it, if there is anything to see.
    pub(crate) fn draw(&self, path: &Path) -> Result<()> {
        let drawn = match self {
            Self::Bars(bars) | Self::Targets(bars, _) if !bars.numbers().any(f64::is_finite) => Ok(()),
            Self::Lines(lines) if lines.points().next().is_none() => Ok(()),
            Self::Bars(bars) => bars.draw(path, &[]),
            Self::Targets(bars, targets) => bars.draw(path, targets),
            Self::Lines(lines) => lines.draw(path),
        };
        drawn.map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
    }
}

type Drawn<T = ()> = Result<T, Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Bars {
    fn numbers(&self) -> impl Iterator<Item = f64> {
        self.kinds.iter().flat_map(|(_, numbers)| numbers.iter().copied())
    }

    fn draw(&self, path: &Path, targets: &[f64]) -> Drawn {
        let Self { title, unit, groups, kinds, logarithmic } = self;
        let all = || self.numbers().chain(targets.iter().copied()).filter(|number| number.is_finite());
        let top = all().fold(0.0, f64::max) * 1.15;
        let top = if top > 0.0 { top } else { 1.0 };
        // The shortest bar of a logarithmic axis is still a bar.
        let least = all().filter(|number| *number > 0.0).fold(top, f64::min);
        let bottom = if *logarithmic { least / 2.0 } else { 0.0 };

        // Every word has its place below its group.
        let words = groups.iter().flat_map(|group| group.split(' ')).map(|word| length(word, TEXT) + 8);
        let count = i32::try_from(groups.len())?.max(1);
        let width = WIDTH.max(u32::try_from(words.max().unwrap_or(0) * count + AXIS + 2 * MARGIN)?);
        let space = (i32::try_from(width)? - AXIS - 2 * MARGIN) / count;
        let labels: Vec<_> = groups.iter().map(|group| wrapped(group, TEXT, space - 8)).collect();
        let below = i32::try_from(labels.iter().map(Vec::len).max().unwrap_or(0))? * (TEXT + 2) + 8;

        let mut legend: Vec<_> = kinds.iter().map(|(name, _)| name.as_str()).zip(colours()).collect();
        if targets.iter().any(|target| target.is_finite()) {
            legend.push(("target", BLACK));
        }
        let (root, plot) = page(path, width, below, title, &legend)?;
        let mut builder = ChartBuilder::on(&plot);
        builder.y_label_area_size(AXIS);
        macro_rules! draw {
            ($y:expr) => {{
                let mut chart = builder.build_cartesian_2d(0.0..f64::from(count), $y)?;
                chart
                    .configure_mesh()
                    .disable_x_mesh()
                    .x_labels(0)
                    .light_line_style(TRANSPARENT)
                    .y_desc(unit.as_str())
                    .y_label_formatter(&|number| number_on_axis(*number))
                    .label_style((FONT, TEXT))
                    .draw()?;
                let step = 0.8 / f64::from(u32::try_from(kinds.len())?.max(1));
                for ((kind, (_, values)), colour) in (0..).zip(kinds).zip(colours()) {
                    let bars = (0..).zip(values).filter(|(_, value)| value.is_finite());
                    chart.draw_series(bars.map(|(group, value)| {
                        let left = f64::from(group) + 0.1 + step * f64::from(kind);
                        let corners = [(left, bottom), (left + step * 0.92, value.max(bottom))];
                        Rectangle::new(corners, colour.filled())
                    }))?;
                }
                let targets = (0..).zip(targets).filter(|(_, target)| target.is_finite());
                chart.draw_series(targets.map(|(group, &target)| {
                    let left = f64::from(group) + 0.05;
                    PathElement::new([(left, target), (left + 0.9, target)], BLACK.stroke_width(2))
                }))?;
                for (group, lines) in (0..).zip(&labels) {
                    let (x, y) = chart.backend_coord(&(f64::from(group) + 0.5, bottom));
                    text(&root, lines, (x, y + 8), TEXT, HPos::Center)?;
                }
            }};
        }
        if *logarithmic {
            let top = top * 2.0;
            draw!((bottom..top).log_scale().with_key_points(marks(bottom, top)));
        } else {
            draw!(0.0..top);
        }
        Ok(root.present()?)
    }
}

impl Lines {
    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.lines.iter().flat_map(|(_, points)| drawable(points))
    }

    fn draw(&self, path: &Path) -> Drawn {
        let Self { title, axes: [x, y], lines } = self;
        let most = |of: fn((f64, f64)) -> f64| {
            let most = self.points().map(of).fold(0.0, f64::max);
            if most > 0.0 { most * 1.08 } else { 1.0 }
        };
        let legend: Vec<_> = lines.iter().map(|(name, _)| name.as_str()).zip(colours()).collect();
        let (root, plot) = page(path, WIDTH, MARGIN, title, &legend)?;
        let mut chart = ChartBuilder::on(&plot)
            .x_label_area_size(44)
            .y_label_area_size(AXIS)
            .build_cartesian_2d(0.0..most(|point| point.0), 0.0..most(|point| point.1))?;
        chart
            .configure_mesh()
            .x_desc(x.as_str())
            .y_desc(y.as_str())
            .x_label_formatter(&|number| number_on_axis(*number))
            .y_label_formatter(&|number| number_on_axis(*number))
            .label_style((FONT, TEXT))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for ((_, points), colour) in lines.iter().zip(colours()) {
            chart.draw_series(LineSeries::new(drawable(points), colour.stroke_width(2)))?;
        }
        Ok(root.present()?)
    }
}

fn drawable(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
}

fn colours() -> impl Iterator<Item = RGBColor> {
    COLOURS.into_iter().cycle()
}

/// A sheet with a title and a legend, and the part of it for the plot. Under that, `below` is left for labels.
fn page<'a>(
    path: &'a Path,
    width: u32,
    below: i32,
    title: &str,
    legend: &[(&str, RGBColor)],
) -> Drawn<(Area<'a>, Area<'a>)> {
    const SAMPLE: i32 = 14;
    const ROW: i32 = TEXT + 6;

    let right = i32::try_from(width)? - MARGIN;
    let title = wrapped(title, TITLE, right - MARGIN);
    let begin = MARGIN + i32::try_from(title.len())? * (TITLE + 2) + 8;
    // As many in a row as fit.
    let (mut x, mut y) = (AXIS, begin);
    let mut places = Vec::new();
    for (name, colour) in legend {
        let end = x + SAMPLE + 6 + length(name, TEXT);
        if end > right && x > AXIS {
            (x, y) = (AXIS, y + ROW);
        }
        places.push((*name, *colour, (x, y)));
        x += SAMPLE + 6 + length(name, TEXT) + 16;
    }
    let top = y + ROW + 4;

    let root = SVGBackend::new(path, (width, u32::try_from(top + HEIGHT + below)?)).into_drawing_area();
    root.fill(&WHITE)?;
    text(&root, &title, ((MARGIN + right) / 2, MARGIN), TITLE, HPos::Center)?;
    for (name, colour, (x, y)) in places {
        root.draw(&Rectangle::new([(x, y + 2), (x + SAMPLE, y + TEXT - 2)], colour.filled()))?;
        text(&root, &[name.to_owned()], (x + SAMPLE + 6, y), TEXT, HPos::Left)?;
    }
    let plot = root.margin(top, below, MARGIN / 2, MARGIN);
    Ok((root, plot))
}

/// Lines of text, one under the other.
fn text(root: &Area<'_>, lines: &[String], (x, mut y): (i32, i32), size: i32, at: HPos) -> Drawn {
    for line in lines {
        let style = (FONT, size).into_text_style(root).pos(Pos::new(at, VPos::Top));
        root.draw(&Text::new(line.as_str(), (x, y), style))?;
        y += size + 2;
    }
    Ok(())
}

/// Breaks a text where lines would be wider than that, but never a word.
fn wrapped(text: &str, size: i32, width: i32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if length(line, size) + length(word, size) + size / 2 <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How wide a text is at most, in whatever font the reader has.
fn length(text: &str, size: i32) -> i32 {
    i32::try_from(text.chars().count()).map_or(i32::MAX, |count| count.saturating_mul(size * 3 / 5))
}

/// Where a logarithmic axis is marked: at powers of ten, and between them where these are few.
fn marks(bottom: f64, top: f64) -> Vec<f64> {
    let steps = if top / bottom > 1_000.0 { &[1.0][..] } else { &[1.0, 2.0, 5.0] };
    // As far as times from nanoseconds to years, and counts, go.
    let powers = (-9..=15).map(|power| 10_f64.powi(power));
    let marks = powers.flat_map(|power| steps.iter().map(move |step| step * power));
    marks.filter(|mark| (bottom..=top).contains(mark)).collect()
}

/// `20 000`, `0.5`: no more digits than the number has.
fn number_on_axis(number: f64) -> String {
    let digits = if number.abs() >= 10.0 { 0 } else { 3 };
    let text = format!("{number:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    // Thousands are told apart by a thin blank.
    let mut grouped = String::new();
    let whole = text.split('.').next().unwrap_or_default().len();
    for (place, digit) in text.chars().enumerate() {
        if place > 0 && place < whole && (whole - place) % 3 == 0 && whole > 4 {
            grouped.push('\u{2009}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is drawn.
    fn svg(name: &str, chart: &Chart) -> String {
        let path = std::env::temp_dir().join(format!("watertight-{name}-{}.svg", std::process::id()));
        chart.draw(&path).expect("it is drawn");
        let svg = std::fs::read_to_string(&path).unwrap_or_default();
        _ = std::fs::remove_file(path);
        svg
    }

    fn bars(logarithmic: bool) -> Bars {
        Bars {
            title: "Told".into(),
            unit: "ms".into(),
            groups: vec!["sync".into(), "spawned".into()],
            kinds: vec![("bare".into(), vec![f64::NAN, 45_000.0]), ("guarded".into(), vec![0.3, 0.2])],
            logarithmic,
        }
    }

    #[test]
    fn a_bar_for_every_number_that_is_one() {
        for logarithmic in [false, true] {
            let svg = svg("bars", &Chart::Bars(bars(logarithmic)));
            let coloured = |colour: &str| svg.matches(colour).count();
            assert_eq!((coloured("#0072B2"), coloured("#E69F00")), (1 + 1, 2 + 1), "bars and the legend");
            assert!(svg.contains("spawned") && !svg.contains("target"), "{svg}");
        }
    }

    #[test]
    fn a_target_is_drawn_where_there_is_one() {
        let svg = svg("targets", &Chart::Targets(bars(true), vec![5.0, f64::NAN]));
        assert_eq!(svg.matches("<polyline").count(), {
            let without = super::tests::svg("no-targets", &Chart::Targets(bars(true), vec![f64::NAN; 2]));
            without.matches("<polyline").count() + 1
        });
        assert!(svg.contains("target"), "{svg}");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let lines = Lines {
            title: "Back".into(),
            axes: ["ms".into(), "%".into()],
            lines: vec![("bare".into(), vec![(1.0, f64::NAN)])],
        };
        assert_eq!(svg("lines", &Chart::Lines(lines)), "");
        let kinds = vec![("bare".into(), vec![f64::NAN; 2])];
        assert_eq!(svg("none", &Chart::Bars(Bars { kinds, ..bars(false) })), "");
    }

    #[test]
    fn words_that_do_not_fit_are_below_each_other() {
        assert_eq!(wrapped("websocket 5000", 14, 90), ["websocket", "5000"]);
        assert_eq!(wrapped("websocket 5000", 14, 200), ["websocket 5000"]);
    }

    #[test]
    fn a_logarithmic_axis_always_has_marks() {
        assert_eq!(marks(11.0, 60.0), [20.0, 50.0]);
        assert_eq!(marks(0.5, 2_000.0), [1.0, 10.0, 100.0, 1_000.0]);
    }

    #[test]
    fn numbers_are_as_short_as_they_are() {
        let numbers = [0.0, 0.5, 2.0, 1_000.0, 20_000.0, 1_000_000.0].map(number_on_axis);
        assert_eq!(numbers, ["0", "0.5", "2", "1000", "20\u{2009}000", "1\u{2009}000\u{2009}000"]);
    }
}
