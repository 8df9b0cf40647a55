//! What to run, in which order, under which cache key.
