//! Dockerfile text to a plan, with diagnostics.
