use std::io::Read;

use libdeflater::Decompressor;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

fn deflate(input: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    Deflate::new().compress(input, &mut output);
    output
}

/// Two readers that have nothing in common must both give the input back.
fn assert_round_trip(input: &[u8], packed: &[u8]) {
    let mut output = vec![0; input.len()];
    let length = Decompressor::new().deflate_decompress(packed, &mut output);
    assert_eq!(length.unwrap(), input.len());
    assert!(output == input, "libdeflate reads something else");
    let mut output = Vec::new();
    let mut reader = flate2::read::DeflateDecoder::new(packed);
    reader.read_to_end(&mut output).unwrap();
    assert!(output == input, "zlib reads something else");
    assert_eq!(reader.total_in(), packed.len() as u64);
}

fn noise(length: usize, mut state: u64) -> Vec<u8> {
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Words of a small vocabulary.
fn text(length: usize) -> Vec<u8> {
    let letters = noise(length, 7);
    let words = letters
        .iter()
        .map(|letter| format!("word{} ", u32::from(*letter).pow(2) % 97));
    words.flat_map(String::into_bytes).take(length).collect()
}

#[test]
fn every_kind_of_input_comes_back() {
    let mut inputs = vec![
        Vec::new(),
        vec![7],
        noise(15, 1),
        noise(16, 2),
        noise(17, 3),
    ];
    inputs.push(vec![0; 1 << 20]);
    inputs.push(vec![b'x'; 300_001]);
    inputs.push(noise(300_000, 4));
    inputs.push(text(1 << 20));
    inputs.push((0..=u8::MAX).cycle().take(70_000).collect());
    // Matches at the longest distance, and one byte beyond.
    for distance in [32_767, 32_768, 32_769, 65_535, 65_536, 65_537] {
        inputs.push(noise(distance, 5).repeat(3));
    }
    // Compressed and stored blocks in turn.
    let turns = [
        text(90_000),
        noise(200_000, 6),
        vec![1; 90_000],
        noise(70_000, 8),
    ];
    inputs.push(turns.concat().repeat(2));
    for input in inputs {
        assert_round_trip(&input, &deflate(&input));
    }
}

#[test]
fn symbols_as_rare_as_can_be_have_codes_of_limited_length() {
    let mut input = Vec::new();
    let (mut count, mut next) = (1, 1);
    for letter in 0..22_u8 {
        // No four bytes come twice.
        input.extend(std::iter::repeat_n(letter, count.min(10_000)));
        (count, next) = (next, count + next);
    }
    let shuffled: Vec<u8> = (0..input.len())
        .map(|index| input[index * 7919 % input.len()])
        .collect();
    assert_round_trip(&shuffled, &deflate(&shuffled));
}

#[test]
fn one_compressor_gives_the_same_bytes_each_time() {
    let (first, second) = (text(200_000), noise(100_000, 9));
    let mut compressor = Deflate::new();
    for input in [&first, &second, &first] {
        let mut output = Vec::new();
        compressor.compress(input, &mut output);
        assert!(output == deflate(input));
    }
}

#[test]
fn noise_grows_by_little_and_repetition_shrinks_by_much() {
    let noise = noise(1 << 20, 10);
    assert!(deflate(&noise).len() < noise.len() + noise.len() / 1000);
    assert!(deflate(&vec![0; 1 << 20]).len() < 1500);
    let text = text(1 << 20);
    assert!(deflate(&text).len() < text.len() / 4);
}

/// Digits without any order.
fn digits(length: usize, seed: u64) -> Vec<u8> {
    let digit = |byte: u8| b"0123456789abcdef"[usize::from(byte & 15)];
    noise(length, seed).into_iter().map(digit).collect()
}

#[test]
fn bytes_that_repeat_nothing_are_coded_alone_and_what_follows_is_noticed() {
    // All that codes can do for sixteen digits is to halve them.
    let digits = digits(400_000, 13);
    let packed = deflate(&digits);
    assert_round_trip(&digits, &packed);
    assert!(
        packed.len() < digits.len() / 2 + digits.len() / 30,
        "{}",
        packed.len()
    );
    for behind in [text(300_000), vec![b'x'; 300_000], noise(300_000, 14)] {
        let alone = deflate(&behind).len();
        let input = [&digits[..], &behind, &digits].concat();
        let together = deflate(&input);
        assert_round_trip(&input, &together);
        // Two blocks at most are past before it is seen that something else has begun.
        assert!(together.len() < 2 * packed.len() + alone + 64 * 1024);
    }
}

#[test]
fn digits_whose_places_are_their_only_order_are_matched() {
    // Each byte is as frequent as in noise, but all come again within reach.
    let input = digits(20_000, 15).repeat(30);
    let packed = deflate(&input);
    assert_round_trip(&input, &packed);
    assert!(packed.len() < input.len() / 10);
}

#[test]
fn bytes_are_those_of_the_format() {
    // Digests of layers depend on these: they change only with a word in the change log.
    let digest = |input: &[u8]| {
        let digest = Sha256::digest(deflate(input));
        let digits = digest.iter().map(|byte| format!("{byte:02x}"));
        digits.collect::<String>()
    };
    let found = [
        digest(&text(1 << 20)),
        digest(&noise(3000, 11).repeat(100)),
        digest(&digits(500_000, 16)),
    ];
    let expected = [
        "a45f39a859b9dc4ae4f5f475a1068c635127e2030f3b1263fc722b052f717276",
        "2f04db64102d0aaa610fdc3ea7b23cfe0075fd1f7412685dc15b154e78027256",
        "1dd76970d52e35545c8cd7af4fa325dfe043183f9adf2522dd7463f80b0dcfa9",
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_is_stored_comes_back() {
    for length in [0, 1, 65_535, 65_536, 200_000] {
        let input = noise(length, 12);
        let mut output = Vec::new();
        store(&input, &mut output);
        assert_round_trip(&input, &output);
    }
}

/// Inputs of pieces that repeat earlier ones, at all distances and lengths.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..200),
        (any::<u8>(), 1..600_usize).prop_map(|(byte, count)| vec![byte; count]),
        (any::<u64>(), 1..40_000_usize).prop_map(|(seed, length)| noise(length, seed | 1)),
    ];
    let copies = proptest::collection::vec((piece, 0..100_000_usize, 0..400_usize), 0..12);
    copies.prop_map(|copies| {
        let mut input: Vec<u8> = Vec::new();
        for (piece, distance, length) in copies {
            input.extend(piece);
            let from = input.len().saturating_sub(distance);
            let again = input[from..input.len().min(from + length)].to_vec();
            input.extend(again);
        }
        input
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_input_comes_back(input in pieces()) {
        assert_round_trip(&input, &deflate(&input));
    }
}
