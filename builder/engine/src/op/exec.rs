//! A command run in a sandbox over a stack; what it changes becomes a layer.

use super::mounts::{self, PreparedMounts};
use super::network::StepNetwork;
use super::step_root::StepRoot;
use super::{on_top, stack_of};
use crate::worker::{BuildWorker, Commands, Product};
use crate::{StepChange, StepError, scene};
use kiln_disk::{ActiveLayer, LayerId, StepUsage};
use kiln_layer::tree::Tree;
use kiln_layer::users::{Accounts, ResolvedUser};
use kiln_oci::Digest;
use kiln_plan::{Exec, SecurityMode, VertexId};
use kiln_sandbox::runspec::{self, Limits, ResourceLimit, RunSpec};
use kiln_sandbox::{Outcome, Status, Stream};
use std::io::Write;

pub(super) fn execute(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    exec: &Exec,
    inputs: &[Product],
) -> Result<Product, StepError> {
    check_allowed(worker, exec)?;
    let emulators = worker.emulators(exec)?;
    if worker.commands == Commands::Refused {
        return Err(StepError::Cancelled);
    }
    worker.sandbox()?.expect_run();
    let root = exec.root.and_then(|_| inputs.first());
    let mounted = &inputs[usize::from(exec.root.is_some())..];
    let stack = stack_of(root)?;
    let layer = worker.store.layers().begin()?;
    let mounts = mounts::prepare(worker, vertex, exec, mounted)?;
    let root = StepRoot::prepare(worker, stack)?;
    let spec = RunSpec {
        emulators,
        ..specification(worker, exec, stack, (&layer, &root), &mounts)?
    };
    let outcome = run(worker, vertex, &spec)?;
    drop(mounts);
    tell_usage(worker, vertex, &outcome);
    if let Err(error) = judge(worker, &outcome) {
        keep_for_a_look(worker, vertex, stack, (layer, root));
        return Err(error);
    }
    let id = root.commit(worker, stack, layer)?;
    Ok(on_top(stack, id))
}

/// Refuses a command that asks for more than it may have.
pub(super) fn check_allowed(worker: &BuildWorker<'_>, exec: &Exec) -> Result<(), StepError> {
    match exec.security == SecurityMode::Insecure && !worker.request.allow_insecure {
        true => Err(StepError::NotAllowed {
            what: "RUN --security=insecure",
            flag: "--allow security.insecure",
        }),
        false => Ok(()),
    }
}

/// Keeps what a failed command left. The step has failed in any case: that it cannot be entered
/// is told to whoever tries.
fn keep_for_a_look(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    stack: &[LayerId],
    (layer, root): (ActiveLayer, StepRoot),
) {
    if worker.cancellation.is_cancelled() {
        return;
    }
    let Ok(id) = root.commit(worker, stack, layer) else {
        return;
    };
    let left: Vec<LayerId> = stack.iter().cloned().chain([id]).collect();
    let name = &worker.request.plan.vertex(vertex).metadata.name;
    let key = worker.history.key(vertex);
    let key = key.unwrap_or_else(|| Digest::sha256(name.as_bytes()));
    if scene::keep(worker.store, &key, &left, name, &worker.request.build_id).is_ok() {
        worker.scenes.failed(vertex, left);
    }
}

/// Runs the command; its output goes to the observer and, whole but for secrets, to the
/// store's log.
fn run(worker: &BuildWorker<'_>, vertex: VertexId, spec: &RunSpec) -> Result<Outcome, StepError> {
    let step = vertex.index().to_string();
    let path = worker.store.logs().path(&worker.request.build_id, &step);
    let mut log = worker
        .store
        .logs()
        .writer(&worker.request.build_id, &step)?;
    let mut log_result = Ok(());
    let outcome = run_masked(worker, spec, |bytes| {
        if log_result.is_ok() {
            log_result = log.write_all(&bytes);
        }
        if !bytes.is_empty() {
            worker.tell(vertex, StepChange::Output(bytes));
        }
    });
    log_result.map_err(|source| StepError::File {
        action: "write the log",
        path,
        source,
    })?;
    outcome
}

/// Runs `spec`; `show` gets the output, without secrets.
pub(super) fn run_masked(
    worker: &BuildWorker<'_>,
    spec: &RunSpec,
    mut show: impl FnMut(Vec<u8>),
) -> Result<Outcome, StepError> {
    let mask = worker.request.secrets.mask();
    let (mut stdout, mut stderr) = (mask.stream(), mask.stream());
    let outcome = worker.sandbox()?.run(
        spec,
        |stream, bytes| match stream {
            Stream::Stdout => show(stdout.add(bytes)),
            Stream::Stderr => show(stderr.add(bytes)),
        },
        worker.cancellation,
    );
    show(stdout.finish());
    show(stderr.finish());
    outcome.map_err(failure)
}

pub(super) fn failure(error: kiln_sandbox::SandboxError) -> StepError {
    match error {
        kiln_sandbox::SandboxError::Cancelled => StepError::Cancelled,
        error => StepError::Sandbox(error),
    }
}

