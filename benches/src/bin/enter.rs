//! How long it takes from the request for a process to a command being executed in its sandbox.
//!
//! ```sh
//! cargo run --release -p kiln-benches --bin enter
//! ```
//!
//! As root that is the first rung; started by another user it is that user's. Needs a busybox that
//! is linked statically. Ends with an error when a promise is not kept.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use kiln_sandbox::runspec::{
    Confinement, Limits, NetworkSpec, ResolvedUser, Root, RunSpec, Rung, SecurityMode, defaults,
};
use kiln_sandbox::{Cancellation, Sandbox, host, init, user_namespace};

/// How often a sandbox is made, after one that is not counted.
const RUNS: usize = 200;

/// What everything that is executed is.
const PROGRAM: &str = "/bin/busybox";

fn main() -> ExitCode {
    if init::is_requested() {
        init::run_init();
    }
    if let Err(error) = user_namespace::enter_if_unprivileged() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let sandbox = Sandbox::new(host::probe()).expect("a sandbox");
    let directory = tempfile::tempdir().expect("a directory");
    make_root(directory.path()).expect("a root");
    let promised = match sandbox.host().rung {
        Rung::Root => Duration::from_millis(5),
        _ => Duration::from_millis(8),
    };
    println!("{:?}", sandbox.host().rung);
    println!("| network | median | nine of ten | promised of the median |");
    println!("|---|---|---|---|");
    let mut is_kept = true;
    let networks = [NetworkSpec::Private, NetworkSpec::Host, NetworkSpec::None];
    for network in networks {
        if network == NetworkSpec::Private && sandbox.private_network().is_err() {
            continue;
        }
        let times = times(&sandbox, directory.path(), network);
        let (median, most) = (times[RUNS / 2], times[RUNS * 9 / 10]);
        println!("| {network:?} | {median:.1?} | {most:.1?} | {promised:?} |");
        is_kept &= median <= promised;
    }
    match is_kept {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn make_root(directory: &Path) -> std::io::Result<()> {
    for name in ["lower/bin", "upper", "work"] {
        fs::create_dir_all(directory.join(name))?;
    }
    fs::copy(PROGRAM, directory.join("lower/bin/busybox"))?;
    symlink("busybox", directory.join("lower/bin/true"))
}

/// Returns how long each took, the shortest first.
fn times(sandbox: &Sandbox, directory: &Path, network: NetworkSpec) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..=RUNS)
        .map(|number| run(sandbox, directory, network, number))
        .skip(1)
        .collect();
    times.sort_unstable();
    times
}

fn run(sandbox: &Sandbox, directory: &Path, network: NetworkSpec, number: usize) -> Duration {
    // Kernels refuse what was the upper directory of another mount.
    for name in ["upper", "work"] {
        fs::remove_dir_all(directory.join(name)).expect("the directory of the run before");
        fs::create_dir(directory.join(name)).expect("a new directory");
    }
    let spec = RunSpec {
        root: Root::Overlay {
            lowers: vec![directory.join("lower")],
            upper: directory.join("upper"),
            work: directory.join("work"),
            user_xattrs: sandbox.host().rung.is_user_namespace(),
        },
        arguments: vec!["/bin/true".to_owned()],
        environment: vec![format!("PATH={}", defaults::PATH)],
        working_directory: "/".into(),
        user: ResolvedUser::default(),
        hostname: defaults::HOSTNAME.into(),
        hosts: "127.0.0.1 localhost\n".into(),
        resolv_conf: String::new(),
        mounts: Vec::new(),
        network,
        security: SecurityMode::Sandbox,
        limits: Limits::default(),
        resource_limits: Vec::new(),
        shm_size_bytes: None,
        cgroup_name: format!("enter-{}-{number}", std::process::id()),
        confinement: Confinement::default(),
        emulators: Vec::new(),
    };
    let never = Cancellation::new().expect("a cancellation");
    let outcome = sandbox.run(&spec, |_, _| (), &never).expect("a run");
    outcome.until_executed.expect("a time")
}
