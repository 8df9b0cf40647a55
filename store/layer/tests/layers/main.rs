//! Layers as archives and as directories: round trips, hostile archives, other tools' archives.
//! The tests own files by other users and make devices, so they run as root.

mod golden;
mod hostile;
mod other_tools;
mod round_trip;
mod support;
