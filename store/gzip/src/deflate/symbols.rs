//! The symbols that lengths and distances are written as, with extra bits behind them.
//!
//! Specification: RFC 1951, 3.2.5.

/// The shortest match that there is a symbol for.
pub(super) const LEAST_LENGTH: usize = 3;
/// The longest match.
pub(super) const MOST_LENGTH: usize = 258;
/// How far back a match may lie.
pub(super) const WINDOW_BYTES: usize = 32 << 10;

/// The symbol that ends a block.
pub(super) const END_OF_BLOCK: usize = 256;
/// Symbols of bytes, the end of a block, and lengths.
pub(super) const LITERAL_SYMBOLS: usize = 286;
pub(super) const DISTANCE_SYMBOLS: usize = 30;

/// A power of two that is enough for all distance symbols: what is masked with it needs no check.
pub(super) const DISTANCE_SLOTS: usize = 32;

const LENGTH_SYMBOLS: usize = 29;
const LENGTH_BASES: [u16; LENGTH_SYMBOLS] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258,
];
const LENGTH_EXTRA_BITS: [u8; LENGTH_SYMBOLS] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];

/// How a length is written.
#[derive(Clone, Copy)]
pub(super) struct Length {
    pub(super) symbol: usize,
    pub(super) extra: u32,
    pub(super) extra_bits: u32,
}

/// By the length minus [`LEAST_LENGTH`], which symbol it has.
const LENGTH_INDEX: [u8; 256] = {
    let mut table = [0; 256];
    let mut symbol = 0;
    while symbol < LENGTH_SYMBOLS {
        let mut length = LENGTH_BASES[symbol] as usize;
        while length <= MOST_LENGTH {
            table[length - LEAST_LENGTH] = symbol as u8;
            length += 1;
        }
        symbol += 1;
    }
    table
};

/// Returns how the length `LEAST_LENGTH + code` is written.
pub(super) fn length(code: u8) -> Length {
    let index = usize::from(LENGTH_INDEX[usize::from(code)]);
    let length = u32::from(code) + LEAST_LENGTH as u32;
    Length {
        symbol: END_OF_BLOCK + 1 + index,
        extra: length - u32::from(LENGTH_BASES[index]),
        extra_bits: u32::from(LENGTH_EXTRA_BITS[index]),
    }
}

/// Returns the number of extra bits of a symbol of bytes, the end, or lengths.
pub(super) fn literal_extra_bits(symbol: usize) -> u32 {
    let index = symbol.checked_sub(END_OF_BLOCK + 1);
    let bits = index.and_then(|index| LENGTH_EXTRA_BITS.get(index));
    bits.copied().map_or(0, u32::from)
}

/// The number of extra bits by distance symbol.
pub(super) const DISTANCE_EXTRA_BITS: [u32; DISTANCE_SLOTS] = {
    let mut table = [0; DISTANCE_SLOTS];
    let mut symbol = 4;
    while symbol < DISTANCE_SYMBOLS {
        table[symbol] = symbol as u32 / 2 - 1;
        symbol += 1;
    }
    table
};

/// The least distance of each symbol, minus one.
pub(super) const DISTANCE_BASES: [u32; DISTANCE_SLOTS] = {
    let mut table = [0; DISTANCE_SLOTS];
    let mut symbol = 1;
    while symbol < DISTANCE_SYMBOLS {
        table[symbol] = table[symbol - 1] + (1 << DISTANCE_EXTRA_BITS[symbol - 1]);
        symbol += 1;
    }
    table
};

/// By what lies between, the near distances first, then the far ones in steps of 128.
const DISTANCE_INDEX: [u8; 512] = {
    let mut table = [0; 512];
    let mut index = 0;
    while index < 512 {
        let between = if index < 256 {
            index
        } else {
            (index - 256) << 7
        };
        let mut symbol = DISTANCE_SYMBOLS - 1;
        while DISTANCE_BASES[symbol] as usize > between {
            symbol -= 1;
        }
        table[index] = symbol as u8;
        index += 1;
    }
    table
};

/// Returns the symbol of a distance minus one, which is below [`WINDOW_BYTES`].
#[inline(always)]
pub(super) fn distance_symbol(between: usize) -> usize {
    let index = match between < 256 {
        true => between,
        false => 256 + ((between >> 7) & 255),
    };
    usize::from(DISTANCE_INDEX[index]) & (DISTANCE_SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_distances_have_the_symbols_of_the_specification() {
        let written = |number: usize| {
            let length = length((number - LEAST_LENGTH) as u8);
            (length.symbol, length.extra, length.extra_bits)
        };
        assert_eq!(written(3), (257, 0, 0));
        assert_eq!(written(12), (265, 1, 1));
        assert_eq!(written(257), (284, 30, 5));
        assert_eq!(written(258), (285, 0, 0));
        for (distance, symbol, extra_bits) in [
            (1, 0, 0),
            (5, 4, 1),
            (256, 15, 6),
            (257, 16, 7),
            (24_576, 28, 13),
            (24_577, 29, 13),
            (32_768, 29, 13),
        ] {
            let found = distance_symbol(distance - 1);
            assert_eq!((found, DISTANCE_EXTRA_BITS[found]), (symbol, extra_bits));
            let extra = (distance - 1) as u32 - DISTANCE_BASES[found];
            assert!(extra < 1 << extra_bits, "{distance}");
        }
    }
}
