//! File trees and layer archives: whiteouts, canonical tar, digests, compression.

pub mod ahead;
pub mod archive;
pub mod blob;
pub mod capture;
pub mod compress;
pub mod copy;
pub mod digest;
pub mod pattern;
pub mod plain;
mod processors;
pub mod scan;
pub mod tree;
pub mod users;
