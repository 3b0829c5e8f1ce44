//! Two distributions as a picture: how many times are longer than so much, both axes logarithmic, so that the tail is
//! seen. SVG by `plotters`.

use super::Sample;
use plotters::prelude::*;
use plotters::style::register_font;
use std::path::Path;

/// Distinct on white, also for most of those who see few colours (Okabe and Ito).
const COLORS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// A line of the picture: its name and its times.
pub type Line<'a> = (&'a str, &'a Sample);

/// Draws it into a file.
pub fn draw(path: &Path, title: &str, lines: &[Line<'_>]) -> Result<(), String> {
    let mut svg = String::new();
    picture(&mut svg, title, lines).map_err(|error| format!("it cannot be drawn: {error}"))?;
    std::fs::write(path, svg).map_err(|error| format!("{}: {error}", path.display()))
}

fn picture(svg: &mut String, title: &str, lines: &[Line<'_>]) -> Result<(), Box<dyn std::error::Error>> {
    // It measures text by a font of its own; whoever shows the picture uses his.
    if register_font("sans-serif", FontStyle::Normal, dejavu::sans_condensed::regular()).is_err() {
        return Err("its font cannot be read".into());
    }
    let all = || lines.iter().map(|(_, sample)| &sample.times_ns).filter(|times| !times.is_empty());
    let shortest = all().map(|times| times.min()).min().unwrap_or(1).max(1) as f64 / 1000.0;
    let longest = all().map(|times| times.max()).max().unwrap_or(1000).max(10) as f64 / 1000.0;
    let most = all().map(|times| times.len()).max().unwrap_or(1).max(2) as f64;
    let area = SVGBackend::with_string(svg, (1000, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(70)
        .build_cartesian_2d((shortest * 0.9..longest * 1.1).log_scale(), ((0.5 / most)..1.2).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("time, us")
        .y_desc("part of all that is longer")
        .x_label_formatter(&|us| format!("{us}"))
        .y_label_formatter(&|part| format!("{part}"))
        .light_line_style(WHITE)
        .draw()?;
    for (place, (name, sample)) in lines.iter().enumerate() {
        let color = COLORS[place % COLORS.len()];
        chart
            .draw_series(LineSeries::new(points(sample), color.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    area.present()?;
    Ok(())
}

/// How many parts of all are longer than each time that was seen.
fn points(sample: &Sample) -> Vec<(f64, f64)> {
    let all = sample.times_ns.len() as f64;
    let mut passed = 0;
    let mut points = Vec::new();
    for step in sample.times_ns.iter_recorded() {
        let us = step.value_iterated_to() as f64 / 1000.0;
        points.push((us, (all - passed as f64) / all));
        passed += step.count_since_last_iteration();
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_falls_from_all_to_the_last() {
        let mut sample = Sample::new();
        (1..=1000u64).for_each(|us| sample.times_ns.saturating_record(us * 1000));
        let points = points(&sample);
        assert_eq!(points.first().unwrap().1, 1.0);
        assert!(points.windows(2).all(|pair| pair[0].1 > pair[1].1 && pair[0].0 < pair[1].0));
        assert!(points.last().unwrap().1 <= 0.002);
    }

    #[test]
    fn nothing_is_a_picture_too() {
        let mut svg = String::new();
        picture(&mut svg, "nothing", &[("none", &Sample::new())]).unwrap();
        assert!(svg.trim_end().ends_with("</svg>"));
    }
}
