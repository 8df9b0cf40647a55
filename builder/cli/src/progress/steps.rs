//! Names and numbers of steps, and text that is safe for a terminal.

use kiln_engine::disk::StepUsage;
use kiln_plan::{Plan, VertexId};
use std::collections::HashMap;
use std::time::Duration;

/// Numbers steps in the order in which they are first shown.
pub struct Steps {
    names: Vec<String>,
    numbers: HashMap<VertexId, usize>,
    count: usize,
}

impl Steps {
    pub fn new(plan: &Plan) -> Self {
        let names = plan
            .vertices()
            .map(|(_, vertex)| vertex.metadata.name.clone())
            .collect();
        Steps {
            names,
            numbers: HashMap::new(),
            count: 0,
        }
    }

    /// Returns the name of `vertex`, in one line.
    pub fn name(&self, vertex: VertexId) -> String {
        one_line(self.names.get(vertex.index()).map_or("", String::as_str))
    }

    /// Returns the number of `vertex`, and whether it is shown for the first time.
    pub fn number(&mut self, vertex: VertexId) -> (usize, bool) {
        if let Some(number) = self.numbers.get(&vertex) {
            return (*number, false);
        }
        let number = self.next_number();
        self.numbers.insert(vertex, number);
        (number, true)
    }

    /// Returns a number for something that is no step.
    pub fn next_number(&mut self) -> usize {
        self.count += 1;
        self.count
    }
}

/// Returns `text` without what would move the cursor or change colours.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

/// Returns a line of output with its colours but without what moves the cursor.
pub fn sanitized(line: &str) -> String {
    anstream::adapter::strip_str(line)
        .to_string()
        .chars()
        .filter(|character| !character.is_control() || *character == '\t')
        .collect()
}

/// Returns `duration` as `1.2s`.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// Returns `bytes` as `1.2MB`.
pub fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes}B"),
        _ => format!("{value:.1}{}", units[unit]),
    }
}

/// Returns what a command took, in words.
pub fn usage(used: &StepUsage) -> String {
    let processors = used.user_milliseconds + used.system_milliseconds;
    format!(
        "{:.2}s of processors, {} of memory; read {}, wrote {}",
        processors as f64 / 1e3,
        size(used.peak_memory_bytes),
        size(used.read_bytes),
        size(used.written_bytes)
    )
}

/// Returns how long before `now` something was. Clocks may have been set back.
pub fn ago(then: i64, now: i64) -> String {
    let passed = now.saturating_sub(then).max(0);
    let (count, unit) = match passed {
        0..2 => return "just now".to_owned(),
        2..120 => (passed, "seconds"),
        120..7_200 => (passed / 60, "minutes"),
        7_200..172_800 => (passed / 3_600, "hours"),
        _ => (passed / 86_400, "days"),
    };
    format!("{count} {unit} ago")
}

/// Joins pieces of output to lines; a carriage return ends one too.
#[derive(Default)]
pub struct Lines {
    rest: Vec<u8>,
}

/// A line longer than this is shown in parts, so that memory stays bounded.
const LONGEST_LINE_BYTES: usize = 64 * 1024;

impl Lines {
    /// Returns the lines that `bytes` complete.
    pub fn add(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => lines.push(self.take()),
                b'\r' => {}
                _ => self.rest.push(*byte),
            }
            if self.rest.len() >= LONGEST_LINE_BYTES {
                lines.push(self.take());
            }
        }
        lines
    }

    /// Returns the line that no newline ended, if there is one.
    pub fn last(&mut self) -> Option<String> {
        (!self.rest.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        sanitized(&String::from_utf8_lossy(&std::mem::take(&mut self.rest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_joined_to_lines_without_terminal_escapes() {
        let mut lines = Lines::default();
        assert_eq!(lines.add(b"one\r\ntw"), ["one"]);
        assert_eq!(lines.add(b"o \x1b[31mred\x1b[0m\x1b[2J\n"), ["two red"]);
        assert_eq!(lines.add(b"rest"), Vec::<String>::new());
        assert_eq!(lines.last().as_deref(), Some("rest"));
    }

    #[test]
    fn sizes_have_decimal_units() {
        let table = [(999, "999B"), (1_500, "1.5kB"), (712_000_000, "712.0MB")];
        for (bytes, expected) in table {
            assert_eq!(size(bytes), expected);
        }
    }
}
