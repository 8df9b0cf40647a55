//! The nouns of the OCI specifications.
