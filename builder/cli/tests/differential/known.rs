//! Differences that are meant, with their reasons: data, so that none is silent.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::Deserialize;

use crate::compare::Difference;

const LIST: &str = include_str!("../../../../testdata/differential/known-differences.toml");

/// One known difference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// The cases; `*` for all.
    cases: Vec<String>,
    /// Where, with `*` for anything: what a difference says.
    at: Vec<String>,
    /// What ought to be, with `*` for anything; anything when absent.
    expected: Option<String>,
    /// Why Kiln differs.
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    difference: Vec<Known>,
}

/// The list, and which of it was met.
pub struct KnownDifferences {
    list: Vec<Known>,
    /// Cases in which an entry was met, by its number.
    met: RefCell<BTreeSet<(usize, String)>>,
}

impl KnownDifferences {
    /// Reads `known-differences.toml`.
    pub fn read() -> KnownDifferences {
        let page: Page = toml::from_str(LIST).unwrap_or_else(|error| panic!("{error}"));
        KnownDifferences {
            list: page.difference,
            met: RefCell::default(),
        }
    }

    /// The reasons.
    pub fn reasons(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|known| known.reason.as_str())
    }

    /// Returns the differences of a case that are not known, each as a line.
    pub fn judge(&self, case: &str, found: &[Difference]) -> Vec<String> {
        let unknown = found
            .iter()
            .filter(|difference| !self.knows(case, difference));
        unknown
            .map(|difference| format!("{case}: {difference}"))
            .collect()
    }

    fn knows(&self, case: &str, difference: &Difference) -> bool {
        let any =
            |patterns: &[String], text: &str| patterns.iter().any(|pattern| matches(pattern, text));
        let covers = |known: &Known| {
            let expected = known.expected.as_deref().unwrap_or("*");
            any(&known.cases, case)
                && any(&known.at, &difference.at)
                && matches(expected, &difference.expected)
        };
        let Some(index) = self.list.iter().position(covers) else {
            return false;
        };
        self.met.borrow_mut().insert((index, case.to_owned()));
        true
    }

    /// Prints every reason with the cases in which it was met.
    pub fn show(&self) {
        for (index, known) in self.list.iter().enumerate() {
            let met = self.met.borrow();
            let cases = met.iter().filter(|(number, _)| *number == index);
            let names: Vec<_> = cases.map(|(_, case)| case.as_str()).collect();
            println!("known: {} ({})", known.reason, names.join(", "));
        }
    }

    /// Returns a line for each entry that no longer says anything: it ought to go.
    pub fn unused(&self) -> Vec<String> {
        let met = self.met.borrow();
        let used = |index: usize| met.iter().any(|(number, _)| *number == index);
        let list = self.list.iter().enumerate();
        list.filter(|(index, _)| !used(*index))
            .map(|(_, known)| format!("known difference that is none: {}", known.reason))
            .collect()
    }
}

/// Whether `text` is `pattern`, in which every `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((beginning, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(beginning) else {
        return false;
    };
    let mut ends = text.char_indices().map(|(end, _)| end);
    rest.is_empty() || ends.any(|start| matches(rest, &text[start..])) || matches(rest, "")
}
