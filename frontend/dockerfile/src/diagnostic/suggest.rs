//! "Did you mean": the known word nearest to an unknown one.

/// Returns the candidate that `word` is most likely a slip of; upper and lower case are equal.
///
/// A slip is one character too many, too few or wrong, or two swapped; one is forgiven in
/// three characters. The first of equally near candidates is returned.
pub fn suggest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(MOST_CHARACTERS + 1).map(lower).collect();
    if word.len() > MOST_CHARACTERS {
        return None;
    }
    let near = candidates.iter().filter_map(|candidate| {
        let known: Vec<char> = candidate.chars().map(lower).collect();
        let forgiven = word.len().max(known.len()).div_ceil(3).min(3);
        let distance = distance(&word, &known);
        (distance <= forgiven && distance < known.len()).then_some((distance, *candidate))
    });
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Longer words are nobody's slip, and comparing them would take long.
const MOST_CHARACTERS: usize = 64;

fn lower(character: char) -> char {
    character.to_ascii_lowercase()
}

/// Returns the number of slips from `left` to `right` (optimal string alignment).
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before = vec![0; right.len() + 1];
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut current = vec![row; right.len() + 1];
        for column in 1..=right.len() {
            let is_same = left[row - 1] == right[column - 1];
            let replaced = above[column - 1] + usize::from(!is_same);
            let mut least = replaced.min(above[column] + 1).min(current[column - 1] + 1);
            if is_swap(left, right, row, column) {
                least = least.min(before[column - 2] + 1);
            }
            current[column] = least;
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

fn is_swap(left: &[char], right: &[char], row: usize, column: usize) -> bool {
    row > 1
        && column > 1
        && left[row - 1] == right[column - 2]
        && left[row - 2] == right[column - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_known_word_is_suggested() {
        let known = ["FROM", "RUN", "COPY", "ADD", "ENTRYPOINT", "HEALTHCHECK"];
        let cases = [
            ("FORM", Some("FROM")),
            ("form", Some("FROM")),
            ("RUNN", Some("RUN")),
            ("COPYY", Some("COPY")),
            ("ENTRPOINT", Some("ENTRYPOINT")),
            ("HEALTCHEK", Some("HEALTHCHECK")),
            ("echo", None),
            ("x", None),
            ("", None),
            ("apt-get", None),
        ];
        for (word, expected) in cases {
            assert_eq!(suggest(word, &known), expected, "{word}");
        }
        assert_eq!(suggest(&"FROM".repeat(100_000), &known), None);
    }
}
