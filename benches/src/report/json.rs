//! Results as JSON, with all runs and the machine they were made on.

use std::fs;

use serde_json::{Value, json};

use super::{Line, Measured};
use crate::cost::{Cost, median};
use crate::options::Options;

/// Returns the document of `all`.
pub fn document(options: &Options, all: &[Measured]) -> Value {
    json!({
        "machine": machine(),
        "scale": options.scale,
        "workloads": all.iter().map(workload).collect::<Vec<_>>(),
    })
}

fn machine() -> Value {
    let read = |path: &str| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let model = read("/proc/cpuinfo");
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    json!({
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "model": model.map(|(_, name)| name),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "load": read("/proc/loadavg"),
    })
}

fn workload(measured: &Measured) -> Value {
    json!({
        "name": measured.row.name,
        "title": measured.row.title,
        "size": {"count": measured.size.count, "unit": measured.size.unit},
        "promised": {
            "processor_seconds": measured.row.promise.processor_milliseconds.map(thousandth),
            "wall_seconds": measured.row.promise.wall_milliseconds.map(thousandth),
        },
        "results": measured.lines.iter().map(line).collect::<Vec<_>>(),
    })
}

fn thousandth(number: u64) -> f64 {
    number as f64 / 1000.0
}

fn line(line: &Line) -> Value {
    json!({
        "who": line.who,
        "median": median(&line.runs).map(|cost| figures(&cost)),
        "runs": line.runs.iter().map(figures).collect::<Vec<_>>(),
    })
}

fn figures(cost: &Cost) -> Value {
    json!({
        "wall_seconds": cost.wall.as_secs_f64(),
        "processor_seconds": cost.processor.as_secs_f64(),
        "memory_bytes": cost.memory_bytes,
        "written_bytes": cost.written_bytes,
        "kept_bytes": cost.kept_bytes,
        "result_bytes": cost.result_bytes,
    })
}
