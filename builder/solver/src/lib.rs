//! What to run, in which order, under which cache key.
//!
//! The core is [`Scheduler`], a state machine without input or output: it hands out
//! [`Request`]s and takes [`Response`]s. [`solve`] drives it with threads and a [`Worker`].
//! Neither knows what an operation does or what a result is.
//!
//! A vertex is probed under its *definition key* (its operation and its inputs' keys), which
//! is known before anything has run. Only on a miss are its inputs demanded; then it is probed
//! under its *content key* (its operation and what it really reads of its inputs). Only when
//! that misses too is it executed.

mod driver;
mod graph;
mod scheduler;
#[cfg(test)]
mod tests;

pub use driver::{Event, Failure, Options, Rest, Worker, solve};
pub use graph::Graph;
pub use scheduler::{Executed, Found, Keys, Request, Response, Scheduler};
