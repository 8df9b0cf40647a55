//! Steps of other processors: who runs them, and what is said when nobody can.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_testdata::command::stdout_of;
use kiln_testdata::foreign::{APT, foreign_image};
use kiln_testdata::needs::{self, Need};

use crate::harness::{Kiln, Ran, docker, world};

const EMULATED: &[Need] = &[
    Need::Root,
    Need::Program("mmdebstrap"),
    Need::Program("umoci"),
    Need::Program("qemu-aarch64-static"),
    Need::Program("busybox"),
];

/// Has `sh` start another program of its processor.
const DOCKERFILE: &str = "\
FROM base
COPY Dockerfile /
RUN sh -c 'id -u; uname -m' > /told && mkdir /made
";

fn base(platform: &str) -> String {
    let layout = foreign_image(platform, &[]);
    format!("--build-context=base=oci-layout://{}", layout.display())
}

/// Runs `kiln build` where no program but those in `path` is found.
fn build_with_path(kiln: &Kiln, path: &Path, context: &Path, arguments: &[&str]) -> Ran {
    let mut command = kiln.command_with_mirror();
    command.env("PATH", path);
    command.args(["build", "--progress=plain"]).args(arguments);
    command.arg(context);
    Ran::from(command)
}

/// Returns a directory with what `name` is to be, alone.
fn programs(kiln: &Kiln, named: &[(&str, &str)]) -> PathBuf {
    let directory = kiln.path("programs");
    fs::create_dir_all(&directory).unwrap();
    for (name, program) in named {
        let found = stdout_of(Command::new("sh").args(["-c", &format!("command -v {program}")]));
        let _ = fs::remove_file(directory.join(name));
        fs::copy(found.trim(), directory.join(name)).unwrap();
    }
    directory
}

#[test]
fn steps_of_other_processors_run_with_nothing_registered() {
    if !needs::met(EMULATED) {
        return;
    }
    for (platform, machines) in [
        ("linux/arm64", &["aarch64"][..]),
        ("linux/arm/v7", &["armv7l"]),
        ("linux/ppc64le", &["ppc64le"]),
        ("linux/riscv64", &["riscv64"]),
        ("linux/s390x", &["s390x"]),
        // Processors of 64 bits run it by themselves, and tell their own name.
        ("linux/386", &["i686", "x86_64"]),
    ] {
        let kiln = Kiln::new();
        let files = kiln.path("files");
        let output = format!("--output=type=local,dest={}", files.display());
        let platform_argument = format!("--platform={platform}");
        kiln.build(
            &kiln.context(DOCKERFILE),
            &[&platform_argument, &base(platform), &output],
        );
        let told = fs::read_to_string(files.join("told")).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 2, "{platform}: {told}");
        assert_eq!(lines[0], "0", "{platform}");
        assert!(machines.contains(&lines[1]), "{platform}: {told}");
    }
}

#[test]
fn packages_are_installed_in_a_step_of_another_processor() {
    if !needs::met(EMULATED) {
        return;
    }
    let kiln = Kiln::new();
    let layout = foreign_image("linux/arm64", APT);
    // What is only unpacked has no program that reads keys in text.
    let context = kiln.context(
        "FROM base\n\
         RUN keys=/usr/share/keyrings/debian-archive-keyring.gpg && \
             sed -i \"s,^deb ,deb [signed-by=$keys] ,\" /etc/apt/sources.list && \
             apt-get -o Acquire::Retries=3 -qq update && \
             apt-get -qq -y --no-install-recommends install busybox-static netbase\n\
         RUN busybox uname -m > /machine\n",
    );
    let files = kiln.path("files");
    kiln.build(
        &context,
        &[
            "--platform=linux/arm64",
            &format!("--build-context=base=oci-layout://{}", layout.display()),
            &format!("--output=type=local,dest={}", files.display()),
        ],
    );
    let machine = fs::read_to_string(files.join("machine")).unwrap();
    assert_eq!(machine, "aarch64\n");
    let status = fs::read_to_string(files.join("var/lib/dpkg/status")).unwrap();
    let netbase = status
        .split("\n\n")
        .find(|one| one.starts_with("Package: netbase\n"));
    let is_installed = |text: &str| text.contains("Status: install ok installed");
    assert!(netbase.is_some_and(is_installed), "{status}");
}

