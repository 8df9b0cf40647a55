//! Names that nobody else picks.

use std::fmt::Write;

/// Returns `byte_count` random bytes as hexadecimal digits.
pub(crate) fn hexadecimal(byte_count: usize) -> String {
    let mut bytes = vec![0; byte_count];
    fill(&mut bytes);
    let mut text = String::with_capacity(2 * byte_count);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Fills `bytes` from the kernel's generator.
///
/// `getrandom` without flags cannot fail for a mapped buffer once the generator is
/// seeded; a signal only shortens it.
fn fill(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut bytes[filled..], flags).unwrap_or(0);
    }
}
