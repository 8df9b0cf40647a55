//! File trees and layer archives: whiteouts, canonical tar, digests, compression.

pub mod pattern;
pub mod tree;
