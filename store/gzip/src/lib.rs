//! gzip for layers, both ways: fast, bounded, and the same bytes everywhere.
//!
//! Bytes in, bytes out: what a layer is, and what is cut into blocks for whom, others know. A
//! crate of its own because builds without optimisation optimise this part all the same.

mod deflate;
mod inflate;

pub use deflate::{Deflate, stored_member};
pub use inflate::GzipReader;
