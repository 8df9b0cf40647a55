//! The store under everything that a machine does to it: processes killed at any system call,
//! disks that are full or fail, power cuts.
//!
//! Each test runs the real program on a small store, hurts it, and asserts that the store
//! verifies, that nothing is left behind, and that the same command then succeeds. Here a few
//! points are tried; `testdata/crash` tries all of them. Tests need root, strace and
//! file systems to mount; without what they need they are skipped, but fail where `CI=true`.

mod errors;
mod kill;
mod operation;
mod power;
mod site;
mod traced;
