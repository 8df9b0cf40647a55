//! Programs of other processors: whether this machine runs them, and by whom.
//!
//! That is tried, in a sandbox like that of a step: by the smallest program of the processor,
//! in a root that has nothing else. First with what the kernel has registered; then the sandbox
//! brings an emulator of this machine along.

use crate::StepError;
use crate::step_sandbox::StepSandbox;
use kiln_disk::Store;
use kiln_oci::Platform;
use kiln_plan::{Exec, Op, Plan, SecurityMode, VertexId};
use kiln_sandbox::emulation::{EmulatorProgram, find, registered_for};
use kiln_sandbox::runspec::emulation::{PROGRAM_EXIT_CODE, Processor, Registration};
use kiln_sandbox::runspec::{
    self, Confinement, Limits, NetworkSpec, ResolvedUser, Root, RunSpec, Rung,
};
use kiln_sandbox::{Cancellation, Sandbox, SandboxError, Status};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use thiserror::Error;

/// Why this machine cannot run the programs of a platform.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EmulationError {
    /// There is no emulator.
    #[error("this machine cannot run programs for {platform}: it has no emulator for them")]
    Missing {
        /// The platform.
        platform: Platform,
    },
    /// There is one that steps do not find.
    #[error(
        "this machine cannot run programs for {platform}: the emulator {} is registered as \
         `{name}` without the flag `F`, and lies in no image",
        interpreter.display()
    )]
    NotOpened {
        /// The platform.
        platform: Platform,
        /// The name of the registration.
        name: String,
        /// The emulator.
        interpreter: PathBuf,
    },
    /// There is one, and it does not do what it should.
    #[error(
        "this machine cannot run programs for {platform}: the emulator {} is broken: {how}",
        emulator.display()
    )]
    Broken {
        /// The platform.
        platform: Platform,
        /// The emulator.
        emulator: PathBuf,
        /// What it did instead.
        how: String,
    },
    /// There is one, and it is neither registered, nor can a step bring it along.
    #[error(
        "this machine cannot run programs for {platform}: the emulator {} is not registered, \
         and steps cannot bring it along: {reason}",
        emulator.display()
    )]
    NotRegistered {
        /// The platform.
        platform: Platform,
        /// The emulator.
        emulator: PathBuf,
        /// Why it cannot be brought along.
        reason: String,
    },
}

impl EmulationError {
    /// Returns what helps.
    pub fn hint(&self) -> String {
        match self {
            EmulationError::Missing { platform } => format!(
                "install emulators: `apt-get install qemu-user-static`; on kernels before 6.7 \
                 also, as root, `kiln binfmt install {}`",
                platform.architecture
            ),
            EmulationError::NotOpened { platform, .. } => format!(
                "register it so that steps find it, as root: `kiln binfmt install {}`",
                platform.architecture
            ),
            EmulationError::Broken { .. } => {
                "install it again: `apt-get install --reinstall qemu-user-static`; `kiln binfmt \
                 ls` tells what runs"
                    .to_owned()
            }
            EmulationError::NotRegistered { platform, .. } => format!(
                "register it, as root: `kiln binfmt install {}`",
                platform.architecture
            ),
        }
    }
}

/// What is tried with.
pub(crate) struct Place<'a> {
    pub store: &'a Store,
    pub sandbox: &'a StepSandbox,
    pub confinement: &'a Confinement,
    pub cancellation: &'a Cancellation,
}

impl Place<'_> {
    fn sandbox(&self) -> Result<&Sandbox, StepError> {
        self.sandbox.get().map_err(StepError::Sandbox)
    }
}

/// What was found out, by the name of the processor.
#[derive(Debug, Default)]
pub(crate) struct Emulation {
    found: Mutex<BTreeMap<String, Result<Vec<Registration>, EmulationError>>>,
}

