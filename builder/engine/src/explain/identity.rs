//! What a step's name says: `[linux/arm64 build 2/5] RUN make`.

/// The parts of a step's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity<'a> {
    /// Platform and stage, as far as the name has them.
    pub stage: &'a str,
    /// Place in the stage, from 1; 0 for what is no step of one.
    pub position: usize,
    /// The instruction: `RUN`.
    pub instruction: &'a str,
    /// What follows it.
    pub text: &'a str,
}

impl<'a> Identity<'a> {
    pub fn of(name: &'a str) -> Self {
        let (place, text) = match name
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("] "))
        {
            Some((place, text)) => (place, text),
            None => ("", name),
        };
        let (stage, count) = place.trim().rsplit_once(' ').unwrap_or(("", place.trim()));
        let position = count.split_once('/').map_or("", |(position, _)| position);
        let (instruction, text) = text.split_once(' ').unwrap_or((text, ""));
        Identity {
            stage: stage.trim_end(),
            position: position.trim().parse().unwrap_or(0),
            instruction,
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let cases = [
            ("[build 2/5] RUN make all", ("build", 2, "RUN", "make all")),
            ("[1/2] FROM debian:12", ("", 1, "FROM", "debian:12")),
            ("[build  2/15] RUN a", ("build", 2, "RUN", "a")),
            (
                "[linux/arm64 build 1/1] FROM a",
                ("linux/arm64 build", 1, "FROM", "a"),
            ),
            (
                "https://example.com/a",
                ("", 0, "https://example.com/a", ""),
            ),
        ];
        for (name, (stage, position, instruction, text)) in cases {
            let expected = Identity {
                stage,
                position,
                instruction,
                text,
            };
            assert_eq!(Identity::of(name), expected, "{name}");
        }
    }
}
