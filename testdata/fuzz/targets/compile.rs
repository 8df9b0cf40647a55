//! Any Dockerfile comes to a plan or to errors that point into it.
#![no_main]

use kiln_dockerfile::{
    CompileOptions, ImageResolver, ResolveError, ResolvedBase, SourceFile, compile, render,
};
use kiln_oci::{DiffId, Digest, ImageConfig, Platform, Reference};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let source = SourceFile::from_bytes("Dockerfile", bytes);
    let options = CompileOptions {
        build_args: vec![("A".to_owned(), Some("$B \\'\"".to_owned()))],
        ..CompileOptions::default()
    };
    let findings = match compile(&source, &options, &Images) {
        Ok(compilation) => {
            assert!(!compilation.warnings.has_errors());
            let _ = compilation.to_string();
            compilation.warnings
        }
        Err(findings) => {
            assert!(findings.has_errors());
            findings
        }
    };
    render(&source, &findings.0, false);
});

/// Knows every image but those that begin with an `x`.
struct Images;

impl ImageResolver for Images {
    fn resolve(&self, name: &Reference, platform: &Platform) -> Result<ResolvedBase, ResolveError> {
        if name.familiar().starts_with('x') {
            return Err("manifest unknown".into());
        }
        let mut config = ImageConfig::new(platform);
        config.rootfs.diff_ids = vec![DiffId(Digest::sha256("layer"))];
        config.config.env = vec!["PATH=/usr/bin:/bin".to_owned(), "odd".to_owned()];
        if name.familiar().starts_with('t') {
            config.config.on_build = vec!["RUN a".to_owned(), "COPY --from=b c d".to_owned()];
        }
        Ok(ResolvedBase {
            digest: Digest::sha256(name.to_string()),
            platform: platform.clone(),
            config,
        })
    }
}
