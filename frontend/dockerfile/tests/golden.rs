//! Dockerfiles against the plans and findings that they come to.
//!
//! Each folder of `testdata/dockerfile` has a `Dockerfile`, perhaps `options` (a line for each
//! option of the build), and what is expected: `plan.txt`, `diagnostic.txt`, or both. With
//! `UPDATE_GOLDEN=1` in the environment the expectations are written instead.

mod support;

use kiln_dockerfile::lint::rule_named;
use kiln_dockerfile::{
    CompileOptions, Context, ContextSource, Diagnostics, EmulatedPlatforms, IgnoredPaths,
    NamedContext, Privilege, Privileges, Scope, Severity, SourceFile, compile, render,
};
use kiln_oci::Platform;
use kiln_plan::{GitSource, GitTimes, HttpSource, NetworkMode};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use support::{Fake, folders};

#[test]
fn dockerfiles_come_to_the_recorded_plans_and_findings() {
    let mut failures = Vec::new();
    let folders = folders();
    assert!(folders.len() >= 250, "the Dockerfiles are there");
    for folder in folders {
        let (plan, diagnostic) = outcome(&folder);
        check(&folder.join("plan.txt"), &plan, &mut failures);
        check(&folder.join("diagnostic.txt"), &diagnostic, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Returns the text of the plan and of the findings; each may be empty.
fn outcome(folder: &Path) -> (String, String) {
    let bytes = fs::read(folder.join("Dockerfile")).expect("a Dockerfile");
    let source = SourceFile::from_bytes("Dockerfile", &bytes);
    let options = fs::read_to_string(folder.join("options")).unwrap_or_default();
    match compile(&source, &parse_options(&options), &Fake) {
        Ok(compilation) => (
            compilation.to_string(),
            rendered(&source, &compilation.warnings),
        ),
        Err(findings) => (String::new(), rendered(&source, &findings)),
    }
}

fn allow(privileges: &mut Privileges, name: &str) {
    let Privileges::Listed(listed) = privileges else {
        return;
    };
    listed.push(match name {
        "network.host" => Privilege::HostNetwork,
        "security.insecure" => Privilege::Insecure,
        "device" => Privilege::AllDevices,
        name if name.starts_with("device=") => Privilege::Device(name["device=".len()..].into()),
        _ => panic!("unknown privilege {name}"),
    });
}

fn rendered(source: &SourceFile, findings: &Diagnostics) -> String {
    for finding in &findings.0 {
        let is_rule = rule_named(finding.code.0).is_some();
        let is_warning = finding.severity == Severity::Warning;
        assert!(is_rule || !is_warning, "{} is no rule", finding.code);
    }
    match findings.0.as_slice() {
        [] => String::new(),
        findings => render(source, findings, false),
    }
}

fn check(path: &Path, actual: &str, failures: &mut Vec<String>) {
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return;
    }
    if std::env::var_os("UPDATE_GOLDEN").is_none() {
        let difference = support::difference(&expected, actual);
        failures.push(format!("{}:\n{difference}", path.display()));
    } else if actual.is_empty() {
        fs::remove_file(path).expect("a removed expectation");
    } else {
        fs::write(path, actual).expect("a written expectation");
    }
}

fn parse_options(text: &str) -> CompileOptions {
    let mut options = CompileOptions {
        build_platform: Platform::new("linux", "amd64", None),
        ..CompileOptions::default()
    };
    for line in text.lines() {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        let pair = || {
            let (key, value) = value.split_once('=').expect("KEY=VALUE");
            (key.to_owned(), value.to_owned())
        };
        match name {
            "--target" => options.target = Some(value.to_owned()),
            "--platform" => options.platforms.push(value.parse().expect("a platform")),
            "--build-arg" => options.build_args.push((pair().0, Some(pair().1))),
            "--label" => options.labels.push(pair()),
            "--add-host" => options.extra_hosts.push(pair()),
            "--network" if value == "none" => options.network = NetworkMode::None,
            "--context" => options.contexts.main = context("context", value),
            "--build-context" => {
                let (name, value) = pair();
                let named = NamedContext::new(&name, &value, context(&name, &value));
                options.contexts.named.push(named.expect("a named context"));
            }
            "--ignore" => options.ignored = Some(Arc::new(Ignored::only(value))),
            "--all-stages" => options.scope = Scope::AllStages,
            "--allow" => allow(&mut options.privileges, value),
            "--emulates" => {
                let platform = value.parse().expect("a platform");
                options.emulation = Some(Arc::new(Emulated(platform)));
            }
            "--ulimit" => options.ulimits.push((pair().0, 64, 128)),
            "--shm-size" => options.shm_size_bytes = Some(value.parse().expect("a number")),
            "--no-cache" => options.no_cache = true,
            "--no-cache-filter" => options.no_cache_stages.push(value.to_owned()),
            _ => panic!("unknown option {line}"),
        }
    }
    options
}

/// Returns the context that `value` writes: `docker-image://NAME`, `http://….git`,
/// `http://….tar`, another address, or a directory.
fn context(name: &str, value: &str) -> Context {
    let http = || HttpSource {
        url: value.to_owned(),
        checksum: None,
        filename: "context".to_owned(),
        mode: 0o600,
    };
    let source = match value.strip_prefix("docker-image://") {
        Some("scratch") => ContextSource::Nothing,
        Some(image) => ContextSource::Image(image.parse().expect("an image")),
        None if value.ends_with(".git") => ContextSource::Git(checkout(value)),
        None if value.ends_with(".tar") => ContextSource::Archive(http()),
        None if value.starts_with("http://") => ContextSource::File(http()),
        None => ContextSource::Local(name.to_owned()),
    };
    source.into()
}

fn checkout(remote: &str) -> GitSource {
    GitSource {
        remote: remote.to_owned(),
        reference: None,
        subdirectory: None,
        checksum: None,
        keep_git_directory: false,
        submodules: true,
        times: GitTimes::Checkout,
        fetch_by_commit: false,
    }
}

/// An ignore file with one pattern, the name of a file.
#[derive(Debug)]
struct Ignored(Vec<String>);

impl Ignored {
    /// Keeps `name` out of the context, and nothing else.
    fn only(name: &str) -> Self {
        Ignored(vec![name.to_owned()])
    }
}

/// One platform whose programs run here.
#[derive(Debug)]
struct Emulated(Platform);

impl EmulatedPlatforms for Emulated {
    fn has(&self, platform: &Platform) -> bool {
        (&platform.os, &platform.architecture) == (&self.0.os, &self.0.architecture)
    }
}

impl IgnoredPaths for Ignored {
    fn excludes(&self, path: &str) -> bool {
        self.0.iter().any(|name| name == path)
    }

    fn patterns(&self) -> &[String] {
        &self.0
    }
}
