//! Prefix codes: the shortest ones of limited length for how often symbols occur.

/// The longest code that the format knows.
pub(super) const MOST_BITS: usize = 15;

/// A symbol's code, the first bit lowest, and its length in bits; 0 if it does not occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) bits: u32,
    pub(super) length: u32,
}

/// Returns the lengths of codes of at most `limit` bits for symbols that occur `counts` times.
///
/// At least two symbols get a code, as some readers take no code that leaves bits unused.
pub(super) fn code_lengths<const SYMBOLS: usize>(
    counts: &[u32; SYMBOLS],
    limit: usize,
) -> [u8; SYMBOLS] {
    let mut used = used_symbols(counts);
    used.sort_unstable();
    let weights: Vec<u64> = used.iter().map(|(count, _)| u64::from(*count)).collect();
    let per_length = limited(&codes_per_length(weights), limit);
    let mut lengths = [0; SYMBOLS];
    // The rarest symbols come first and get the longest codes.
    let mut symbols = used.iter().map(|(_, symbol)| *symbol);
    for (length, count) in per_length.iter().enumerate().rev() {
        for symbol in symbols.by_ref().take(*count) {
            lengths[symbol] = length as u8;
        }
    }
    lengths
}

/// Returns how often the symbols occur that do, and which they are: at least two.
fn used_symbols<const SYMBOLS: usize>(counts: &[u32; SYMBOLS]) -> Vec<(u32, usize)> {
    let pairs = counts.iter().copied().zip(0..);
    let mut used: Vec<_> = pairs.filter(|(count, _)| *count > 0).collect();
    let spare = (0..SYMBOLS).filter(|symbol| counts[*symbol] == 0).take(2);
    for symbol in spare.collect::<Vec<_>>() {
        if used.len() < 2 {
            used.push((1, symbol));
        }
    }
    used
}

/// Returns how many codes there are of each length, without a limit: Huffman's construction in
/// place, after Moffat and Katajainen. `weights` ascend, and there are at least two.
fn codes_per_length(mut weights: Vec<u64>) -> [usize; 64] {
    let leaves = weights.len();
    let (mut leaf, mut node) = (0, 0);
    for next in 0..leaves - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let takes_node = leaf >= leaves || (node < next && weights[node] < weights[leaf]);
            if takes_node {
                weight += std::mem::replace(&mut weights[node], next as u64);
                node += 1;
            } else {
                weight += weights[leaf];
                leaf += 1;
            }
        }
        weights[next] = weight;
    }
    // What were weights of inner nodes are their parents by now; they become depths.
    weights[leaves - 2] = 0;
    for node in (0..leaves - 2).rev() {
        weights[node] = weights[weights[node] as usize] + 1;
    }
    let mut inner = weights[..leaves - 1].iter().rev().peekable();
    let (mut places, mut per_length) = (1, [0; 64]);
    for (depth, count) in (0_u64..).zip(&mut per_length) {
        let mut nodes = 0;
        while inner.next_if(|found| **found == depth).is_some() {
            nodes += 1;
        }
        *count = places - nodes;
        places = 2 * nodes;
    }
    per_length
}

/// Returns how many codes there are of each length if none may be longer than `limit`.
fn limited(per_length: &[usize; 64], limit: usize) -> [usize; MOST_BITS + 1] {
    let mut limited = [0; MOST_BITS + 1];
    limited[..=limit].copy_from_slice(&per_length[..=limit]);
    limited[limit] += per_length[limit + 1..].iter().sum::<usize>();
    let lengths = 1..=limit;
    let mut taken: usize = lengths
        .map(|length| limited[length] << (limit - length))
        .sum();
    // For each code too many, a shorter one makes way: it and one of the longest become two
    // that are one bit longer than it was.
    while taken > 1 << limit {
        limited[limit] -= 1;
        if let Some(length) = (1..limit).rev().find(|length| limited[*length] > 0) {
            limited[length] -= 1;
            limited[length + 1] += 2;
        }
        taken -= 1;
    }
    limited
}

/// Returns the codes that belong to `lengths`. Source: RFC 1951, 3.2.2.
pub(super) fn codes<const SYMBOLS: usize>(lengths: &[u8; SYMBOLS]) -> [Code; SYMBOLS] {
    let mut next = [0_u32; MOST_BITS + 2];
    for length in 1..=MOST_BITS {
        let count = lengths.iter().filter(|one| usize::from(**one) == length);
        next[length + 1] = (next[length] + count.count() as u32) << 1;
    }
    lengths.map(|length| {
        if length == 0 {
            return Code::default();
        }
        let code = &mut next[usize::from(length)];
        let bits = code.reverse_bits() >> (u32::BITS - u32::from(length));
        *code += 1;
        Code {
            bits,
            length: length.into(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of all bit strings that begin with a code, in 1 << 15ths.
    fn share(lengths: &[u8]) -> usize {
        let used = lengths.iter().filter(|length| **length > 0);
        used.map(|length| 1 << (MOST_BITS - usize::from(*length)))
            .sum()
    }

    #[test]
    fn frequent_symbols_have_short_codes_and_all_bits_are_used() {
        let lengths = code_lengths(&[5, 0, 1, 1, 2, 9], 15);
        assert_eq!(lengths, [2, 0, 4, 4, 3, 1]);
        assert_eq!(share(&lengths), 1 << MOST_BITS);
    }

    #[test]
    fn no_code_is_longer_than_the_limit() {
        // As Fibonacci's numbers grow, so do the codes: one bit each.
        let mut counts = [1_u32; 40];
        for index in 2..40 {
            counts[index] = counts[index - 1] + counts[index - 2];
        }
        for limit in [6, 7, 14, 15] {
            let lengths = code_lengths(&counts, limit);
            assert_eq!(usize::from(*lengths.iter().max().unwrap()), limit);
            assert!(lengths.iter().all(|length| *length > 0));
            assert_eq!(share(&lengths), 1 << MOST_BITS);
        }
    }

    #[test]
    fn one_symbol_and_none_get_two_codes() {
        assert_eq!(code_lengths(&[0, 0, 7], 15), [1, 0, 1]);
        assert_eq!(code_lengths(&[0, 0, 0], 15), [1, 1, 0]);
    }

    #[test]
    fn codes_are_those_of_the_specification() {
        let codes = codes(&[3, 3, 3, 3, 3, 2, 4, 4]);
        let forward = |code: &Code| (code.bits.reverse_bits() >> (32 - code.length), code.length);
        let expected = [2, 3, 4, 5, 6, 0, 14, 15];
        let lengths = [3, 3, 3, 3, 3, 2, 4, 4];
        let found: Vec<_> = codes.iter().map(forward).collect();
        assert_eq!(found, expected.into_iter().zip(lengths).collect::<Vec<_>>());
    }
}
