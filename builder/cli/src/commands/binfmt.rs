//! `kiln binfmt`: emulators for programs of other processors, registered with the kernel.

use crate::arguments::{BinfmtCommand, BinfmtInstallArguments, BinfmtRemoveArguments};
use crate::error::{Class, Failure};
use crate::table::Table;
use kiln_engine::sandbox::emulation::{
    InstallError, Installed, Registered, Trial, find, install, registered, registered_for, remove,
    try_program,
};
use kiln_engine::sandbox::host;
use kiln_engine::sandbox::runspec::Rung;
use kiln_engine::sandbox::runspec::emulation::Processor;
use kiln_oci::Platform;
use serde_json::json;

pub fn run(command: &BinfmtCommand) -> Result<(), Failure> {
    match command {
        BinfmtCommand::Install(arguments) => install_all(arguments),
        BinfmtCommand::Remove(arguments) => remove_all(arguments),
        BinfmtCommand::Ls(arguments) => list(&arguments.format),
    }
}

fn install_all(arguments: &BinfmtInstallArguments) -> Result<(), Failure> {
    let asked = processors(&arguments.platforms)?;
    require_root("install")?;
    let is_any = asked.is_empty();
    let chosen = match is_any {
        true => Processor::all().iter().filter(|one| !is_own(one)).collect(),
        false => asked,
    };
    let mut installed = 0;
    for processor in chosen {
        installed += usize::from(install_one(processor, is_any)?);
    }
    match installed {
        0 if is_any => Err(Failure::new(Class::Store, "no emulator was found in PATH")
            .with_hint("install some: `apt-get install qemu-user-static`")),
        _ => Ok(()),
    }
}

/// Returns whether programs of `processor` are run by an emulator now.
fn install_one(processor: &Processor, is_any: bool) -> Result<bool, Failure> {
    let name = platform_of(processor);
    // An entry of somebody else's would go on to count beside the new one.
    if trial_of(processor)? == Trial::Ran && !is_emulated(processor) {
        if !is_any {
            crate::output::say!("{name}: this machine runs its programs by itself");
        }
        return Ok(false);
    }
    let Some(program) = find(processor) else {
        if is_any {
            return Ok(false);
        }
        let message = format!("there is no emulator for {name} in PATH");
        return Err(Failure::new(Class::Store, message)
            .with_hint("install it: `apt-get install qemu-user-static`"));
    };
    let registration = program.registration(processor);
    let became = match install(&registration).map_err(failure)? {
        Installed::Before => "was registered already",
        Installed::Now => "is registered",
        Installed::Replaced => "is registered, in the place of another",
    };
    match trial_of(processor)? {
        Trial::Ran => {
            let path = program.path.display();
            crate::output::say!("{name}: {path} {became}");
            Ok(true)
        }
        trial => {
            remove(&registration.name).map_err(failure)?;
            Err(Failure::new(
                Class::Store,
                format!(
                    "the emulator {} is broken: {}",
                    program.path.display(),
                    describe(&trial)
                ),
            )
            .with_hint("install it again: `apt-get install --reinstall qemu-user-static`"))
        }
    }
}

fn remove_all(arguments: &BinfmtRemoveArguments) -> Result<(), Failure> {
    let asked = processors(&arguments.platforms)?;
    require_root("remove")?;
    let there = registered();
    let chosen: Vec<&Processor> = match arguments.all {
        true => Processor::all().iter().collect(),
        false => asked,
    };
    for processor in chosen {
        let (name, platform) = (processor.registration_name(), platform_of(processor));
        match there.iter().any(|one| one.name == name) {
            true => {
                remove(&name).map_err(failure)?;
                crate::output::say!("{platform}: {name} is removed");
            }
            false if arguments.all => {}
            false => {
                let message = format!("no emulator is registered as {name}");
                return Err(Failure::usage(message).with_hint("`kiln binfmt ls` lists them"));
            }
        }
    }
    Ok(())
}

/// How programs of a processor are run.
enum How {
    /// The kernel runs them.
    Natively,
    /// An emulator is registered for them.
    Registered(Registered),
    /// Steps bring this one along.
    BroughtAlong(std::path::PathBuf),
    /// They are not.
    NotAtAll,
}

