//! Charts, as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 420);
const FONT: &str = "sans-serif";
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
    pub(crate) fn draw(&self, path: &Path) -> Result<()> {
        let drawn = match self {
            Self::Bars(bars) => bars.draw(path),
            Self::Lines(lines) => lines.draw(path),
        };
        drawn.map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
    }
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

impl Bars {
    fn draw(&self, path: &Path) -> Drawn {
        let Self { title, unit, groups, kinds, logarithmic } = self;
        let all = || kinds.iter().flat_map(|(_, numbers)| numbers.iter().copied()).filter(|n| n.is_finite());
        let top = all().fold(0.0, f64::max) * 1.15;
        let top = if top > 0.0 { top } else { 1.0 };
        // The shortest bar of a logarithmic axis is still a bar.
        let least = all().filter(|number| *number > 0.0).fold(top, f64::min);
        let bottom = if *logarithmic { least / 2.0 } else { 0.0 };
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut builder = ChartBuilder::on(&root);
        builder.caption(title, (FONT, 20)).margin(12).x_label_area_size(36).y_label_area_size(72);
        #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
        let width = groups.len() as f64;
        let names = |x: &f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a group's number")]
            let group = *x as usize;
            // Labels are asked for at the middle of each group.
            if (x.fract() - 0.5).abs() < 0.01 {
                groups.get(group).cloned().unwrap_or_default()
            } else {
                String::new()
            }
        };
        macro_rules! bars {
            ($y:expr) => {{
                let mut chart = builder.build_cartesian_2d(0.0..width, $y)?;
                chart
                    .configure_mesh()
                    .disable_x_mesh()
                    .x_labels(groups.len() * 2 + 1)
                    .x_label_formatter(&names)
                    .y_desc(unit.as_str())
                    .label_style((FONT, 14))
                    .draw()?;
                #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
                let step = 0.8 / kinds.len().max(1) as f64;
                for (number, (name, values)) in kinds.iter().enumerate() {
                    let colour = COLOURS[number % COLOURS.len()];
                    #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
                    let bars = values.iter().enumerate().filter(|(_, value)| value.is_finite()).map(
                        |(group, value)| {
                            let left = group as f64 + 0.1 + step * number as f64;
                            Rectangle::new(
                                [(left, bottom), (left + step * 0.92, value.max(bottom))],
                                colour.filled(),
                            )
                        },
                    );
                    chart
                        .draw_series(bars)?
                        .label(name)
                        .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
                }
                chart
                    .configure_series_labels()
                    .position(SeriesLabelPosition::UpperLeft)
                    .background_style(WHITE.mix(0.8))
                    .border_style(BLACK.mix(0.3))
                    .label_font((FONT, 14))
                    .draw()?;
            }};
        }
        if *logarithmic {
            bars!((bottom..top * 2.0).log_scale());
        } else {
            bars!(0.0..top);
        }
        Ok(root.present()?)
    }
}

impl Lines {
    fn draw(&self, path: &Path) -> Drawn {
        let Self { title, axes: [x, y], lines } = self;
        let most = |of: fn(&(f64, f64)) -> f64| {
            let most = lines.iter().flat_map(|(_, points)| points).map(of).fold(0.0, f64::max);
            if most > 0.0 { most * 1.08 } else { 1.0 }
        };
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, (FONT, 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..most(|point| point.0), 0.0..most(|point| point.1))?;
        chart
            .configure_mesh()
            .x_desc(x.as_str())
            .y_desc(y.as_str())
            .label_style((FONT, 14))
            .light_line_style(WHITE)
            .draw()?;
        for (number, (name, points)) in lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .label_font((FONT, 14))
            .draw()?;
        Ok(root.present()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_for_every_number_that_is_one() {
        let path = std::env::temp_dir().join(format!("watertight-chart-{}.svg", std::process::id()));
        for logarithmic in [false, true] {
            let bars = Bars {
                title: "Told".into(),
                unit: "ms".into(),
                groups: vec!["sync".into(), "spawned".into()],
                kinds: vec![("bare".into(), vec![f64::NAN, 45_000.0]), ("guarded".into(), vec![0.3, 0.2])],
                logarithmic,
            };
            Chart::Bars(bars).draw(&path).expect("it is drawn");
            let svg = std::fs::read_to_string(&path).expect("it is there");
            let coloured = |colour: &str| svg.matches(colour).count();
            assert_eq!((coloured("#0072B2"), coloured("#E69F00")), (1 + 1, 2 + 1), "bars and the legend");
            assert!(svg.contains("spawned"), "{svg}");
        }
        _ = std::fs::remove_file(path);
    }
}
