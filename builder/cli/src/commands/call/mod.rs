//! `kiln build --call`: questions about a Dockerfile, answered as `docker buildx` answers them.
//!
//! Nothing is built. Field names and tables are those that other tools read.

mod check;
mod excerpt;
pub mod json;
mod outline;
mod table;
mod targets;

pub use check::findings;

use crate::arguments::{Call, CallMethod};
use crate::error::{Class, Failure};
use kiln_dockerfile::{CompileOptions, ImageResolver, Privileges, Scope, SourceFile};

/// Answers `call` about the Dockerfile `source`.
pub fn run(
    call: &Call,
    source: &SourceFile,
    options: &CompileOptions,
    resolver: &dyn ImageResolver,
) -> Result<(), Failure> {
    match call.method {
        CallMethod::Build | CallMethod::Check => {
            let compiled = kiln_dockerfile::compile(source, &all_stages(options), resolver);
            check::answer(call, source, &check::findings(compiled))
        }
        CallMethod::Outline => {
            let outline = kiln_dockerfile::outline(source, options, resolver);
            outline::answer(
                call,
                source,
                &outline.map_err(|found| refusal(source, &found.0))?,
            );
            Ok(())
        }
        CallMethod::Targets => {
            let targets = kiln_dockerfile::targets(source);
            targets::answer(
                call,
                source,
                &targets.map_err(|found| refusal(source, &found.0))?,
            );
            Ok(())
        }
    }
}

/// Returns `options` for a check: without a target all stages are looked at, and as nothing is
/// run, nothing needs to be allowed.
pub fn all_stages(options: &CompileOptions) -> CompileOptions {
    let scope = match options.target {
        None => Scope::AllStages,
        Some(_) => Scope::Target,
    };
    CompileOptions {
        scope,
        privileges: Privileges::Unchecked,
        ..options.clone()
    }
}

fn refusal(source: &SourceFile, findings: &[kiln_dockerfile::Diagnostic]) -> Failure {
    let text = kiln_dockerfile::render(source, findings, true);
    Failure::rendered(Class::Dockerfile, text)
}