fn list(format: &str) -> Result<(), Failure> {
    let mut table = Table::new(["PLATFORM", "EMULATOR", "FLAGS", "STATUS"]);
    for processor in Processor::all() {
        let trial = trial_of(processor)?;
        let how = how(processor, &trial);
        let (emulator, flags) = match &how {
            How::Registered(one) => (one.interpreter.display().to_string(), one.flags.clone()),
            How::BroughtAlong(path) => (path.display().to_string(), String::new()),
            How::Natively | How::NotAtAll => (String::new(), String::new()),
        };
        let status = status(&how, &trial);
        let platform = platform_of(processor);
        match format {
            "json" => crate::output::say!(
                "{}",
                json!({"platform": platform.to_string(), "emulator": emulator,
                       "flags": flags, "status": status})
            ),
            _ => table.add([platform.to_string(), emulator, flags, status]),
        }
    }
    if format != "json" {
        crate::output::write(format_args!("{table}"));
    }
    Ok(())
}

fn how(processor: &Processor, trial: &Trial) -> How {
    match (registered_for(processor), trial) {
        (Some(one), _) => How::Registered(one),
        (None, Trial::Ran) => How::Natively,
        (None, _) => match find(processor) {
            Some(program) => How::BroughtAlong(program.path),
            None => How::NotAtAll,
        },
    }
}

fn status(how: &How, trial: &Trial) -> String {
    match (how, trial) {
        (How::Natively, _) => "runs by itself".to_owned(),
        (How::Registered(one), Trial::Ran) if !one.is_opened() => {
            "registered without F: steps do not find it".to_owned()
        }
        (How::Registered(_), Trial::Ran) => "registered, runs".to_owned(),
        (How::Registered(_), trial) => format!("registered, broken: {}", describe(trial)),
        (How::BroughtAlong(_), _) => "not registered: steps bring it along".to_owned(),
        (How::NotAtAll, _) => "no emulator".to_owned(),
    }
}

fn describe(trial: &Trial) -> String {
    match trial {
        Trial::Ran => "it runs".to_owned(),
        Trial::Refused => "the kernel does not run it".to_owned(),
        Trial::Failed { how } => how.clone(),
    }
}

fn trial_of(processor: &Processor) -> Result<Trial, Failure> {
    let directory = std::env::temp_dir();
    try_program(processor, &directory).map_err(|error| {
        let what = format!("cannot write a program to {}", directory.display());
        Failure::caused(Class::Store, what, &error)
    })
}

fn is_emulated(processor: &Processor) -> bool {
    registered_for(processor).is_some()
}

fn is_own(processor: &Processor) -> bool {
    Platform::host().architecture == processor.name
}

fn platform_of(processor: &Processor) -> Platform {
    Platform::new("linux", processor.name, None)
}

fn processors(names: &[String]) -> Result<Vec<&'static Processor>, Failure> {
    let named = |name: &String| {
        let unknown = || {
            let known = Processor::all().iter().map(|one| one.name);
            let known: Vec<&str> = known.collect();
            Failure::usage(format!("`{name}` is no platform that can be emulated"))
                .with_hint(format!("it is one of {}", known.join(", ")))
        };
        let platform: Platform = name.parse().map_err(|_| unknown())?;
        let processor = Processor::named(&platform.architecture).filter(|_| platform.os == "linux");
        processor.ok_or_else(unknown)
    };
    names.iter().map(named).collect()
}

fn require_root(action: &str) -> Result<(), Failure> {
    match host::probe().rung {
        Rung::Root => Ok(()),
        _ => Err(Failure::new(
            Class::Store,
            format!("kiln binfmt {action} changes the kernel of this machine, which only its root may"),
        )
        .with_hint(
            "run it as root; builds of users bring emulators along where the kernel lets them (6.7)",
        )),
    }
}

fn failure(error: InstallError) -> Failure {
    let failure = Failure::from_error(Class::Store, &error);
    match error {
        InstallError::Mount(_) => failure.with_hint(
            "in a container, do it outside: registrations are the kernel's; elsewhere see \
             `modprobe binfmt_misc`",
        ),
        InstallError::Path(_) | InstallError::Refused { .. } => failure,
    }
}