impl Emulation {
    /// Returns the emulators that the command `exec` takes along.
    pub fn emulators(
        &self,
        exec: &Exec,
        place: &Place<'_>,
    ) -> Result<Vec<Registration>, StepError> {
        let Some((platform, processor)) = exec.platform.as_ref().and_then(foreign) else {
            return Ok(Vec::new());
        };
        let taken = self.of_processor(platform, processor, place)?;
        let is_root = place.sandbox()?.host().rung == Rung::Root;
        match (exec.security, taken.first()) {
            (SecurityMode::Insecure, Some(one)) if is_root => {
                Err(StepError::from(EmulationError::NotRegistered {
                    platform: platform.clone(),
                    emulator: one.interpreter.clone(),
                    reason: "an insecure step has all rights of root, and is in no user namespace"
                        .to_owned(),
                }))
            }
            _ => Ok(taken),
        }
    }

    /// Returns whether this machine runs all commands that `targets` may need.
    pub fn fits(&self, plan: &Plan, targets: &[VertexId], place: &Place<'_>) -> bool {
        let mut needed = targets.to_vec();
        let mut seen = vec![false; plan.len()];
        while let Some(vertex) = needed.pop() {
            if std::mem::replace(&mut seen[vertex.index()], true) {
                continue;
            }
            let op = &plan.vertex(vertex).op;
            if matches!(op, Op::Exec(exec) if self.emulators(exec, place).is_err()) {
                return false;
            }
            needed.extend(op.inputs());
        }
        true
    }

    fn of_processor(
        &self,
        platform: &Platform,
        processor: &Processor,
        place: &Place<'_>,
    ) -> Result<Vec<Registration>, StepError> {
        // Until it is found out: others wait for it.
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found.get(processor.name) {
            return Ok(known.clone()?);
        }
        let emulators = find_out(platform, processor, place)?;
        found.insert(processor.name.to_owned(), emulators.clone());
        Ok(emulators?)
    }
}

/// Returns the platform with its processor, if that is another one than this machine's and
/// something is known of it.
fn foreign(platform: &Platform) -> Option<(&Platform, &'static Processor)> {
    let is_foreign =
        platform.os == "linux" && platform.architecture != Platform::host().architecture;
    let processor = Processor::named(&platform.architecture)?;
    is_foreign.then_some((platform, processor))
}

/// What the smallest program did.
#[derive(Debug, PartialEq, Eq)]
enum Trial {
    Ran,
    /// Nobody is known who would run it.
    Refused,
    /// Its emulator is not found from within the root.
    NotFound,
    /// It did something else.
    Failed(String),
    /// The sandbox could not be set up.
    NoSandbox(String),
}

fn find_out(
    platform: &Platform,
    processor: &Processor,
    place: &Place<'_>,
) -> Result<Result<Vec<Registration>, EmulationError>, StepError> {
    let by_kernel = try_program(processor, &[], place)?;
    if by_kernel == Trial::Ran {
        return Ok(Ok(Vec::new()));
    }
    let Some(program) = find(processor) else {
        return Ok(Err(without_program(platform, processor, by_kernel)));
    };
    let emulators = vec![program.registration(processor)];
    let trial = match place.sandbox()?.host().rung.has_namespaces() {
        true => try_program(processor, &emulators, place)?,
        false => Trial::NoSandbox("that takes namespaces".to_owned()),
    };
    Ok(match trial {
        Trial::Ran => Ok(emulators),
        trial => Err(with_program(
            platform,
            processor,
            program,
            (by_kernel, trial),
        )),
    })
}

/// Tells why a program does not run where no emulator is found.
fn without_program(platform: &Platform, processor: &Processor, by_kernel: Trial) -> EmulationError {
    let platform = platform.clone();
    match (registered_for(processor), by_kernel) {
        (Some(registered), Trial::NotFound) => EmulationError::NotOpened {
            platform,
            name: registered.name,
            interpreter: registered.interpreter,
        },
        (Some(registered), Trial::Failed(how)) => EmulationError::Broken {
            platform,
            emulator: registered.interpreter,
            how,
        },
        _ => EmulationError::Missing { platform },
    }
}

