//! `kiln build`: from arguments to an image, and what is said about it.

mod confinement;
mod emulation;
mod failure;
mod git;
mod ignored;
mod inputs;
mod on_failure;
pub mod options;
mod results;
mod times;
mod verify;

use super::cache_mount;
use super::call;
use crate::arguments::{BuildArguments, GlobalArguments, ProgressMode};
use crate::arguments::{check_annotations, parse_annotations};
use crate::collect::Collector;
use crate::error::{Class, Failure};
use crate::progress::{Progress, tell_warnings};
use crate::resolver::StoreResolver;
use crate::session::Session;
use crate::{configuration, interrupt};
pub use failure::is_about_an_image;
pub use inputs::Fetcher;
use inputs::Inputs;
use kiln_dockerfile::{Compilation, CompileOptions, Diagnostics, SourceFile};
use kiln_engine::disk::Store;
use kiln_engine::registry::Client;
use kiln_engine::sandbox::{Cancellation, host};
use kiln_engine::{BuildOutcome, BuildRequest, Builder, EngineOptions, PlannedImage, Remotes};
use kiln_oci::{Annotation, AnnotationLevel, Annotations};
use kiln_transfer::pull::PullPolicy;
use times::Times;

pub fn run(global: &GlobalArguments, arguments: &BuildArguments) -> Result<(), Failure> {
    arguments.docker.examine()?;
    let (session, cancellation) = start(global)?;
    let inputs = Inputs::read(
        arguments,
        &Fetcher {
            session: &session,
            arguments,
            cancellation: &cancellation,
        },
    )?;
    if let Some(question) = arguments.question() {
        let options = compile_options(arguments, &inputs)?;
        let resolver = resolver(&session, arguments, &inputs, &cancellation);
        return call::run(&question, &inputs.dockerfile, &options, &resolver);
    }
    let collector = Collector::configured(global, &session.store)?;
    let compilation = compile(&session, arguments, &inputs, &cancellation)?;
    if arguments.print_plan {
        crate::output::write(format_args!("{compilation}"));
        return Ok(());
    }
    let warnings = compilation.warnings.clone();
    let request = request(global, arguments, &inputs, compilation)?;
    collector.before_build(&session.store);
    cache_mount::import_before_build(&session, &arguments.cache_mount_from)?;
    let built = build(&session, arguments, &inputs, &request, &cancellation);
    for warning in session.store.take_warnings() {
        crate::output::tell!("warning: {warning}");
    }
    collector.after_build(&session.store);
    tell_warnings(progress_mode(arguments), &inputs.dockerfile, &warnings);
    let built = built.or_else(|failure| on_failure::act(&session, arguments, &request, failure))?;
    results::write(arguments, &request, &built, (&inputs.dockerfile, &warnings))?;
    cache_mount::export_after_build(&session, &arguments.cache_mount_to)?;
    match arguments.verify_reproducible {
        true => verify::run(global, arguments, &session, (&request, &built), |second| {
            let session = Parts {
                store: second.store,
                client: &session.client,
                remotes: &session.remotes,
            };
            carry_out(&session, arguments, &inputs, second.request, &cancellation)
        }),
        false => Ok(()),
    }
}

/// Opens the store, and listens for signals that end what is done from here on.
pub fn start(global: &GlobalArguments) -> Result<(Session, Cancellation), Failure> {
    let session = Session::open(global)?;
    let cancellation =
        Cancellation::new().map_err(|error| Failure::from_error(Class::Store, &error))?;
    let transfers = session.client.canceller();
    interrupt::listen(&cancellation, move || transfers.cancel())
        .map_err(|error| Failure::from_error(Class::Store, &error))?;
    Ok((session, cancellation))
}

/// Returns the Dockerfile that `arguments` name, and what compiling all of it comes to.
pub fn check(
    session: &Session,
    cancellation: &Cancellation,
    arguments: &BuildArguments,
    policy: PullPolicy,
) -> Result<(SourceFile, Result<Compilation, Diagnostics>), Failure> {
    let fetcher = Fetcher {
        session,
        arguments,
        cancellation,
    };
    let inputs = Inputs::read(arguments, &fetcher)?;
    let options = call::all_stages(&compile_options(arguments, &inputs)?);
    let resolver = StoreResolver {
        policy,
        ..resolver(session, arguments, &inputs, cancellation)
    };
    let compiled = kiln_dockerfile::compile(&inputs.dockerfile, &options, &resolver);
    match interrupt::is_received() {
        true => Err(Failure::cancelled()),
        false => Ok((inputs.dockerfile, compiled)),
    }
}

fn resolver<'s>(
    session: &'s Session,
    arguments: &'s BuildArguments,
    inputs: &'s Inputs,
    cancellation: &'s Cancellation,
) -> StoreResolver<'s> {
    StoreResolver {
        fetcher: Fetcher {
            session,
            arguments,
            cancellation,
        },
        store: &session.store,
        client: &session.client,
        policy: match arguments.pull {
            true => PullPolicy::Always,
            false => PullPolicy::Missing,
        },
        imported: &inputs.imported,
    }
}

