//! The lines of `.dockerignore`, and of `--exclude`.
//!
//! The last pattern that matches a path, or a directory above it, decides. `!` includes
//! again. `**` matches any number of directories. Paths are relative to the context's root.

use std::path::Path;

use super::glob::{Glob, InvalidPattern};

/// A list of patterns of which the last match decides.
#[derive(Clone, Debug, Default)]
pub struct IgnorePatterns {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// As it was cleaned: without what does not count.
    text: String,
    /// Whether it begins with `!`: what it matches is seen after all.
    includes: bool,
    glob: Glob,
    components: Vec<Glob>,
    /// Whether the component at the same place may match a `/`: by `**`, or by a class.
    crosses: Vec<bool>,
}

/// Which patterns match a directory, and thereby all that lies in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParentMatch(Vec<bool>);

impl IgnorePatterns {
    /// Reads the text of an ignore file: a pattern per line, `#` begins a comment line.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // A comment sign counts only at the very beginning of a line.
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self::new(lines.map(clean_line))
    }

    /// Compiles patterns as they are given to `--exclude`. Empty ones are left out.
    pub fn new<S: AsRef<str>>(
        patterns: impl IntoIterator<Item = S>,
    ) -> Result<Self, InvalidPattern> {
        let mut compiled = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref().trim();
            if !pattern.is_empty() {
                compiled.push(Pattern::new(pattern)?);
            }
        }
        Ok(Self { patterns: compiled })
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Returns the patterns as text, in order, without what does not count in them.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(|pattern| pattern.text.as_str())
    }

    /// Whether `path` is excluded, by itself or by a directory above it.
    pub fn matches(&self, path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        let mut parent = self.root();
        for ancestor in proper_ancestors(path) {
            parent = self.enter(ancestor, &parent);
        }
        self.excludes(path, &parent)
    }

    /// The match of the root, where every walk begins.
    pub fn root(&self) -> ParentMatch {
        ParentMatch(vec![false; self.patterns.len()])
    }

    /// Returns the match of the directory at `path`, whose parent has the match `parent`.
    pub fn enter(&self, path: &Path, parent: &ParentMatch) -> ParentMatch {
        let text = path.to_string_lossy();
        let matched = |(index, pattern): (usize, &Pattern)| {
            parent.covers(index) || pattern.glob.matches(&text)
        };
        ParentMatch(self.patterns.iter().enumerate().map(matched).collect())
    }

    /// Whether `path`, in a directory with the match `parent`, is excluded.
    pub fn excludes(&self, path: &Path, parent: &ParentMatch) -> bool {
        let text = path.to_string_lossy();
        // From the last on: the first that matches decides.
        for (index, pattern) in self.patterns.iter().enumerate().rev() {
            if parent.covers(index) || pattern.glob.matches(&text) {
                return !pattern.includes;
            }
        }
        false
    }

    /// Whether the directory at `path` is excluded with everything that it can contain.
    pub fn can_prune(&self, path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        let mut matched = self.root();
        for ancestor in proper_ancestors(path) {
            matched = self.enter(ancestor, &matched);
        }
        matched = self.enter(path, &matched);
        let deciding = self.patterns.iter().enumerate().rev();
        for (index, pattern) in deciding {
            if matched.covers(index) {
                return !pattern.includes;
            }
            if pattern.includes && pattern.may_match_below(path) {
                return false;
            }
        }
        false
    }
}

impl ParentMatch {
    fn covers(&self, index: usize) -> bool {
        self.0.get(index).copied().unwrap_or(false)
    }
}

impl Pattern {
    fn new(written: &str) -> Result<Self, InvalidPattern> {
        let cleaned = clean(written);
        let (includes, pattern) = match cleaned.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, cleaned.as_str()),
        };
        if pattern.is_empty() {
            return Err(InvalidPattern {
                pattern: written.to_owned(),
                reason: "nothing after `!`",
            });
        }
        let components = pattern.split('/').map(Glob::new);
        Ok(Self {
            text: cleaned.clone(),
            includes,
            glob: Glob::with_double_star(pattern)?,
            components: components.collect::<Result<_, _>>()?,
            crosses: pattern
                .split('/')
                .map(|part| part.contains("**") || part.contains('['))
                .collect(),
        })
    }

    /// Whether something below the directory at `path` could match.
    fn may_match_below(&self, path: &Path) -> bool {
        for (index, name) in path.iter().enumerate() {
            let Some(glob) = self.components.get(index) else {
                return false;
            };
            if self.crosses[index] {
                return true;
            }
            if !glob.matches(&name.to_string_lossy()) {
                return false;
            }
        }
        self.components.len() > path.iter().count()
    }
}

/// The directories above `path`, the root apart, topmost first.
fn proper_ancestors(path: &Path) -> impl Iterator<Item = &Path> {
    let ancestors: Vec<_> = path.ancestors().skip(1).collect();
    let below_root = |path: &&Path| !path.as_os_str().is_empty();
    ancestors.into_iter().rev().filter(below_root)
}

