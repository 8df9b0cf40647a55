//! One line after the other, each with the number of its step.

use super::Renderer;
use super::steps::{Lines, Steps, one_line, seconds, size, usage};
use kiln_engine::{Event, StepChange, TaskId};
use kiln_plan::{Plan, VertexId};
use std::collections::HashMap;
use std::time::Instant;

/// Writes to standard error, as `docker build --progress plain` does.
pub struct Plain {
    steps: Steps,
    lines: HashMap<VertexId, Lines>,
    started: HashMap<VertexId, Instant>,
    tasks: HashMap<TaskId, Task>,
}

/// Work beside the plan: its number, and since when it runs.
#[derive(Clone, Copy)]
struct Task {
    number: usize,
    started: Instant,
}

impl Plain {
    pub fn new(plan: &Plan) -> Self {
        let (lines, started) = (HashMap::new(), HashMap::new());
        Plain {
            steps: Steps::new(plan),
            lines,
            started,
            tasks: HashMap::new(),
        }
    }

    fn step(&mut self, vertex: VertexId, change: StepChange) {
        let (number, is_new) = self.steps.number(vertex);
        if is_new {
            self.started.insert(vertex, Instant::now());
            write(&format!("\n#{number} {}", self.steps.name(vertex)));
        }
        match change {
            StepChange::Cached => write(&format!("#{number} CACHED")),
            StepChange::Started => {}
            StepChange::Output(bytes) => {
                let lines = self.lines.entry(vertex).or_default().add(&bytes);
                self.output(number, vertex, lines);
            }
            StepChange::Progress {
                part,
                done_bytes,
                total_bytes,
            } => {
                if total_bytes == Some(done_bytes) {
                    write(&format!(
                        "#{number} {} {}",
                        one_line(&part),
                        size(done_bytes)
                    ));
                }
            }
            StepChange::Note(note) => write(&format!("#{number} {}", one_line(&note))),
            StepChange::Used(used) => {
                self.rest(number, vertex);
                write(&format!("#{number} took {}", usage(&used)));
            }
            StepChange::Finished { took } => {
                self.rest(number, vertex);
                write(&format!("#{number} DONE {}", seconds(took)));
            }
            StepChange::Failed { message, .. } => {
                self.rest(number, vertex);
                write(&format!("#{number} ERROR: {}", one_line(&message)));
            }
            StepChange::Cancelled { .. } => {
                self.rest(number, vertex);
                write(&format!("#{number} CANCELED"));
            }
        }
    }

    fn output(&self, number: usize, vertex: VertexId, lines: Vec<String>) {
        let passed = self
            .started
            .get(&vertex)
            .map(Instant::elapsed)
            .unwrap_or_default();
        for line in lines {
            write(&format!("#{number} {:.3} {line}", passed.as_secs_f64()));
        }
    }

    fn rest(&mut self, number: usize, vertex: VertexId) {
        let rest = self.lines.get_mut(&vertex).and_then(Lines::last);
        self.output(number, vertex, rest.into_iter().collect());
    }
}

impl Renderer for Plain {
    fn event(&mut self, event: Event) {
        match event {
            Event::Step { vertex, change } => self.step(vertex, change),
            Event::Warning { text } => write(&format!("\nwarning: {}", one_line(&text))),
            Event::Notice { text } => write(&one_line(&text)),
            Event::TaskStarted { task, name } => {
                let number = self.steps.next_number();
                let started = Instant::now();
                self.tasks.insert(task, Task { number, started });
                write(&format!("\n#{number} {}", one_line(&name)));
            }
            Event::TaskProgress {
                task,
                part,
                done_bytes,
                total_bytes,
            } => {
                let Some(Task { number, .. }) = self.tasks.get(&task) else {
                    return;
                };
                if total_bytes == Some(done_bytes) {
                    write(&format!(
                        "#{number} {} {}",
                        one_line(&part),
                        size(done_bytes)
                    ));
                }
            }
            Event::TaskNote { task, note } => {
                if let Some(Task { number, .. }) = self.tasks.get(&task) {
                    write(&format!("#{number} {}", one_line(&note)));
                }
            }
            Event::TaskFinished { task, error } => {
                let Some(Task { number, started }) = self.tasks.get(&task) else {
                    return;
                };
                match error {
                    None => write(&format!("#{number} DONE {}", seconds(started.elapsed()))),
                    Some(error) => write(&format!("#{number} ERROR: {}", one_line(&error))),
                }
            }
        }
    }
}

/// A closed standard error must not end a build.
fn write(line: &str) {
    use std::io::Write;
    let _ = writeln!(anstream::stderr(), "{line}");
}
