//! Any ignore file and any path: an answer in time, and what is pruned is excluded.
//!
//! The text is the ignore file, a NUL byte and the path.
#![no_main]

use std::path::PathBuf;

use kiln_layer::pattern::{Glob, IgnorePatterns, unescape};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (patterns, path) = text.split_once('\0').unwrap_or((text, "a/b"));
    for glob in [Glob::new(patterns), Glob::with_double_star(patterns)]
        .into_iter()
        .flatten()
    {
        glob.matches(path);
    }
    unescape(patterns);
    let path: PathBuf = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "." | ".."))
        .collect();
    if let Ok(patterns) = IgnorePatterns::parse(patterns)
        && !path.as_os_str().is_empty()
        && patterns.can_prune(&path)
    {
        assert!(patterns.matches(&path));
        assert!(patterns.matches(path.join("below")));
    }
});