/// A line of an ignore file as a pattern: trimmed, cleaned, without a leading `/`.
fn clean_line(line: &str) -> String {
    let line = line.trim();
    let (sign, pattern) = match line.strip_prefix('!') {
        Some(pattern) => ("!", pattern.trim()),
        None => ("", line),
    };
    if pattern.is_empty() {
        return sign.to_owned();
    }
    let cleaned = clean(pattern);
    // `/` alone stays: it matches nothing.
    let relative = match cleaned.strip_prefix('/') {
        Some(relative) if !relative.is_empty() => relative,
        _ => &cleaned,
    };
    format!("{sign}{relative}")
}

/// Go's `filepath.Clean`: no `.`, no `//`, `..` taken back where possible.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => drop(kept.pop()),
            ".." if rooted => {}
            other => kept.push(other),
        }
    }
    let joined = kept.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(patterns: &[&str], path: &str) -> bool {
        IgnorePatterns::new(patterns).unwrap().matches(path)
    }

    #[test]
    fn single_patterns_match_as_in_moby() {
        let cases = [
            ("**", "file", true),
            ("**", "file/", true),
            ("**/", "file", true),
            ("**/", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("dir/**", "dir", false),
            ("**/dir", "dir/file", true),
            ("**/dir", "a/dir", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**file", "dir/a-file", true),
            ("**f*", "dir/a-file", false),
            ("**.log", "dir/x.log", true),
            ("**/file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/file*.txt*", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("**/*.txt", "file.txt", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a[b-d]e", "ace", true),
            ("a[b-d]e", "aae", false),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("abc?def", "abcZdef", true),
            ("a\\*b", "a*b", true),
            ("**/foo/bar", "foo/bar", true),
            ("**/foo/bar", "dir/foo/bar", true),
            ("abc/**", "abc/def", true),
            ("**/.foo", ".foo", true),
            ("**/.foo", "bar.foo", false),
            ("./bar.*", "bar.baz", true),
            ("docs/../src", "src/x", true),
            ("a(b)c", "a(b)c", true),
            ("fil*", "dir/file", false),
            ("*/file", "dir/file", true),
            ("{a,b}", "a", false),
            ("/a", "a", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(excluded(&[pattern], path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn last_match_decides() {
        let cases: [(&[&str], &str, bool); 9] = [
            (&["**", "!util/docker/web"], "util/docker/web/foo", false),
            (
                &["**", "!util/docker/web", "util/docker/web/foo"],
                "util/docker/web/foo",
                true,
            ),
            (&["*", "!app/**", "app/secret"], "app/secret", true),
            (&["*", "!app/**", "app/secret"], "app/main", false),
            (&["*", "!app/**", "app/secret"], "other", true),
            (&["!docs", "docs"], "docs/x", true),
            (&["docs", "!docs/README.md"], "docs/README.md", false),
            (&["docs", "!docs/README.md"], "docs/other", true),
            (&["*.md", "!README.md"], "README.md", false),
        ];
        for (patterns, path, expected) in cases {
            assert_eq!(excluded(patterns, path), expected, "{patterns:?} on {path}");
        }
    }

    #[test]
    fn directories_are_pruned_unless_something_in_them_may_be_included() {
        let cases: [(&[&str], &str, bool); 10] = [
            (&["node_modules"], "node_modules", true),
            (&["node_modules"], "src", false),
            (&["*", "!src"], "node_modules", true),
            (&["*", "!src/a"], "src", false),
            (&["*", "!src/a"], "src/b", true),
            (&["*", "!**/keep"], "src", false),
            (&["*", "!*/keep"], "src", false),
            (&["*", "!*/keep"], "src/sub", true),
            (&["!src/a", "src"], "src", true),
            (&["*", "!sr[^a]a"], "sr", false),
        ];
        for (patterns, path, expected) in cases {
            let patterns = IgnorePatterns::new(patterns).unwrap();
            assert_eq!(patterns.can_prune(path), expected, "{patterns:?} on {path}");
        }
    }

    #[test]
    fn ignore_files_are_cleaned_line_by_line() {
        let text = "\u{feff}# comment\n  /leading  \r\n\n! spaced\n#also\n ./a//b/ \n\\#literal\n";
        let patterns = IgnorePatterns::parse(text).unwrap();
        let cases = [
            ("leading", true),
            ("comment", false),
            ("a/b/c", true),
            ("#literal", true),
            ("#also", false),
        ];
        for (path, expected) in cases {
            assert_eq!(patterns.matches(path), expected, "{path}");
        }
        assert_eq!(patterns.patterns.len(), 4);
    }

    #[test]
    fn lone_exclamation_mark_is_an_error() {
        assert!(IgnorePatterns::parse("a\n!\n").is_err());
        assert!(IgnorePatterns::parse("a[\n").is_err());
    }
}
