//! What a run takes.

use std::time::Duration;

/// What one run took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Time that passed.
    pub wall: Duration,
    /// Processor time of all processes, those of daemons too.
    pub processor: Duration,
    /// Most memory that all processes held at once.
    pub memory_bytes: u64,
    /// What was written to the disk, the journal too, until it was all there.
    pub written_bytes: u64,
    /// How much fuller the disk is.
    pub kept_bytes: u64,
    /// How large an archive is, or what a registry got.
    pub result_bytes: Option<u64>,
}

/// Returns the median of each of several runs' figures; `None` of none.
pub fn median(runs: &[Cost]) -> Option<Cost> {
    fn middle<T: Ord + Copy>(runs: &[Cost], value: impl Fn(&Cost) -> T) -> Option<T> {
        let mut values: Vec<T> = runs.iter().map(value).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied()
    }
    Some(Cost {
        wall: middle(runs, |cost| cost.wall)?,
        processor: middle(runs, |cost| cost.processor)?,
        memory_bytes: middle(runs, |cost| cost.memory_bytes)?,
        written_bytes: middle(runs, |cost| cost.written_bytes)?,
        kept_bytes: middle(runs, |cost| cost.kept_bytes)?,
        result_bytes: middle(runs, |cost| cost.result_bytes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_its_own_median() {
        let cost = |milliseconds: u64, memory_bytes: u64| Cost {
            wall: Duration::from_millis(milliseconds),
            memory_bytes,
            ..Cost::default()
        };
        let found = median(&[cost(3, 10), cost(1, 30), cost(2, 20)]);
        assert_eq!(found, Some(cost(2, 20)));
        assert_eq!(median(&[]), None);
    }
}
