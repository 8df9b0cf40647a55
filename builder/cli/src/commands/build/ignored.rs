//! What is kept out of the build context, for the rule about copying it.

use super::inputs::Inputs;
use kiln_dockerfile::IgnoredPaths;
use kiln_engine::IgnorePatterns;
use std::sync::Arc;

/// Patterns, and their text.
#[derive(Debug)]
struct Ignored {
    patterns: IgnorePatterns,
    texts: Vec<String>,
}

/// Returns what is kept out of the build context; nothing if it is no directory, or if its
/// files are all seen.
pub fn of(inputs: &Inputs) -> Option<Arc<dyn IgnoredPaths>> {
    let context = inputs.directories.get("context")?;
    if context.ignore.is_empty() {
        return None;
    }
    Some(Arc::new(Ignored {
        patterns: context.ignore.clone(),
        texts: context.ignore.texts().map(str::to_owned).collect(),
    }))
}

impl IgnoredPaths for Ignored {
    fn excludes(&self, path: &str) -> bool {
        self.patterns.matches(path)
    }

    fn patterns(&self) -> &[String] {
        &self.texts
    }
}
