//! Files of the web and checkouts of git repositories, brought into a directory.
//!
//! [`http`] fetches one file: hashed while it is written, not fetched again while the server
//! says that it is the same. [`git`] drives the `git` program, cut off from all that the
//! user's or the machine's configuration would make it do, and keeps what was fetched in bare
//! repositories. Credentials go to the host they are for, never into arguments or messages.
//!
//! Where things are kept, and under which locks, is the caller's to say.

mod access;
mod error;
pub mod git;
pub mod http;

pub use access::{Access, Credential};
pub use error::FetchError;
