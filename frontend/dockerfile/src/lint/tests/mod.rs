//! Rules on small files: what is found, and on which line.

mod check;
mod from;
mod instructions;

use super::*;
use crate::compile::{
    CompileOptions, IgnoredPaths, ImageResolver, ResolveError, ResolvedBase, Scope, compile,
};
use crate::syntax::SourceFile;
use kiln_oci::{DiffId, Digest, ImageConfig, Platform, Reference};
use std::sync::Arc;

/// Has every image, with one layer; `arm-only` for one platform.
struct Images;

impl ImageResolver for Images {
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedBase, ResolveError> {
        let mut config = ImageConfig::new(platform);
        config.rootfs.diff_ids = vec![DiffId(Digest::sha256(b"layer"))];
        match reference.familiar().as_str() {
            "arm-only" => config.architecture = "arm64".to_owned(),
            "triggers" => config.config.on_build = vec!["ENV password 1".to_owned()],
            "missing" => return Err("manifest unknown".into()),
            _ => {}
        }
        Ok(ResolvedBase {
            digest: Digest::sha256(b"manifest"),
            platform: config.platform(),
            config,
        })
    }
}

/// Patterns of plain paths: a path is ignored with all below it.
#[derive(Debug)]
struct Ignored(Vec<String>);

impl IgnoredPaths for Ignored {
    fn excludes(&self, path: &str) -> bool {
        self.0.iter().fold(false, |is_excluded, pattern| {
            let plain = pattern.trim_start_matches('!').replace('\\', "");
            let below = path.strip_prefix(&plain);
            let is_hit = plain.contains('*')
                || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
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

fn options() -> CompileOptions {
    CompileOptions {
        build_platform: Platform::new("linux", "amd64", None),
        ..CompileOptions::default()
    }
}

fn argument(name: &str, value: &str) -> CompileOptions {
    CompileOptions {
        build_args: vec![(name.to_owned(), Some(value.to_owned()))],
        ..options()
    }
}

fn ignoring(patterns: &str) -> CompileOptions {
    let patterns = patterns.lines().map(str::to_owned).collect();
    CompileOptions {
        ignored: Some(Arc::new(Ignored(patterns))),
        ..options()
    }
}

/// Returns each finding as `LINE RULE: MESSAGE`, the line being that of the instruction.
fn found(text: &str, options: &CompileOptions) -> Vec<String> {
    let source = SourceFile::new("Dockerfile", text);
    let findings = match compile(&source, options, &Images) {
        Ok(compilation) => compilation.warnings,
        Err(findings) => findings,
    };
    let dockerfile = crate::parse(&source).0;
    let shown = findings.0.iter().map(|finding| {
        let span = finding.labels.first().map(|label| label.span);
        let statement = span.and_then(|span| statement_at(&dockerfile, span));
        let line = statement.map_or(0, |statement| *statement.lines.start());
        format!("{line} {}: {}", finding.code, finding.message)
    });
    shown.collect()
}

fn expect(text: &str, options: &CompileOptions, expected: &[&str]) {
    assert_eq!(found(text, options), expected, "{text}");
}
