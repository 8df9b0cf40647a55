//! What to run in a sandbox, as data, and the ordered steps that set it up.
