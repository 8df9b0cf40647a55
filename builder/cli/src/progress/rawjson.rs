//! One JSON object per line, for programs.

use super::Renderer;
use super::steps::Steps;
use kiln_engine::{Event, StepChange};
use kiln_plan::{Plan, VertexId};
use serde_json::{Value, json};

/// Writes objects with `event`, `step` or `task`, and what belongs to the event.
pub struct RawJson {
    steps: Steps,
}

impl RawJson {
    pub fn new(plan: &Plan) -> Self {
        RawJson {
            steps: Steps::new(plan),
        }
    }

    fn step(&mut self, vertex: VertexId, change: &StepChange) -> Value {
        let (number, _) = self.steps.number(vertex);
        let mut object = json!({ "step": number, "name": self.steps.name(vertex) });
        let (event, details) = details(change);
        object["event"] = event.into();
        if let (Some(object), Value::Object(details)) = (object.as_object_mut(), details) {
            object.extend(details);
        }
        object
    }
}

fn details(change: &StepChange) -> (&'static str, Value) {
    match change {
        StepChange::Cached => ("cached", json!({})),
        StepChange::Started => ("started", json!({})),
        StepChange::Output(bytes) => ("output", json!({ "text": String::from_utf8_lossy(bytes) })),
        StepChange::Progress {
            part,
            done_bytes,
            total_bytes,
        } => (
            "progress",
            json!({ "part": part, "done_bytes": done_bytes, "total_bytes": total_bytes }),
        ),
        StepChange::Note(note) => ("note", json!({ "text": note })),
        StepChange::Used(used) => ("used", json!(used)),
        StepChange::Finished { took } => ("finished", json!({ "seconds": took.as_secs_f64() })),
        StepChange::Failed { message, took } => (
            "failed",
            json!({ "error": message, "seconds": took.as_secs_f64() }),
        ),
        StepChange::Cancelled { took } => ("cancelled", json!({ "seconds": took.as_secs_f64() })),
    }
}

impl Renderer for RawJson {
    fn event(&mut self, event: Event) {
        let object = match event {
            Event::Step { vertex, change } => self.step(vertex, &change),
            Event::Warning { text } => json!({ "event": "warning", "text": text }),
            Event::Notice { text } => json!({ "event": "notice", "text": text }),
            Event::TaskStarted { task, name } => {
                json!({ "event": "started", "task": task.0, "name": name })
            }
            Event::TaskProgress {
                task,
                part,
                done_bytes,
                total_bytes,
            } => json!({
                "event": "progress", "task": task.0, "part": part,
                "done_bytes": done_bytes, "total_bytes": total_bytes,
            }),
            Event::TaskNote { task, note } => {
                json!({ "event": "note", "task": task.0, "text": note })
            }
            Event::TaskFinished { task, error } => {
                json!({ "event": "finished", "task": task.0, "error": error })
            }
        };
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "{object}");
    }
}
