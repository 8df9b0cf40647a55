//! A Dockerfile compiled: the plan, and what each image will say of itself.

use crate::context::{BuildContexts, ContextSource};
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::epoch;
use crate::frontend::check_frontend;
use crate::instruction::{Dockerfile, parse};
use crate::lint::{self, Report, Settings};
use crate::lower::{self, Request};
use crate::outline::Outline;
use crate::resolutions::Resolutions;
use crate::syntax::SourceFile;
use kiln_oci::{Digest, HistoryEntry, ImageConfig, Platform, Reference};
use kiln_plan::{NetworkMode, Plan, PlanBuilder, VertexId};
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

/// Host name that commands see unless told otherwise: the one they see elsewhere.
pub const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

/// What the caller of [`compile`] wants.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Name or number of the stage to build; the last one when absent.
    pub target: Option<String>,
    /// Values of build arguments. One without value is as if it were not given.
    pub build_args: Vec<(String, Option<String>)>,
    /// Platforms to build for, in the order of the images; that of this machine when empty.
    pub platforms: Vec<Platform>,
    /// Platform of this machine: `BUILDPLATFORM`.
    pub build_platform: Platform,
    /// Says which programs run here besides those of that platform; none do when absent.
    pub emulation: Option<Arc<dyn EmulatedPlatforms>>,
    /// Labels of the images, over those of the Dockerfile.
    pub labels: Vec<(String, String)>,
    /// Network of commands that don't choose one.
    pub network: NetworkMode,
    /// Whether recorded results are disregarded.
    pub no_cache: bool,
    /// Stages whose recorded results are disregarded.
    pub no_cache_stages: Vec<String>,
    /// Lines whose steps disregard recorded results, of one stage or of any.
    pub no_cache_lines: Vec<(Option<String>, usize)>,
    /// Lines of `/etc/hosts` for commands: (name, address).
    pub extra_hosts: Vec<(String, String)>,
    /// Resource limits of commands: (name, soft, hard).
    pub ulimits: Vec<(String, u64, u64)>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size_bytes: Option<u64>,
    /// Host name that commands see.
    pub hostname: String,
    /// Where files are copied from.
    pub contexts: BuildContexts,
    /// What commands may ask for beyond the sandbox.
    pub privileges: Privileges,
    /// What is kept out of the build context, where something is.
    pub ignored: Option<Arc<dyn IgnoredPaths>>,
    /// Which stages are looked at.
    pub scope: Scope,
}

/// Says which programs of other processors run on this machine. It is asked only where something
/// depends on that.
pub trait EmulatedPlatforms: Debug + Send + Sync {
    /// Returns whether the programs of `platform` run here.
    fn has(&self, platform: &Platform) -> bool;
}

/// What commands may ask for beyond the sandbox: what `--allow` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Privileges {
    /// Only what is in the list.
    Listed(Vec<Privilege>),
    /// Anything, as nothing is run.
    Unchecked,
}

/// Something that a command may ask for beyond the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// `network.host`.
    HostNetwork,
    /// `security.insecure`.
    Insecure,
    /// `device`: all devices.
    AllDevices,
    /// `device=NAME`: one device, or those of a class.
    Device(String),
}

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions {
            target: None,
            build_args: Vec::new(),
            platforms: Vec::new(),
            build_platform: Platform::host(),
            emulation: None,
            labels: Vec::new(),
            network: NetworkMode::Default,
            no_cache: false,
            no_cache_stages: Vec::new(),
            no_cache_lines: Vec::new(),
            extra_hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_size_bytes: None,
            hostname: DEFAULT_HOSTNAME.to_owned(),
            contexts: BuildContexts::default(),
            privileges: Privileges::Listed(Vec::new()),
            ignored: None,
            scope: Scope::Target,
        }
    }
}

/// Which stages of a Dockerfile are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The target and what it needs.
    Target,
    /// All of them: to find what is wrong anywhere.
    AllStages,
}

/// The patterns of an ignore file.
pub trait IgnoredPaths: Debug + Send + Sync {
    /// Says whether `path`, relative to the context, is kept out of it.
    fn excludes(&self, path: &str) -> bool;

    /// Returns the patterns in order, exceptions with a `!` before them.
    fn patterns(&self) -> &[String];
}

/// Finds images that a Dockerfile names. It is asked for several at once, for each only once.
pub trait ImageResolver: Sync {
    /// Returns what `reference` means for `platform`.
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedBase, ResolveError>;

    /// Returns the time that stands for `source`, in seconds since 1970: that of a commit, of
    /// the last change of a file, of the newest file of an archive. `None` for one without.
    fn source_time(&self, source: &ContextSource) -> Result<Option<i64>, ResolveError> {
        let _ = source;
        Ok(None)
    }
}

/// What an image's name means.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedBase {
    /// Digest of the image manifest (never of an index).
    pub digest: Digest,
    /// Platform of the image.
    pub platform: Platform,
    /// Its configuration.
    pub config: ImageConfig,
}

/// Why an image's name means nothing: the causes are the resolver's.
pub type ResolveError = Box<dyn Error + Send + Sync>;

/// A compiled Dockerfile.
#[derive(Clone, Debug)]
pub struct Compilation {
    /// What must be done.
    pub plan: Plan,
    /// The images, one for each platform, in the order of the request.
    pub images: Vec<PlannedImage>,
    /// The latest time that the images may name, in seconds since 1970:
    /// `SOURCE_DATE_EPOCH`, given as a build argument or set before the first FROM.
    pub source_date_epoch_seconds: Option<i64>,
    /// Findings that don't stop the build.
    pub warnings: Diagnostics,
}

