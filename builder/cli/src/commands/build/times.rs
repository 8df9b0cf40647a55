//! Which times an image may name: those of the clock, or none but that of the sources.

use super::git;
use crate::arguments::{BuildArguments, GlobalArguments};
use crate::configuration;
use crate::error::Failure;
use kiln_engine::ImageTimes;

/// 1980-01-01 00:00 UTC, the first time that archives of all kinds can name.
const EARLIEST_SECONDS: i64 = 315_532_800;

/// Whether times of clocks and checkouts show in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// They do.
    Real,
    /// They do not: the sources alone decide.
    Reproducible {
        /// The time of the sources, in seconds since 1970.
        commit_seconds: i64,
    },
}

impl Times {
    /// Returns what the flag says, or else the configuration. The time of the sources is that of
    /// the commit that is checked out.
    pub fn of(global: &GlobalArguments, arguments: &BuildArguments) -> Result<Self, Failure> {
        let implied = arguments.verify_reproducible.then_some(true);
        let asked = arguments.reproducible.or(implied);
        let is_reproducible = configuration::is_reproducible(global, asked)?;
        Ok(match is_reproducible {
            false => Times::Real,
            true => Times::Reproducible {
                commit_seconds: git::commit_seconds(arguments).unwrap_or(EARLIEST_SECONDS),
            },
        })
    }

    /// Returns the times of the image, where `epoch` is what `SOURCE_DATE_EPOCH` says.
    pub fn of_image(self, epoch: Option<i64>) -> ImageTimes {
        match (epoch, self) {
            (Some(seconds), _) => ImageTimes::Until(seconds),
            (None, Times::Real) => ImageTimes::Real,
            (None, Times::Reproducible { commit_seconds }) => ImageTimes::Fixed {
                layers_seconds: EARLIEST_SECONDS,
                created_seconds: commit_seconds,
            },
        }
    }
}
