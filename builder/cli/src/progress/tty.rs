//! A live display: steps with their time, the last lines of what runs.
//!
//! What is finished is written once and scrolls away; below it the running steps are drawn
//! again and again in place.

use super::Renderer;
use super::steps::{Lines, Steps, one_line, seconds, size};
use anstyle::{AnsiColor, Style};
use kiln_engine::{Event, StepChange, TaskId};
use kiln_plan::{Plan, VertexId};
use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::time::{Duration, Instant};

/// Lines of output shown of each running step.
const SHOWN_LINES: usize = 6;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    Step(VertexId),
    Task(TaskId),
}

struct Running {
    name: String,
    started: Instant,
    lines: Lines,
    shown: VecDeque<String>,
    parts: BTreeMap<String, (u64, Option<u64>)>,
}

impl Running {
    fn new(name: String) -> Self {
        let (lines, shown, parts) = (Lines::default(), VecDeque::new(), BTreeMap::new());
        Running {
            name,
            started: Instant::now(),
            lines,
            shown,
            parts,
        }
    }

    fn show(&mut self, line: String) {
        self.shown.push_back(line);
        if self.shown.len() > SHOWN_LINES {
            self.shown.pop_front();
        }
    }
}

/// Draws on standard error.
pub struct Terminal {
    steps: Steps,
    running: BTreeMap<Row, Running>,
    drawn_lines: usize,
    drawn: Option<Instant>,
    started: Instant,
}

const GREEN: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));
const BLUE: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Cyan)));
const RED: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)));
const DIM: Style = Style::new().dimmed();

impl Terminal {
    pub fn new(plan: &Plan) -> Self {
        Terminal {
            steps: Steps::new(plan),
            running: BTreeMap::new(),
            drawn_lines: 0,
            drawn: None,
            started: Instant::now(),
        }
    }

    fn step(&mut self, vertex: VertexId, change: StepChange) {
        let row = Row::Step(vertex);
        let name = self.steps.name(vertex);
        match change {
            StepChange::Started => {
                self.running.insert(row, Running::new(name));
            }
            StepChange::Cached => self.done(row, &format!("{BLUE}CACHED{BLUE:#} {name}")),
            StepChange::Output(bytes) => self.output(row, &bytes),
            StepChange::Progress {
                part,
                done_bytes,
                total_bytes,
            } => {
                self.part(row, part, done_bytes, total_bytes);
            }
            StepChange::Note(note) => {
                if let Some(running) = self.running.get_mut(&row) {
                    running.show(one_line(&note));
                }
            }
            StepChange::Used(_) => {}
            StepChange::Finished { took } => self.finished(row, &name, took),
            StepChange::Failed { message, took } => {
                let message = one_line(&message);
                let line = format!("{RED}ERROR{RED:#}  {name} {} {message}", seconds(took));
                self.done(row, &line);
            }
            StepChange::Cancelled { took } => {
                self.done(row, &format!("CANCELED {name} {}", seconds(took)));
            }
        }
    }

    fn output(&mut self, row: Row, bytes: &[u8]) {
        if let Some(running) = self.running.get_mut(&row) {
            for line in running.lines.add(bytes) {
                running.show(line);
            }
        }
    }

    fn part(&mut self, row: Row, part: String, done_bytes: u64, total_bytes: Option<u64>) {
        if let Some(running) = self.running.get_mut(&row) {
            running.parts.insert(part, (done_bytes, total_bytes));
        }
    }

    fn finished(&mut self, row: Row, name: &str, took: Duration) {
        self.done(
            row,
            &format!(
                "{GREEN}DONE{GREEN:#}   {name} {DIM}{}{DIM:#}",
                seconds(took)
            ),
        );
    }

    /// Writes a line that stays, above the rows that run.
    fn done(&mut self, row: Row, line: &str) {
        self.running.remove(&row);
        let mut text = self.erased();
        text.push_str(line);
        text.push('\n');
        self.write(&text);
        self.draw();
    }

    /// Writes a line that stays, above the rows.
    fn say(&mut self, text: &str) {
        let mut line = self.erased();
        line.push_str(&format!("{text}\n"));
        self.write(&line);
        self.draw();
    }

    /// Returns what takes away the rows that were drawn last.
    fn erased(&mut self) -> String {
        let lines = std::mem::take(&mut self.drawn_lines);
        match lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[0J"),
        }
    }

    fn draw(&mut self) {
        let (width, height) = size_of_terminal();
        let mut text = self.erased();
        let running: Vec<&Running> = self.running.values().collect();
        let mut lines = rows(&running, width, height);
        if !lines.is_empty() {
            lines.push(format!("{DIM}[{}]{DIM:#}", seconds(self.started.elapsed())));
        }
        self.drawn_lines = lines.len();
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        self.write(&text);
        self.drawn = Some(Instant::now());
    }