/// Tells why a program does not run although there is an emulator.
fn with_program(
    platform: &Platform,
    processor: &Processor,
    program: EmulatorProgram,
    trials: (Trial, Trial),
) -> EmulationError {
    let platform = platform.clone();
    let emulator = program.path;
    match trials {
        (_, Trial::Failed(how)) => EmulationError::Broken {
            platform,
            emulator,
            how,
        },
        (Trial::NotFound, Trial::NoSandbox(_)) if registered_for(processor).is_some() => {
            without_program(&platform, processor, Trial::NotFound)
        }
        (_, Trial::NoSandbox(reason)) => EmulationError::NotRegistered {
            platform,
            emulator,
            reason,
        },
        _ => EmulationError::Broken {
            platform,
            emulator,
            how: "the kernel does not run it".to_owned(),
        },
    }
}

/// Name of the smallest program in its root.
const PROGRAM: &str = "program";

fn try_program(
    processor: &Processor,
    emulators: &[Registration],
    place: &Place<'_>,
) -> Result<Trial, StepError> {
    use std::os::unix::fs::OpenOptionsExt;
    // Thrown away again.
    let layer = place.store.layers().begin()?;
    let path = layer.upper().join(PROGRAM);
    let mut options = std::fs::File::options();
    options.create_new(true).write(true).mode(0o755);
    let written = options
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &processor.program()));
    written.map_err(|source| StepError::File {
        action: "write",
        path,
        source,
    })?;
    // Over nothing at all: whether layers can be mounted does not matter.
    let root = Root::Directory {
        path: layer.upper(),
        aside: layer.work(),
    };
    let spec = specification(processor, emulators, place.confinement, root);
    judge(place.sandbox()?.run(&spec, |_, _| {}, place.cancellation))
}

fn judge(ran: Result<kiln_sandbox::Outcome, SandboxError>) -> Result<Trial, StepError> {
    Ok(match ran {
        Ok(outcome) => match outcome.status {
            Status::Exited(PROGRAM_EXIT_CODE) => Trial::Ran,
            Status::Exited(code) => Trial::Failed(format!("it ended with exit code {code}")),
            Status::Signalled(signal) => Trial::Failed(format!("signal {signal} killed it")),
        },
        Err(SandboxError::Cancelled) => return Err(StepError::Cancelled),
        Err(SandboxError::Exec { source, .. }) => match source.kind() {
            std::io::ErrorKind::NotFound => Trial::NotFound,
            _ if source.raw_os_error() == Some(EXEC_FORMAT) => Trial::Refused,
            _ => Trial::Failed(source.to_string()),
        },
        Err(error) => Trial::NoSandbox(error.to_string()),
    })
}

/// `ENOEXEC`: the kernel knows nobody who runs such programs.
const EXEC_FORMAT: i32 = 8;

fn specification(
    processor: &Processor,
    emulators: &[Registration],
    confinement: &Confinement,
    root: Root,
) -> RunSpec {
    RunSpec {
        root,
        arguments: vec![format!("/{PROGRAM}")],
        environment: Vec::new(),
        working_directory: "/".to_owned(),
        user: ResolvedUser {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
        },
        hostname: "kiln".to_owned(),
        hosts: String::new(),
        resolv_conf: String::new(),
        mounts: Vec::new(),
        network: NetworkSpec::Host,
        security: runspec::SecurityMode::Sandbox,
        limits: Limits::default(),
        resource_limits: Vec::new(),
        shm_size_bytes: None,
        cgroup_name: format!("emulator-{}-{}", processor.emulator, std::process::id()),
        confinement: confinement.clone(),
        emulators: emulators.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulators_are_for_other_processors_only() {
        let host = Platform::host();
        assert_eq!(foreign(&host), None);
        let (name, other) = match host.architecture.as_str() {
            "s390x" => ("arm64", "linux/arm64"),
            _ => ("s390x", "linux/s390x"),
        };
        let platform: Platform = other.parse().unwrap();
        assert_eq!(foreign(&platform).map(|(_, one)| one.name), Some(name));
        for unknown in ["windows/s390x", "linux/pdp11"] {
            assert_eq!(foreign(&unknown.parse().unwrap()), None, "{unknown}");
        }
    }
}
