//! The real `kiln` binary on real input, compared with what others make of the same.
//!
//! Needs root and Debian's packages of the peers; see `kiln_testdata::needs`.

mod caching;
mod changing;
mod check;
mod confinement;
mod container;
mod contexts;
mod devices;
mod emulation;
mod entering;
mod errors;
mod exchange;
mod explaining;
mod footprint;
mod harness;
mod hostile;
mod images;
mod inside;
mod leftovers;
mod outputs;
mod overlay_store;
mod platforms;
mod projects;
mod proxies;
mod referrers;
mod registries;
mod remote;
mod remote_cache;
mod reproducible;
mod rootless;
mod rungs;
mod secrets;
mod sharing;
mod single_id;
mod store;
