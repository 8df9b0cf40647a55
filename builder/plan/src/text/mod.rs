//! A plan as text that people read and tests compare.
//!
//! One block per vertex: its id, what it is, then a line for each field that is not the
//! default. Ids are places in the plan, so equal plans give equal text.

mod op;

use crate::{Plan, Vertex, VertexId};
use std::fmt;

impl fmt::Display for VertexId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "%{}", self.index())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, vertex) in self.vertices() {
            write_vertex(formatter, id, vertex)?;
        }
        Ok(())
    }
}

fn write_vertex(formatter: &mut fmt::Formatter<'_>, id: VertexId, vertex: &Vertex) -> fmt::Result {
    writeln!(formatter, "{id} {}", vertex.op)?;
    let metadata = &vertex.metadata;
    write!(formatter, "    name {}", quoted(&metadata.name))?;
    if let Some(location) = &metadata.location {
        write!(formatter, " at {}:{}", location.file, location.first_line)?;
        if location.last_line != location.first_line {
            write!(formatter, "-{}", location.last_line)?;
        }
    }
    if let Some(platform) = &metadata.platform {
        write!(formatter, " for {platform}")?;
    }
    if metadata.ignore_cache {
        formatter.write_str(" no-cache")?;
    }
    writeln!(formatter)
}

/// Returns `text` in double quotes, on one line, reversibly.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests;