#[test]
fn missing_emulator_is_told_before_any_step_runs() {
    if !needs::met(EMULATED) {
        return;
    }
    let _disabled = Disabled::of("qemu-s390x");
    let kiln = Kiln::new();
    let context = kiln.context(
        "FROM --platform=linux/amd64 debian:bookworm AS native\nRUN echo native > /native\n\
         FROM base\nRUN echo foreign > /foreign\nCOPY --from=native /native /\n",
    );
    let nothing = programs(&kiln, &[]);
    // One at a time: the other stage comes first.
    let arguments = ["--jobs=1", "--platform=linux/s390x", &base("linux/s390x")];
    let ran = build_with_path(&kiln, &nothing, &context, &arguments);
    let ran = ran.failed_saying(
        1,
        &[
            "this machine cannot run programs for linux/s390x: it has no emulator for them",
            "RUN echo foreign",
            "hint: install emulators: `apt-get install qemu-user-static`",
        ],
    );
    assert!(
        !ran.stderr.contains("RUN echo native > /native DONE"),
        "{}",
        ran.description()
    );
    assert!(
        !ran.stderr.contains("] RUN echo native"),
        "{}",
        ran.description()
    );
}

#[test]
fn recorded_steps_need_no_emulator() {
    if !needs::met(EMULATED) {
        return;
    }
    let _disabled = Disabled::of("qemu-s390x");
    let kiln = Kiln::new();
    let context = kiln.context(DOCKERFILE);
    let arguments = ["--platform=linux/s390x", &base("linux/s390x")];
    kiln.build(&context, &arguments);
    let nothing = programs(&kiln, &[]);
    let ran = build_with_path(&kiln, &nothing, &context, &arguments).succeeded();
    assert_eq!(ran.executed_steps(), 0, "{}", ran.description());
    fs::write(
        context.join("Dockerfile"),
        format!("{DOCKERFILE}RUN sh -c true\n"),
    )
    .unwrap();
    build_with_path(&kiln, &nothing, &context, &arguments)
        .failed_saying(1, &["it has no emulator for them", "RUN sh -c true"]);
}

#[test]
fn broken_emulator_is_told_with_what_it_did() {
    if !needs::met(EMULATED) {
        return;
    }
    let _disabled = Disabled::of("qemu-s390x");
    let kiln = Kiln::new();
    let context = kiln.context(DOCKERFILE);
    // It knows no command of that name.
    let broken = programs(&kiln, &[("qemu-s390x-static", "busybox")]);
    let arguments = ["--platform=linux/s390x", &base("linux/s390x")];
    let ran = build_with_path(&kiln, &broken, &context, &arguments).failed_saying(
        1,
        &[
            "qemu-s390x-static is broken: it ended with exit code 127",
            "hint: install it again",
        ],
    );
    assert_eq!(ran.executed_steps(), 0, "{}", ran.description());
}

/// What a test registers with the kernel, which is everybody's.
struct Registered(&'static str);

const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// A registration of the machine's that does not count while a test wants none.
struct Disabled {
    path: String,
    _alone: MutexGuard<'static, ()>,
}

impl Disabled {
    fn of(name: &str) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let path = format!("{BINFMT}/{name}");
        if Path::new(&path).exists() {
            fs::write(&path, "0").unwrap();
        }
        Disabled {
            path,
            _alone: alone,
        }
    }
}

impl Drop for Disabled {
    fn drop(&mut self) {
        if Path::new(&self.path).exists() {
            let _ = fs::write(&self.path, "1");
        }
    }
}

impl Registered {
    /// Registers as `name` what a line of `binfmt.d` does as `usual`, with other flags.
    fn without_opening(name: &'static str, usual: &str) -> Self {
        let file = format!("/usr/lib/binfmt.d/{usual}.conf");
        let line = fs::read_to_string(file).unwrap().replacen(usual, name, 1);
        let line = line
            .trim()
            .strip_suffix("OPF")
            .expect("usual flags")
            .to_owned()
            + "OP";
        fs::write(format!("{BINFMT}/register"), line).unwrap();
        Registered(name)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let _ = fs::write(format!("{BINFMT}/{}", self.0), "-1");
    }
}

