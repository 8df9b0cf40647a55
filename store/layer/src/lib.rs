//! File trees and layer archives: whiteouts, canonical tar, digests, compression.

pub mod copy;
pub mod pattern;
pub mod tree;
pub mod users;
