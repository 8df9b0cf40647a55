//! Fixtures for tests and the code that makes them: trees, images, a fake registry.
