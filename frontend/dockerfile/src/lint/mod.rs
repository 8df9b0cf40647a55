//! Rules: what may be wrong with a Dockerfile that builds all the same.
//!
//! A rule is a file of this folder and a line of [`RULES`]. It reads the statements, or a
//! fact that lowering hands over, and [reports](Report::report); what the file and the
//! options skip is taken out at the end, where nearly always there is nothing to do.

mod report;
mod rule;
mod rules;

pub use rule::{Maturity, Origin, Rule};
pub use rules::{RULES, rule_named};

pub(crate) use report::Report;
pub(crate) use rules::*;
