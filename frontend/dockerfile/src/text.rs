//! A compilation as text that people read and tests compare.

use crate::compile::{Compilation, PlannedImage};
use std::fmt::{self, Display, Formatter};

impl Display for Compilation {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        self.plan.fmt(formatter)?;
        self.images
            .iter()
            .try_for_each(|image| image.fmt(formatter))?;
        match self.source_date_epoch_seconds {
            Some(seconds) => writeln!(formatter, "times up to {seconds}"),
            None => Ok(()),
        }
    }
}

impl Display for PlannedImage {
    /// Writes the result, then the container's configuration, a line for each key, then what
    /// is added to the history, where `-` marks entries without a layer.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "image {} of ", self.platform)?;
        match self.result {
            Some(result) => writeln!(formatter, "{result}")?,
            None => writeln!(formatter, "nothing")?,
        }
        if let Some(author) = &self.config.author {
            writeln!(formatter, "    author {author:?}")?;
        }
        if let Ok(serde_json::Value::Object(keys)) = serde_json::to_value(&self.config.config) {
            for (key, value) in keys {
                writeln!(formatter, "    config {key} {value}")?;
            }
        }
        for entry in &self.history {
            let mark = if entry.empty_layer { '-' } else { '+' };
            let text = entry.created_by.as_deref().unwrap_or_default();
            writeln!(formatter, "    history {mark} {text:?}")?;
        }
        Ok(())
    }
}