fn compile_options(arguments: &BuildArguments, inputs: &Inputs) -> Result<CompileOptions, Failure> {
    let options = options::compile_options(arguments)?;
    let mut labels = git::labels(arguments)?;
    // What is said in words counts more.
    labels.extend(options.labels);
    Ok(CompileOptions {
        contexts: inputs.contexts.clone(),
        ignored: ignored::of(inputs),
        labels,
        ..options
    })
}

fn compile(
    session: &Session,
    arguments: &BuildArguments,
    inputs: &Inputs,
    cancellation: &Cancellation,
) -> Result<Compilation, Failure> {
    let options = compile_options(arguments, inputs)?;
    let resolver = resolver(session, arguments, inputs, cancellation);
    let compiled = kiln_dockerfile::compile(&inputs.dockerfile, &options, &resolver);
    match compiled {
        Ok(compilation) => Ok(compilation),
        Err(_) if interrupt::is_received() => Err(Failure::cancelled()),
        Err(diagnostics) => {
            let is_about_images = diagnostics.0.iter().any(failure::is_about_an_image);
            let class = if is_about_images {
                Class::Image
            } else {
                Class::Dockerfile
            };
            let text = kiln_dockerfile::render(&inputs.dockerfile, &diagnostics.0, true);
            let hint = match text.contains("another digest than it says") {
                true => "`kiln store verify --repair` sets aside what is damaged in the store",
                false => {
                    "check the name, the network and the registry; `kiln images` lists what needs \
                     neither"
                }
            };
            let failure = Failure::rendered(class, text);
            Err(match is_about_images {
                true => failure.with_hint(hint),
                false => failure,
            })
        }
    }
}

fn request(
    global: &GlobalArguments,
    arguments: &BuildArguments,
    inputs: &Inputs,
    compilation: Compilation,
) -> Result<BuildRequest, Failure> {
    let times = Times::of(global, arguments)?;
    let modes = configuration::context_modes(global, arguments.context_modes.as_deref())?;
    let images = compilation.images.into_iter().map(|image| PlannedImage {
        platform: image.platform,
        result: image.result,
        config: image.config,
        history: image.history,
    });
    let request = BuildRequest {
        build_id: kiln_engine::new_build_id(),
        plan: compilation.plan,
        images: images.collect(),
        directories: inputs.directories_with(modes),
        listing: options::listing(arguments),
        annotations: annotations(arguments)?,
        names: options::names(arguments)?,
        outputs: options::outputs(arguments)?,
        cache_from: options::cache_from(arguments)?,
        cache_to: options::cache_to(arguments)?,
        jobs: arguments.jobs.unwrap_or_else(options::default_jobs),
        network: options::usual_network(global, arguments)?,
        processes: arguments.pids_limit,
        secrets: options::secrets(arguments)?,
        ssh_agents: options::ssh_agents(arguments)?,
        device_directories: options::device_directories(arguments),
        confinement: confinement::of(arguments)?,
        allow_insecure: arguments
            .allow
            .iter()
            .any(|allowed| allowed == "security.insecure"),
        times: times.of_image(compilation.source_date_epoch_seconds),
    };
    check_annotations(&request)?;
    Ok(request)
}

/// What git says first: what is said in words counts more.
fn annotations(arguments: &BuildArguments) -> Result<Annotations, Failure> {
    let of_git = git::annotations(arguments)?.into_iter();
    let of_git = of_git.map(|(key, value)| Annotation {
        level: AnnotationLevel::Manifest,
        platform: None,
        key,
        value,
    });
    let of_git: Annotations = of_git.collect();
    Ok(of_git.with(&parse_annotations(&arguments.annotation)?))
}

fn build(
    session: &Session,
    arguments: &BuildArguments,
    inputs: &Inputs,
    request: &BuildRequest,
    cancellation: &Cancellation,
) -> Result<BuildOutcome, Failure> {
    let parts = Parts {
        store: &session.store,
        client: &session.client,
        remotes: &session.remotes,
    };
    let built = carry_out(&parts, arguments, inputs, request, cancellation);
    if arguments.explain {
        super::explain::tell(&session.store, &request.build_id);
    }
    built
}

/// What a build works with.
struct Parts<'a> {
    store: &'a Store,
    client: &'a Client,
    remotes: &'a Remotes,
}

fn carry_out(
    session: &Parts<'_>,
    arguments: &BuildArguments,
    inputs: &Inputs,
    request: &BuildRequest,
    cancellation: &Cancellation,
) -> Result<BuildOutcome, Failure> {
    let engine = EngineOptions {
        probe: host::probe,
        limits: options::limits(arguments)?,
        remotes: session.remotes.clone(),
    };
    let builder = Builder::new(session.store, session.client, engine)?;
    let progress = Progress::start(progress_mode(arguments), &request.plan);
    inputs.tell_loads(&|event| progress.event(event));
    let tail = failure::Tails::default();
    let built = builder.build(request, cancellation, &|event| {
        tail.watch(&event);
        progress.event(event);
    });
    progress.finish();
    built.map_err(|error| failure::of_build(error, request, inputs, &tail))
}

fn progress_mode(arguments: &BuildArguments) -> ProgressMode {
    match arguments.quiet {
        true => ProgressMode::Quiet,
        false => arguments.progress,
    }
}