#[test]
fn emulator_that_steps_do_not_find_is_told() {
    if !needs::met(EMULATED) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context(DOCKERFILE);
    // Mounts what it registers with.
    kiln.run(&["binfmt", "install", "mips64le"]);
    kiln.run(&["binfmt", "remove", "mips64le"]);
    let _disabled = Disabled::of("qemu-ppc64le");
    let _registered = Registered::without_opening("kiln-test", "qemu-ppc64le");
    let listed = kiln.run(&["binfmt", "ls"]);
    let line = listed
        .lines()
        .find(|line| line.starts_with("linux/ppc64le"));
    assert!(
        line.is_some_and(|line| line.ends_with("registered without F: steps do not find it")),
        "{listed}"
    );
    let nothing = programs(&kiln, &[]);
    let arguments = ["--platform=linux/ppc64le", &base("linux/ppc64le")];
    build_with_path(&kiln, &nothing, &context, &arguments).failed_saying(
        1,
        &[
            "is registered as `kiln-test` without the flag `F`",
            "hint: register it so that steps find it, as root: `kiln binfmt install ppc64le`",
        ],
    );
    // One that steps bring along counts more than what is registered.
    kiln.build(&context, &arguments);
}

#[test]
fn registered_emulators_run_steps_until_they_are_removed() {
    if !needs::met(EMULATED) {
        return;
    }
    if Path::new(BINFMT).join("qemu-arm").exists() {
        eprintln!("skipped: the machine has an emulator registered that is not this test's");
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context(DOCKERFILE);
    let nothing = programs(&kiln, &[]);
    let arguments = ["--platform=linux/arm/v7", &base("linux/arm/v7")];
    let _registered = Registered("qemu-arm");
    let said = kiln.run(&["binfmt", "install", "arm"]);
    assert!(
        said.starts_with("linux/arm/v7: ") && said.contains("is registered"),
        "{said}"
    );
    let said = kiln.run(&["binfmt", "install", "linux/arm/v7"]);
    assert!(said.contains("was registered already"), "{said}");
    let listed = kiln.run(&["binfmt", "ls", "--format=json"]);
    let line = listed.lines().find(|line| line.contains("linux/arm/v7"));
    assert!(
        line.is_some_and(|line| line.contains("\"registered, runs\"")),
        "{listed}"
    );
    build_with_path(&kiln, &nothing, &context, &arguments).succeeded();
    kiln.run(&["binfmt", "remove", "arm"]);
    let other = Kiln::new();
    build_with_path(&other, &nothing, &context, &arguments)
        .failed_saying(1, &["it has no emulator for them"]);
    let mut again = kiln.command();
    again.args(["binfmt", "remove", "arm"]);
    Ran::from(again).failed_saying(2, &["no emulator is registered as qemu-arm"]);
}

#[test]
fn what_can_be_emulated_is_known() {
    let kiln = Kiln::new();
    let mut command = kiln.command();
    command.args(["binfmt", "install", "linux/amd46"]);
    Ran::from(command).failed_saying(
        2,
        &[
            "`linux/amd46` is no platform that can be emulated",
            "hint: it is one of amd64, 386",
        ],
    );
}

/// Runs as whoever the tests are run by: as root and as an unprivileged user.
#[test]
fn emulators_come_along_for_everybody() {
    let needed = [Need::Program("qemu-aarch64-static")];
    let layout = kiln_testdata::base::cache_directory().join("foreign-busybox-linux-arm64");
    let is_root = Need::Root.is_met();
    if !needs::met(&needed) || !(is_root && needs::met(EMULATED) || layout.exists()) {
        return;
    }
    let kiln = Kiln::new();
    let files = kiln.path("files");
    kiln.build(
        &kiln.context(DOCKERFILE),
        &[
            "--platform=linux/arm64",
            &base("linux/arm64"),
            &format!("--output=type=local,dest={}", files.display()),
        ],
    );
    assert_eq!(
        fs::read_to_string(files.join("told")).unwrap(),
        "0\naarch64\n"
    );
}

const SEVERAL: &str = "\
FROM --platform=linux/amd64 native AS tool
RUN echo once > /tool
FROM base-$TARGETARCH
ARG TARGETPLATFORM
RUN sh -c 'uname -m' > /machine && echo $TARGETPLATFORM > /platform
COPY --from=tool /tool /
";

/// What other tools have to be there for.
const READERS: &[Need] = &[
    Need::Program("skopeo"),
    Need::Program("docker-registry"),
    Need::Program("dockerd"),
    Need::Program("podman"),
];

#[test]
fn index_is_built_by_one_machine_and_read_by_other_tools() {
    if !needs::met(EMULATED) || !needs::met(READERS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context(SEVERAL);
    let name = format!("{}/emulated/several:1", world().registry.address());
    let named = |name: &str, platform: &str| {
        let layout = foreign_image(platform, &[]);
        format!("--build-context={name}=oci-layout://{}", layout.display())
    };
    let ran = kiln.build(
        &context,
        &[
            "--platform=linux/amd64,linux/arm64,linux/s390x",
            &named("native", "linux/amd64"),
            &named("base-amd64", "linux/amd64"),
            &named("base-arm64", "linux/arm64"),
            &named("base-s390x", "linux/s390x"),
            "--tag",
            &name,
            "--push",
        ],
    );
    let begun = ran
        .stderr
        .lines()
        .filter(|line| line.contains("] RUN echo once"));
    assert_eq!(begun.count(), 1, "{}", ran.description());
    // Each is for one of the platforms.
    assert!(
        !ran.stderr.contains("UnusedBuildContext"),
        "{}",
        ran.description()
    );
    let listed = kiln.run(&["images"]);
    assert!(
        listed.contains("linux/amd64,linux/arm64,linux/s390x"),
        "{listed}"
    );
    let shown = kiln.run(&["inspect", &name]);
    assert!(shown.contains("\"Platform\": \"linux/s390x\""), "{shown}");
    for (architecture, machine) in [
        ("amd64", "x86_64"),
        ("arm64", "aarch64"),
        ("s390x", "s390x"),
    ] {
        let config = stdout_of(Command::new("skopeo").args([
            "inspect",
            "--tls-verify=false",
            &format!("--override-arch={architecture}"),
            "--format={{.Architecture}}",
            &format!("docker://{name}"),
        ]));
        assert_eq!(config.trim(), architecture, "skopeo");
        assert_eq!(by_docker(&name, architecture), machine, "docker");
        assert_eq!(by_podman(&kiln, &name, architecture), machine, "podman");
    }
}

/// Returns what the image says of its machine, as Docker's engine has it.
fn by_docker(name: &str, architecture: &str) -> String {
    let platform = format!("--platform=linux/{architecture}");
    stdout_of(docker().client().args(["pull", "--quiet", &platform, name]));
    let container = stdout_of(docker().client().args(["create", &platform, name, "sh"]));
    let container = container.trim();
    let from = format!("{container}:/machine");
    let mut copy = docker().client();
    copy.args(["cp", &from, "-"]);
    let archive = kiln_testdata::command::output_of(&mut copy).stdout;
    stdout_of(docker().client().args(["rm", container]));
    // One file: a header of 512 bytes, and what it has.
    let content: Vec<u8> = archive[512..]
        .iter()
        .copied()
        .take_while(|byte| *byte != b'\n')
        .collect();
    String::from_utf8(content).unwrap()
}

/// As [`by_docker`], by podman with a store of its own.
fn by_podman(kiln: &Kiln, name: &str, architecture: &str) -> String {
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        let (root, run) = (kiln.path("podman"), kiln.path("podman-run"));
        command.args([
            "--root",
            root.to_str().unwrap(),
            "--runroot",
            run.to_str().unwrap(),
        ]);
        command.arg("--storage-driver=vfs");
        stdout_of(command.args(arguments))
    };
    let platform = format!("--platform=linux/{architecture}");
    podman(&["pull", "--quiet", "--tls-verify=false", &platform, name]);
    let directory = podman(&["image", "mount", name]);
    let told = fs::read_to_string(Path::new(directory.trim()).join("machine")).unwrap();
    podman(&["image", "unmount", name]);
    told.trim().to_owned()
}
