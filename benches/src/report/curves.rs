//! Small charts side by side, one for each thing that grows: what one unit of it costs at each
//! size, beside what it costs at the first.
//!
//! Written by hand, as the chart of bars is.

use std::fmt::Write as _;

use super::svg::escaped;

/// What one unit costs at several sizes.
#[derive(Clone, Debug)]
pub struct Curve {
    pub name: String,
    /// What is counted.
    pub unit: &'static str,
    /// How many, and what each of them costs in microseconds, by size.
    pub points: Vec<(usize, f64)>,
}

const COLUMNS: usize = 4;
const CELL: (usize, usize) = (220, 132);
const HEAD_HEIGHT: usize = 46;
/// Where the first, the middle and the last size stand in a cell.
const LEFT: f64 = 30.0;
const RIGHT: f64 = 185.0;
/// Where the largest value and nothing stand.
const TOP: f64 = 40.0;
const BOTTOM: f64 = 108.0;
const GREY: &str = "#9aa0a6";
const BLUE: &str = "#1a73e8";

/// Returns a chart of `curves`, with a title and a line that explains it.
pub fn chart(title: &str, explained: &str, curves: &[Curve]) -> String {
    let (width, rows) = (COLUMNS * CELL.0, curves.len().div_ceil(COLUMNS));
    let height = HEAD_HEIGHT + rows * CELL.1;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"10\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"18\" font-size=\"14\">{}</text>\n\
         <text x=\"8\" y=\"34\" font-size=\"11\">{}</text>\n",
        escaped(title),
        escaped(explained)
    );
    for (number, curve) in curves.iter().enumerate() {
        let (column, row) = (number % COLUMNS, number / COLUMNS);
        let (x, y) = (column * CELL.0, HEAD_HEIGHT + row * CELL.1);
        let _ = writeln!(text, "<g transform=\"translate({x} {y})\">");
        draw(&mut text, curve);
        text += "</g>\n";
    }
    text + "</svg>\n"
}

fn draw(text: &mut String, curve: &Curve) {
    let name = escaped(&format!("{}: one {}", curve.name, curve.unit));
    let _ = writeln!(
        text,
        "<text x=\"{LEFT}\" y=\"16\" font-weight=\"bold\">{name}</text>"
    );
    let first = curve.points.first().map_or(0.0, |(_, value)| *value);
    let most = curve.points.iter().map(|(_, value)| *value);
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let y = |value: f64| BOTTOM - value / most * (BOTTOM - TOP);
    let step = (RIGHT - LEFT) / (curve.points.len().max(2) - 1) as f64;
    let x = |number: usize| LEFT + step * number as f64;
    let linear = y(first);
    let _ = writeln!(
        text,
        "<path d=\"M{LEFT} {BOTTOM}H{RIGHT}\" stroke=\"{GREY}\"/>\
         <path d=\"M{LEFT} {linear:.1}H{RIGHT}\" stroke=\"{GREY}\" stroke-dasharray=\"3 3\"/>"
    );
    let points = curve.points.iter().enumerate();
    let line = points.map(|(number, (_, value))| format!("{:.1},{:.1}", x(number), y(*value)));
    let line = line.collect::<Vec<_>>().join(" ");
    let _ = writeln!(
        text,
        "<polyline points=\"{line}\" fill=\"none\" stroke=\"{BLUE}\" stroke-width=\"2\"/>"
    );
    for (number, (count, value)) in curve.points.iter().enumerate() {
        let (x, y) = (x(number), y(*value));
        let _ = writeln!(
            text,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{BLUE}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text x=\"{x:.1}\" y=\"122\" text-anchor=\"middle\" fill=\"#5f6368\">{count}</text>",
            y - 6.0,
            duration(*value)
        );
    }
}

/// Returns microseconds as people write them: two digits at least.
pub fn duration(microseconds: f64) -> String {
    match microseconds {
        few if few < 10.0 => format!("{few:.1} µs"),
        some if some < 1_000.0 => format!("{some:.0} µs"),
        many if many < 10_000.0 => format!("{:.1} ms", many / 1_000.0),
        more => format!("{:.0} ms", more / 1_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_twice_as_much_stands_twice_as_high() {
        let curve = Curve {
            name: "a<b".to_owned(),
            unit: "file",
            points: vec![(10, 2.0), (40, 4.0), (160, 1.0)],
        };
        let text = chart("title", "explained", &[curve]);
        let line = "points=\"30.0,74.0 107.5,40.0 185.0,91.0\"";
        assert!(text.contains(line), "{text}");
        assert!(text.contains(">a&lt;b: one file</text>"), "{text}");
    }

    #[test]
    fn durations_have_a_fitting_unit() {
        let cases = [
            (1.25, "1.2 µs"),
            (99.6, "100 µs"),
            (4_440.0, "4.4 ms"),
            (12_400.0, "12 ms"),
        ];
        for (microseconds, expected) in cases {
            assert_eq!(duration(microseconds), expected);
        }
    }
}
