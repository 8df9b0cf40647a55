//! The pages of the rules against the rules: bad examples break exactly the rule of their page,
//! good ones none.
//!
//! An example is a `dockerfile` block, or a `printf` that writes one with bytes no page can
//! have. A `gitignore` block beside it is the ignore file, `kiln build` in a `sh` block has the
//! flags.

use kiln_dockerfile::lint::{Origin, RULES, Rule};
use kiln_dockerfile::{
    BuildContexts, CompileOptions, ContextSource, IgnoredPaths, ImageResolver, NamedContext,
    ResolveError, ResolvedBase, SourceFile, compile,
};
use kiln_oci::{DiffId, Digest, ImageConfig, Platform, Reference};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lints")
}

fn page(rule: &Rule) -> String {
    let path = folder().join(format!("{}.md", rule.page));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_rule_has_a_page_and_a_line_in_the_index() {
    let index = fs::read_to_string(folder().join("README.md")).expect("the index");
    for rule in RULES {
        let (name, file) = (rule.name, format!("{}.md", rule.page));
        let page = page(rule);
        assert!(
            page.starts_with(&format!("# {name}\n")),
            "the title of {file}"
        );
        for section in ["\n## Why\n", "\n## Bad\n", "\n## Good\n"] {
            assert!(page.contains(section), "{section:?} in {file}");
        }
        assert!(
            index.contains(&format!("[{name}]({file})")),
            "{name} in the index"
        );
    }
    let files = fs::read_dir(folder()).expect("the pages").count();
    assert_eq!(files, RULES.len() + 1, "there are no pages of other rules");
}

#[test]
fn bad_example_breaks_the_rule_of_its_page_and_no_other() {
    for rule in RULES {
        let found = Example::of(&page(rule), "## Bad").findings();
        assert_eq!(found, BTreeSet::from([rule.name]), "{}.md", rule.page);
    }
}

#[test]
fn good_example_breaks_no_rule() {
    for rule in RULES {
        let found = Example::of(&page(rule), "## Good").findings();
        assert_eq!(found, BTreeSet::new(), "{}.md", rule.page);
    }
}

#[test]
fn rule_that_is_skipped_is_not_broken() {
    for rule in RULES {
        let mut example = Example::of(&page(rule), "## Bad");
        example.check(&format!("skip={0};experimental={0}", rule.name));
        assert_eq!(example.findings(), BTreeSet::new(), "{}", rule.name);
    }
}

#[test]
fn rules_of_the_language_fail_a_build_that_asks_for_it() {
    for rule in RULES {
        let mut example = Example::of(&page(rule), "## Bad");
        example.check("error=true;experimental=all");
        let expected = match rule.origin {
            Origin::Dockerfile => BTreeSet::from([rule.name, "LintViolation"]),
            Origin::Kiln => BTreeSet::from([rule.name]),
        };
        assert_eq!(example.findings(), expected, "{}", rule.name);
    }
}

#[derive(Default)]
struct Example {
    dockerfile: Vec<u8>,
    patterns: Vec<String>,
    flags: Vec<(String, String)>,
}

impl Example {
    /// Returns the example in the section that `heading` begins.
    fn of(page: &str, heading: &str) -> Self {
        let (_, section) = page.split_once(heading).expect("the section");
        let section = section.split("\n## ").next().unwrap_or_default();
        let mut example = Example::default();
        let mut blocks = section.split("```");
        while let (Some(_), Some(block)) = (blocks.next(), blocks.next()) {
            let (language, text) = block.split_once('\n').expect("a language");
            example.add(language, text);
        }
        assert!(!example.dockerfile.is_empty(), "{heading} of {page}");
        example
    }

    fn add(&mut self, language: &str, text: &str) {
        match language {
            "dockerfile" => self.dockerfile = text.as_bytes().to_vec(),
            "gitignore" => self.patterns = text.lines().map(str::to_owned).collect(),
            "sh" if text.starts_with("printf") => self.dockerfile = printed(text),
            "sh" => {
                let words: Vec<_> = text.split_whitespace().skip(2).collect();
                for flag in words.chunks_exact(2) {
                    self.flags.push((flag[0].to_owned(), flag[1].to_owned()));
                }
            }
            other => panic!("a block of {other}"),
        }
    }

    /// Puts `value` before what the file says of checks.
    fn check(&mut self, value: &str) {
        let argument = format!("BUILDKIT_DOCKERFILE_CHECK={value}");
        self.flags.push(("--build-arg".to_owned(), argument));
    }

    fn findings(&self) -> BTreeSet<&'static str> {
        let source = SourceFile::from_bytes("Dockerfile", &self.dockerfile);
        let findings = match compile(&source, &self.options(), &Images) {
            Ok(compilation) => compilation.warnings,
            Err(findings) => findings,
        };
        findings.0.iter().map(|finding| finding.code.0).collect()
    }

    fn options(&self) -> CompileOptions {
        let mut options = CompileOptions {
            build_platform: Platform::new("linux", "amd64", None),
            ignored: Some(Arc::new(Ignored(self.patterns.clone()))),
            contexts: BuildContexts::default(),
            ..CompileOptions::default()
        };
        for (flag, value) in &self.flags {
            let (name, value) = value.split_once('=').expect("NAME=VALUE");
            match flag.as_str() {
                "--build-arg" => {
                    let argument = (name.to_owned(), Some(value.to_owned()));
                    options.build_args.push(argument);
                }
                "--build-context" => {
                    let source = ContextSource::Local(name.to_owned());
                    let context = NamedContext::new(name, value, source.into());
                    options.contexts.named.push(context.expect("a context"));
                }
                other => panic!("the flag {other}"),
            }
        }
        options
    }
}

/// Returns what `printf '…' > Dockerfile` writes.
fn printed(text: &str) -> Vec<u8> {
    let format = text.split('\'').nth(1).expect("a format");
    let mut bytes = Vec::new();
    let mut rest = format.bytes();
    while let Some(byte) = rest.next() {
        match (byte, if byte == b'\\' { rest.next() } else { None }) {
            (b'\\', Some(b'n')) => bytes.push(b'\n'),
            (b'\\', Some(b'r')) => bytes.push(b'\r'),
            (b'\\', Some(b'x')) => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = std::str::from_utf8(&digits).expect("digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("a byte"));
            }
            (byte, _) => bytes.push(byte),
        }
    }
    bytes
}

/// Patterns of the kinds `*.EXTENSION` and `NAME`.
#[derive(Debug)]
struct Ignored(Vec<String>);

impl IgnoredPaths for Ignored {
    fn excludes(&self, path: &str) -> bool {
        self.0.iter().fold(false, |is_excluded, pattern| {
            let plain = pattern.trim_start_matches('!');
            let is_hit = match plain.strip_prefix('*') {
                Some(end) => path.ends_with(end),
                None => path == plain,
            };
            match is_hit {
                true => !pattern.starts_with('!'),
                false => is_excluded,
            }
        })
    }

    fn patterns(&self) -> &[String] {
        &self.0
    }
}

/// Has every image; those with a platform in their tag have no other.
struct Images;

impl ImageResolver for Images {
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedBase, ResolveError> {
        let platform = match reference.tag() {
            Some("arm64-only") => Platform::new("linux", "arm64", None),
            _ => platform.clone(),
        };
        let mut config = ImageConfig::new(&platform);
        config.rootfs.diff_ids = vec![DiffId(Digest::sha256(b"layer"))];
        Ok(ResolvedBase {
            digest: Digest::sha256(b"manifest"),
            platform,
            config,
        })
    }
}
