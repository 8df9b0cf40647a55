//! Images from files of this machine into the store.
//!
//! What comes in is verified as what comes from a registry is: every blob has the digest and
//! the size that lead to it before it gets its name.

mod archive_files;
mod docker_archive;
mod error;
mod files;
mod layout_files;
pub mod load;
pub mod oci_layout;

pub use error::ImportError;
pub use files::unpack_files;