/// An image to be made of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedImage {
    /// Its platform.
    pub platform: Platform,
    /// Its root file system; `None` for one without layers.
    pub result: Option<VertexId>,
    /// The base image's configuration with the changes of the Dockerfile. `rootfs` and
    /// `history` are the base image's still; `created` is empty.
    pub config: ImageConfig,
    /// What the Dockerfile adds to the history: one entry for each instruction, without times.
    pub history: Vec<HistoryEntry>,
}

impl Compilation {
    /// Returns the target vertices of the plan, in the order of the images that have one.
    pub fn targets(&self) -> Vec<VertexId> {
        self.images
            .iter()
            .filter_map(|image| image.result)
            .collect()
    }
}

/// Returns the plan of the Dockerfile `source`.
///
/// Errors: all findings in the order of their places, at least one of which is an error.
pub fn compile(
    source: &SourceFile,
    options: &CompileOptions,
    resolver: &dyn ImageResolver,
) -> Result<Compilation, Diagnostics> {
    let (dockerfile, mut report) = read(source, options)?;
    let with_time = epoch::with_time(source, &dockerfile, options, resolver)?;
    let options = with_time.as_ref().unwrap_or(options);
    let resolutions = Resolutions::new(resolver);
    let mut plan = PlanBuilder::new();
    let mut images = Vec::new();
    let mut source_date_epoch_seconds = None;
    let mut used_contexts = BTreeSet::new();
    let host = [options.build_platform.clone()];
    let platforms = match options.platforms.as_slice() {
        [] => &host[..],
        platforms => platforms,
    };
    for platform in platforms {
        let request = Request {
            source,
            dockerfile: &dockerfile,
            options,
            resolutions: &resolutions,
            platform,
            is_one_of_several: platforms.len() > 1,
        };
        if let Some(target) = lower::lower(&request, &mut plan, &mut report) {
            images.push(target.image);
            source_date_epoch_seconds = target.source_date_epoch_seconds;
            used_contexts.extend(target.used_contexts);
        }
    }
    // What a platform's stages name depends on the platform.
    if images.len() == platforms.len() {
        lower::warn_of_unused_contexts(&options.contexts, &used_contexts, &mut report);
    }
    let warnings = report.verdict(&dockerfile)?;
    Ok(Compilation {
        plan: plan.finish(),
        images,
        source_date_epoch_seconds,
        warnings,
    })
}

/// Returns what a target of the Dockerfile `source` takes: that of `options`, for the first
/// platform.
///
/// Errors: all findings in the order of their places, at least one of which is an error.
pub fn outline(
    source: &SourceFile,
    options: &CompileOptions,
    resolver: &dyn ImageResolver,
) -> Result<Outline, Diagnostics> {
    let (dockerfile, mut report) = read(source, options)?;
    let request = Request {
        source,
        dockerfile: &dockerfile,
        options,
        resolutions: &Resolutions::new(resolver),
        platform: options.platforms.first().unwrap_or(&options.build_platform),
        is_one_of_several: false,
    };
    let notes = lower::notes(&request, &mut PlanBuilder::new(), &mut report);
    report.verdict(&dockerfile)?;
    Ok(notes.unwrap_or_default().outline(&dockerfile))
}

/// Returns the instructions of `source`, and what is odd with them.
///
/// Errors: all findings, at least one of which is an error.
fn read(
    source: &SourceFile,
    options: &CompileOptions,
) -> Result<(Dockerfile, Report), Diagnostics> {
    let (dockerfile, mut found) = parse(source);
    if !is_for_other_frontend(&found) {
        found.0.extend(check_frontend(&dockerfile, options));
    }
    let settings = Settings::of(&dockerfile.directives, &options.build_args);
    let mut report = Report::new(settings.map_err(|error| Diagnostics(vec![error]))?);
    lint::check_text(&dockerfile, found, &mut report);
    match report.has_errors() {
        true => {
            add_errors_of_the_rest(source, options, &dockerfile, &mut report);
            Err(report.into_findings(&dockerfile))
        }
        false => Ok((dockerfile, report)),
    }
}

/// Adds what is wrong with instructions that can be read, whatever those say that cannot.
fn add_errors_of_the_rest(
    source: &SourceFile,
    options: &CompileOptions,
    dockerfile: &Dockerfile,
    report: &mut Report,
) {
    let request = Request {
        source,
        dockerfile,
        options,
        resolutions: &Resolutions::new(&Nowhere),
        platform: options.platforms.first().unwrap_or(&options.build_platform),
        is_one_of_several: false,
    };
    let mut rest = Report::default();
    lower::lower(&request, &mut PlanBuilder::new(), &mut rest);
    let of_words = |finding: &Diagnostic| {
        let mut labels = finding.labels.iter();
        lower::is_about_words(finding.code)
            && labels.all(|label| !source.slice(label.span).contains('$'))
    };
    let found = rest.into_findings(dockerfile).0.into_iter();
    found
        .filter(of_words)
        .for_each(|finding| report.add(finding));
}

/// Finds no image: a Dockerfile that cannot be built is no reason to ask a registry.
struct Nowhere;

impl ImageResolver for Nowhere {
    fn resolve(&self, _: &Reference, _: &Platform) -> Result<ResolvedBase, ResolveError> {
        Err("images are not looked for".into())
    }
}

fn is_for_other_frontend(findings: &Diagnostics) -> bool {
    let is_said = |finding: &Diagnostic| finding.code == Code::OTHER_FRONTEND;
    findings.0.iter().any(is_said)
}
