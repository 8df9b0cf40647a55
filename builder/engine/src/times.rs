//! Which times an image names.

/// Which times the layers that a build makes, their history and the image name. The base of an
/// image keeps its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageTimes {
    /// Those of the files, and the time at which a layer was made.
    #[default]
    Real,
    /// The same, but none after this one, in seconds since 1970: `SOURCE_DATE_EPOCH`.
    Until(i64),
    /// None that a clock has said, whenever and from whatever cache a layer comes.
    Fixed {
        /// What later times of files become, in seconds since 1970. It is the same for all builds
        /// of a project: else a layer would be another one after each commit.
        layers_seconds: i64,
        /// The time of the image, in seconds since 1970.
        created_seconds: i64,
    },
}

impl ImageTimes {
    /// Returns the latest time of files in layers, in seconds since 1970.
    pub fn latest_in_layers(self) -> Option<i64> {
        match self {
            ImageTimes::Real => None,
            ImageTimes::Until(seconds) => Some(seconds),
            ImageTimes::Fixed { layers_seconds, .. } => Some(layers_seconds),
        }
    }

    /// Returns when a layer that was made at `made` is said to have been made, in seconds since
    /// 1970.
    pub(crate) fn of_layer(self, made: i64) -> i64 {
        match self {
            ImageTimes::Real => made,
            ImageTimes::Until(seconds) => made.min(seconds),
            ImageTimes::Fixed {
                created_seconds, ..
            } => created_seconds,
        }
    }

    /// Returns the latest time of files that are written as such, in seconds since 1970: those
    /// of an output of files keep their times unless somebody asked for others.
    pub(crate) fn latest_of_files(self) -> Option<i64> {
        match self {
            ImageTimes::Until(seconds) => Some(seconds),
            ImageTimes::Real | ImageTimes::Fixed { .. } => None,
        }
    }

    /// Returns when an image is said to have been written, in seconds since 1970; nothing where
    /// no time was asked for.
    pub(crate) fn of_export(self) -> Option<i64> {
        match self {
            ImageTimes::Real => None,
            ImageTimes::Until(seconds) => Some(seconds),
            ImageTimes::Fixed {
                created_seconds, ..
            } => Some(created_seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ImageTimes;

    #[test]
    fn limit_lowers_times_and_fixed_ones_replace_them() {
        let until = ImageTimes::Until(50);
        assert_eq!((until.of_layer(40), until.of_layer(60)), (40, 50));
        let fixed = ImageTimes::Fixed {
            layers_seconds: 10,
            created_seconds: 50,
        };
        assert_eq!((fixed.of_layer(40), fixed.of_layer(60)), (50, 50));
        assert_eq!(fixed.latest_in_layers(), Some(10));
        assert_eq!(ImageTimes::Real.of_layer(60), 60);
    }
}
