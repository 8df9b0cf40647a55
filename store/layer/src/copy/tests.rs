//! Copies between real directories.