    fn write(&self, text: &str) {
        let mut stderr = anstream::stderr().lock();
        let _ = stderr
            .write_all(text.as_bytes())
            .and_then(|()| stderr.flush());
    }
}

/// Returns the rows of what runs, `height` at most: what has scrolled away cannot be erased.
fn rows(running: &[&Running], width: usize, height: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for shown_lines in (0..=SHOWN_LINES).rev() {
        lines.clear();
        for running in running {
            rows_of(running, shown_lines, width, &mut lines);
        }
        if lines.len() <= height {
            return lines;
        }
    }
    lines.truncate(height);
    lines
}

fn rows_of(running: &Running, shown_lines: usize, width: usize, lines: &mut Vec<String>) {
    let time = seconds(running.started.elapsed());
    let name = cut(&running.name, width.saturating_sub(time.len() + 10));
    lines.push(format!("       {name} {DIM}{time}{DIM:#}"));
    for (part, (done, total)) in running
        .parts
        .iter()
        .filter(|(_, part)| part.1 != Some(part.0))
    {
        let total = total
            .map(|total| format!(" / {}", size(total)))
            .unwrap_or_default();
        let row = format!("         {} {}{total}", one_line(part), size(*done));
        lines.push(format!("{DIM}{}{DIM:#}", cut(&row, width)));
    }
    let hidden = running.shown.len().saturating_sub(shown_lines);
    for line in running.shown.iter().skip(hidden) {
        lines.push(format!(
            "{DIM}{}{DIM:#}",
            cut(&format!("         {line}"), width)
        ));
    }
}

/// Returns as much of `text` as fits.
fn cut(text: &str, width: usize) -> String {
    let mut used = 0;
    text.chars()
        .map(|character| if character == '\t' { ' ' } else { character })
        .take_while(|character| {
            used += columns_of(*character);
            used <= width
        })
        .collect()
}

/// Returns the columns that `character` takes at most: scripts with wide ones begin here.
fn columns_of(character: char) -> usize {
    if character < '\u{1100}' { 1 } else { 2 }
}

/// Columns and rows of a terminal that does not say.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Rows kept free: that of the time, that of the cursor.
const RESERVED_ROWS: usize = 2;

/// Returns the columns and rows that may be drawn to.
fn size_of_terminal() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    let size = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
    let (columns, rows) = match size {
        Ok((columns, rows)) if columns > 0 && rows > 0 => (columns, rows),
        _ => USUAL_SIZE,
    };
    (columns - 1, rows.saturating_sub(RESERVED_ROWS))
}

impl Renderer for Terminal {
    fn event(&mut self, event: Event) {
        match event {
            Event::Step { vertex, change } => self.step(vertex, change),
            Event::Warning { text } => self.say(&format!("warning: {}", one_line(&text))),
            Event::Notice { text } => self.say(&one_line(&text)),
            Event::TaskStarted { task, name } => {
                self.running
                    .insert(Row::Task(task), Running::new(one_line(&name)));
            }
            Event::TaskProgress {
                task,
                part,
                done_bytes,
                total_bytes,
            } => {
                self.part(Row::Task(task), part, done_bytes, total_bytes);
            }
            Event::TaskNote { note, .. } => self.say(&format!("        {}", one_line(&note))),
            Event::TaskFinished { task, error } => self.task_finished(task, error),
        }
        if self
            .drawn
            .is_none_or(|drawn| drawn.elapsed() >= super::TICK)
        {
            self.draw();
        }
    }

    fn tick(&mut self) {
        self.draw();
    }

    fn finish(&mut self) {
        self.running.clear();
        let text = self.erased();
        self.write(&text);
    }
}

impl Terminal {
    fn task_finished(&mut self, task: TaskId, error: Option<String>) {
        let row = Row::Task(task);
        let Some(running) = self.running.get(&row) else {
            return;
        };
        let (name, took) = (running.name.clone(), running.started.elapsed());
        match error {
            None => self.finished(row, &name, took),
            Some(error) => {
                self.done(
                    row,
                    &format!("{RED}ERROR{RED:#}  {name}: {}", one_line(&error)),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_never_exceed_the_height_and_names_go_before_output() {
        let mut running = [Running::new("one".into()), Running::new("two".into())];
        for step in &mut running {
            (0..9).for_each(|number| step.show(format!("line {number}")));
        }
        let running: Vec<&Running> = running.iter().collect();
        let table = [(99, 14), (14, 14), (13, 12), (5, 4), (2, 2), (1, 1), (0, 0)];
        for (height, expected) in table {
            assert_eq!(rows(&running, 80, height).len(), expected, "{height}");
        }
        assert!(rows(&running, 80, 3)[1].contains("two"));
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(cut("ab\tcd", 4), "ab c");
        assert_eq!(cut("漢字漢字", 5), "漢字");
    }
}
