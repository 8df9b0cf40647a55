//! `kiln build`: from arguments to an image, and what is said about it.

mod emulation;
mod failure;
mod inputs;
mod options;
mod results;

use crate::arguments::{BuildArguments, GlobalArguments, ProgressMode};
use crate::collect::Collector;
use crate::error::{Class, Failure};
use crate::progress::Progress;
use crate::resolver::StoreResolver;
use crate::session::Session;
use crate::{configuration, interrupt};
use inputs::{Fetcher, Inputs};
use kiln_dockerfile::Compilation;
use kiln_engine::sandbox::{Cancellation, host};
use kiln_engine::{BuildOutcome, BuildRequest, Builder, EngineOptions, PlannedImage};
use kiln_transfer::pull::PullPolicy;

pub fn run(global: &GlobalArguments, arguments: &BuildArguments) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let cancellation =
        Cancellation::new().map_err(|error| Failure::from_error(Class::Store, &error))?;
    let transfers = session.client.canceller();
    interrupt::listen(&cancellation, move || transfers.cancel())
        .map_err(|error| Failure::from_error(Class::Store, &error))?;
    let inputs = Inputs::read(
        arguments,
        &Fetcher {
            session: &session,
            arguments,
            cancellation: &cancellation,
        },
    )?;
    let collector = Collector::configured(global, &session.store)?;
    let compilation = compile(&session, arguments, &inputs)?;
    if arguments.print_plan {
        crate::output::write(format_args!("{compilation}"));
        return Ok(());
    }
    if arguments.check {
        return check(&compilation);
    }
    let request = request(global, arguments, &inputs, compilation)?;
    collector.before_build(&session.store);
    let built = build(&session, arguments, &inputs, &request, &cancellation);
    collector.after_build(&session.store);
    results::write(arguments, &request, &built?)
}

fn compile(
    session: &Session,
    arguments: &BuildArguments,
    inputs: &Inputs,
) -> Result<Compilation, Failure> {
    let policy = if arguments.pull {
        PullPolicy::Always
    } else {
        PullPolicy::Missing
    };
    let resolver = StoreResolver {
        store: &session.store,
        client: &session.client,
        policy,
        imported: &inputs.imported,
    };
    let mut options = options::compile_options(arguments)?;
    options.contexts = inputs.contexts.clone();
    let compiled = kiln_dockerfile::compile(&inputs.dockerfile, &options, &resolver);
    match compiled {
        Ok(compilation) => {
            tell_warnings(arguments, inputs, &compilation);
            Ok(compilation)
        }
        Err(_) if interrupt::is_received() => Err(Failure::cancelled()),
        Err(diagnostics) => {
            let is_about_images = diagnostics.0.iter().any(failure::is_about_an_image);
            let class = if is_about_images {
                Class::Image
            } else {
                Class::Dockerfile
            };
            let text = kiln_dockerfile::render(&inputs.dockerfile, &diagnostics.0, true);
            let failure = Failure::rendered(class, text);
            Err(match is_about_images {
                true => failure.with_hint(
                    "check the name, the network and the registry; `kiln images` lists what \
                     needs neither",
                ),
                false => failure,
            })
        }
    }
}

fn tell_warnings(arguments: &BuildArguments, inputs: &Inputs, compilation: &Compilation) {
    let warnings = &compilation.warnings.0;
    if !warnings.is_empty() && progress_mode(arguments) != ProgressMode::Quiet {
        crate::output::write_message(&kiln_dockerfile::render(&inputs.dockerfile, warnings, true));
    }
}

fn check(compilation: &Compilation) -> Result<(), Failure> {
    match compilation.warnings.0.len() {
        0 => {
            crate::output::say!("Check complete, no warnings found.");
            Ok(())
        }
        count => {
            let noun = if count == 1 {
                "warning has"
            } else {
                "warnings have"
            };
            Err(Failure::new(
                Class::Step,
                format!("check complete, {count} {noun} been found"),
            ))
        }
    }
}

fn request(
    global: &GlobalArguments,
    arguments: &BuildArguments,
    inputs: &Inputs,
    compilation: Compilation,
) -> Result<BuildRequest, Failure> {
    let modes = configuration::context_modes(global, arguments.context_modes.as_deref())?;
    let images = compilation.images.into_iter().map(|image| PlannedImage {
        platform: image.platform,
        result: image.result,
        config: image.config,
        history: image.history,
    });
    Ok(BuildRequest {
        build_id: kiln_engine::new_build_id(),
        plan: compilation.plan,
        images: images.collect(),
        directories: inputs.directories_with(modes),
        names: options::names(arguments)?,
        outputs: options::outputs(arguments)?,
        jobs: arguments.jobs.unwrap_or(options::DEFAULT_JOBS),
        limits: options::limits(arguments)?,
        secrets: options::secrets(arguments)?,
        ssh_agents: options::ssh_agents(arguments)?,
        allow_insecure: arguments
            .allow
            .iter()
            .any(|allowed| allowed == "security.insecure"),
        source_date_epoch: compilation.source_date_epoch_seconds,
    })
}

fn build(
    session: &Session,
    arguments: &BuildArguments,
    inputs: &Inputs,
    request: &BuildRequest,
    cancellation: &Cancellation,
) -> Result<BuildOutcome, Failure> {
    let engine = EngineOptions {
        host: host::probe(),
    };
    let builder = Builder::new(&session.store, &session.client, engine)?;
    let progress = Progress::start(progress_mode(arguments), &request.plan);
    inputs.tell_loads(&|event| progress.event(event));
    let tail = failure::Tails::default();
    let built = builder.build(request, cancellation, &|event| {
        tail.watch(&event);
        progress.event(event);
    });
    progress.finish();
    if arguments.explain {
        super::explain::tell(&session.store, &request.build_id);
    }
    built.map_err(|error| failure::of_build(error, request, inputs, &tail))
}

fn progress_mode(arguments: &BuildArguments) -> ProgressMode {
    match arguments.quiet {
        true => ProgressMode::Quiet,
        false => arguments.progress,
    }
}
