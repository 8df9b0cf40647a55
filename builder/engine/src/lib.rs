//! Carries out plans: joins solver, store, registry and sandbox.
