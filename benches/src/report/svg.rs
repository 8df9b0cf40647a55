//! A chart of bars in groups; in each group the longest bar is the largest value.
//!
//! Written by hand: it is text, and the page that shows it runs no scripts.

use std::fmt::Write as _;

/// Bars that are compared with each other.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// The number of its series, which has a colour and a name.
    pub series: usize,
    /// How long it is.
    pub value: f64,
    /// What stands behind it.
    pub label: String,
}

const COLOURS: [&str; 4] = ["#9aa0a6", "#1a73e8", "#f29900", "#8d6e63"];
const WIDTH: usize = 760;
const BARS_LEFT: usize = 120;
const BARS_WIDTH: f64 = 480.0;
const BAR_HEIGHT: usize = 12;
const GROUP_GAP: usize = 10;
const HEAD_HEIGHT: usize = 56;

/// Returns a chart with a title and a legend of `series`.
pub fn chart(title: &str, series: &[String], groups: &[Group]) -> String {
    let bars: usize = groups.iter().map(|group| group.bars.len()).sum();
    let height = HEAD_HEIGHT + bars * BAR_HEIGHT + groups.len() * GROUP_GAP;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"14\">{}</text>\n",
        escaped(title)
    );
    legend(&mut text, series);
    let mut top = HEAD_HEIGHT;
    for group in groups {
        draw(&mut text, group, top);
        top += group.bars.len() * BAR_HEIGHT + GROUP_GAP;
    }
    text + "</svg>\n"
}

fn legend(text: &mut String, series: &[String]) {
    for (number, name) in series.iter().enumerate() {
        let left = BARS_LEFT + number * 90;
        let colour = COLOURS[number % COLOURS.len()];
        let _ = writeln!(
            text,
            "<rect x=\"{left}\" y=\"31\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"40\">{}</text>",
            left + 14,
            escaped(name)
        );
    }
}

fn draw(text: &mut String, group: &Group, top: usize) {
    let longest = group.bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let middle = top + group.bars.len() * BAR_HEIGHT / 2 + 4;
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>",
        BARS_LEFT - 8,
        escaped(&group.name)
    );
    for (number, bar) in group.bars.iter().enumerate() {
        let y = top + number * BAR_HEIGHT;
        let width = (bar.value / longest.max(f64::MIN_POSITIVE) * BARS_WIDTH).max(1.0);
        let colour = COLOURS[bar.series % COLOURS.len()];
        let _ = writeln!(
            text,
            "<rect x=\"{BARS_LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" \
             fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{}\">{}</text>",
            BAR_HEIGHT - 2,
            BARS_LEFT as f64 + width + 5.0,
            y + BAR_HEIGHT - 3,
            escaped(&bar.label)
        );
    }
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_has_the_longest_bar() {
        let bar = |series, value| Bar {
            series,
            value,
            label: format!("{value} s"),
        };
        let group = Group {
            name: "a<b".to_owned(),
            bars: vec![bar(0, 1.0), bar(1, 4.0)],
        };
        let text = chart("title", &["one".to_owned(), "two".to_owned()], &[group]);
        assert!(text.contains("width=\"120.0\""), "{text}");
        assert!(text.contains("width=\"480.0\""), "{text}");
        assert!(text.contains(">a&lt;b</text>"), "{text}");
    }
}
