//! Fixtures for tests and the code that makes them: trees, images, services.
//!
//! Dev only. Everything real that a test leans on (Docker's engine, Debian's registry, a
//! distribution's base image) is started or made here, and looked for with [`needs`].

pub mod archive;
pub mod base;
pub mod certificates;
pub mod command;
pub mod distribution;
pub mod docker;
pub mod foreign;
pub mod git;
pub mod image;
pub mod keeper;
pub mod needs;
pub mod projects;
pub mod proxy;
pub mod registry;
pub mod ssh;
pub mod table;
pub mod web;