/// Tells what the command took, and notes it.
fn tell_usage(worker: &BuildWorker<'_>, vertex: VertexId, outcome: &Outcome) {
    let Some(usage) = outcome.usage else { return };
    let used = StepUsage {
        user_milliseconds: usage.user_microseconds / 1000,
        system_milliseconds: usage.system_microseconds / 1000,
        peak_memory_bytes: outcome
            .peak_memory_bytes
            .unwrap_or(usage.largest_process_bytes),
        read_bytes: usage.read_bytes,
        written_bytes: usage.written_bytes,
    };
    worker.history.used(vertex, used);
    worker.tell(vertex, StepChange::Used(used));
}

fn judge(worker: &BuildWorker<'_>, outcome: &Outcome) -> Result<(), StepError> {
    let remark = match (outcome.out_of_memory, outcome.out_of_processes) {
        (true, _) => Some(match outcome.peak_memory_bytes {
            Some(peak) => format!(
                "the memory limit was reached: it used {:.1} MB at once",
                peak as f64 / 1e6
            ),
            None => "the memory limit was reached".to_owned(),
        }),
        (false, true) => Some("the limit of processes was reached".to_owned()),
        _ => is_disk_full(worker).then(|| "the disk of the store is full".to_owned()),
    };
    match outcome.status {
        Status::Exited(0) => Ok(()),
        Status::Exited(code) => Err(StepError::Exit { code, remark }),
        Status::Signalled(signal) => Err(StepError::Signal { signal, remark }),
    }
}

/// Whether there is so little room that commands fail for want of it.
fn is_disk_full(worker: &BuildWorker<'_>) -> bool {
    const NEXT_TO_NOTHING: u64 = 1 << 20;
    let space = worker.store.file_system_space();
    space.is_ok_and(|space| space.available_bytes < NEXT_TO_NOTHING)
}

pub(super) fn specification(
    worker: &BuildWorker<'_>,
    exec: &Exec,
    stack: &[LayerId],
    (layer, root): (&ActiveLayer, &StepRoot),
    mounts: &PreparedMounts,
) -> Result<RunSpec, StepError> {
    let user = resolve_user(worker, exec, stack)?;
    let network = StepNetwork::of(worker, exec)?;
    Ok(RunSpec {
        root: root.described(worker, stack, layer)?,
        arguments: exec.arguments.clone(),
        environment: environment(exec, &user, mounts),
        working_directory: exec.working_directory.clone(),
        user: runspec::ResolvedUser {
            uid: user.uid,
            gid: user.gid,
            groups: user.groups.iter().chain(&mounts.groups).copied().collect(),
        },
        hostname: exec.hostname.clone(),
        hosts: network.hosts(exec)?,
        resolv_conf: network.resolv_conf,
        mounts: mounts.specifications.clone(),
        network: network.kind,
        security: match exec.security {
            SecurityMode::Sandbox => runspec::SecurityMode::Sandbox,
            SecurityMode::Insecure => runspec::SecurityMode::Insecure,
        },
        limits: Limits {
            pids: worker.request.processes,
            ..Limits::default()
        },
        resource_limits: resource_limits(exec),
        shm_size_bytes: exec.shm_size_bytes,
        cgroup_name: format!("{}-{}", &worker.request.build_id, &layer_name(layer)),
        confinement: worker.request.confinement.clone(),
        emulators: Vec::new(),
    })
}

fn layer_name(layer: &ActiveLayer) -> String {
    layer
        .directory()
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn resolve_user(
    worker: &BuildWorker<'_>,
    exec: &Exec,
    stack: &[LayerId],
) -> Result<ResolvedUser, StepError> {
    let tree = Tree::open(&worker.paths_with_content(stack)?, worker.whiteouts)?;
    Accounts::read(&tree)
        .and_then(|accounts| accounts.resolve_user(&exec.user))
        .map_err(|source| StepError::User {
            user: exec.user.clone(),
            source,
        })
}

/// The step's variables, those of proxies where it does not set them, `HOME` as runtimes set
/// it, and secrets.
fn environment(exec: &Exec, user: &ResolvedUser, mounts: &PreparedMounts) -> Vec<String> {
    let mut variables = exec.environment.clone();
    let home = ("HOME".to_owned(), user.home.clone());
    for (name, value) in exec.proxy_environment.iter().chain([&home]) {
        if !variables.iter().any(|(known, _)| known == name) {
            variables.push((name.clone(), value.clone()));
        }
    }
    for (name, value) in &mounts.environment {
        variables.retain(|(known, _)| known != name);
        variables.push((name.clone(), value.clone()));
    }
    variables
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn resource_limits(exec: &Exec) -> Vec<ResourceLimit> {
    let limits = exec.ulimits.iter();
    limits
        .map(|(name, soft, hard)| ResourceLimit {
            name: name.clone(),
            soft: *soft,
            hard: *hard,
        })
        .collect()
}
