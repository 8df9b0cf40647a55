//! Hostile Dockerfiles, contexts and roots: what must come of each. Beside the context lies a
//! canary, which no build may read or change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_testdata::needs::{self, Need};

use crate::harness::{Kiln, Ran};

const NEEDS: &[Need] = &[Need::Program("docker-registry"), Need::Program("skopeo")];

/// How a build must end.
enum Ends {
    /// With success, having said this.
    Well(&'static str),
    /// With this code, having said this.
    Badly(i32, &'static str),
}
use Ends::{Badly, Well};

const SECRET: &str = "HOST-SECRET";

/// A context beside a canary.
struct Site {
    kiln: Kiln,
    canary: PathBuf,
}

impl Site {
    fn new() -> Site {
        let kiln = Kiln::new();
        let canary = kiln.path("canary");
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("secret"), SECRET).unwrap();
        fs::write(canary.join("victim"), "").unwrap();
        Site { kiln, canary }
    }

    fn check(&self, dockerfile: &str, ran: Ran, ends: &Ends) {
        assert!(!ran.stderr.contains("panicked"), "{}", ran.description());
        let (code, part) = match ends {
            Well(part) => (0, part),
            Badly(code, part) => (*code, part),
        };
        assert_eq!(ran.code, Some(code), "{dockerfile}\n{}", ran.description());
        assert!(ran.stderr.contains(part), "{part}: {}", ran.description());
        assert!(!ran.stderr.contains(SECRET), "{}", ran.description());
        self.check_canary();
    }

    fn check_canary(&self) {
        let names: Vec<_> = fs::read_dir(&self.canary).unwrap().flatten().collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(
            fs::read_to_string(self.canary.join("secret")).unwrap(),
            SECRET
        );
        assert_eq!(fs::read_to_string(self.canary.join("victim")).unwrap(), "");
    }

    /// Builds with `CANARY` replaced by where the canary is.
    fn build(&self, dockerfile: &str, ends: &Ends) {
        let text = dockerfile.replace("CANARY", &self.canary.display().to_string());
        let context = self.kiln.context(&text);
        fs::write(context.join("file"), "of the context").unwrap();
        let link = context.join("out");
        if !link.is_symlink() {
            symlink(&self.canary, link).unwrap();
        }
        let ran = self.kiln.try_build(&context, &["--network=none"]);
        self.check(dockerfile, ran, ends);
        let left = fs::read_to_string(context.join("file")).unwrap();
        assert_eq!(left, "of the context");
    }

    fn all(&self, table: &[(&str, Ends)]) {
        for (lines, ends) in table {
            self.build(&format!("FROM debian:bookworm\n{lines}\n"), ends);
        }
    }
}

#[test]
fn copies_stay_in_the_context() {
    if !needs::met(NEEDS) {
        return;
    }
    Site::new().all(&[
        ("COPY ../canary/secret /", Badly(1, "canary/secret")),
        ("COPY /../../canary /", Badly(1, "canary")),
        ("ADD ../canary/secret /x", Badly(1, "canary/secret")),
        ("COPY CANARY/secret /x", Badly(1, "secret")),
        ("COPY out/secret /x", Badly(1, "out/secret")),
        ("COPY out/ /x/", Badly(1, "out")),
        ("COPY out /x", Badly(1, "symbolic link")),
        (
            "RUN ln -s CANARY /l\nCOPY file /l/\nRUN cat /l/file",
            Well("of the context"),
        ),
        (
            "RUN rm -rf /srv && ln -s ../../../../../..CANARY /srv\nCOPY file /srv/",
            Well("DONE"),
        ),
        (
            "WORKDIR /../../../../CANARY\nRUN echo x >victim && pwd",
            Well("canary"),
        ),
    ]);
}

#[test]
fn mounts_show_and_change_nothing_of_the_host() {
    if !needs::met(NEEDS) {
        return;
    }
    Site::new().all(&[
        (
            "RUN --mount=type=bind,rw,target=/c sh -c 'echo X >/c/pwn; rm -rf /c/*; echo gone'",
            Well("gone"),
        ),
        ("RUN --mount=type=bind,target=/c ! sh -c 'echo X >/c/file' && ! cat /c/out/secret", Well("DONE")),
        ("RUN --mount=type=bind,source=out,target=/c ls /c", Badly(1, "RUN")),
        ("RUN --mount=type=bind,source=../canary,target=/c ls /c", Badly(1, "canary")),
        (
            "RUN ln -s / /x && ln -s ../../../../.. /y\n\
             FROM debian:bookworm AS one\nRUN ln -s / /x && ln -s ../../../../../.. /y && touch /mark\n\
             FROM debian:bookworm\n\
             RUN --mount=type=bind,from=one,source=/x,target=/h --mount=type=bind,from=one,source=/y,target=/i \
             ls /h/mark /i/mark && ! ls /hCANARY /iCANARY",
            Well("/i/mark"),
        ),
        (
            "RUN --mount=type=cache,id=../../../../canary,target=/c echo x >/c/pwn && ls /c",
            Well("pwn"),
        ),
        (
            "RUN --mount=type=cache,id=CANARY,target=/c ls -A /c && echo nothing",
            Well("nothing"),
        ),
        (
            "RUN --mount=type=cache,target=/c,from=debian:bookworm,source=../../../CANARY cat /c/secret",
            Badly(1, ""),
        ),
        (
            "RUN --mount=type=tmpfs,target=/proc/sys true",
            Badly(1, "/proc/sys"),
        ),
        ("RUN --mount=type=tmpfs,target=/../../x touch /x/y && ls /x", Well("y")),
        ("RUN --mount=type=tmpfs,target=/ true", Badly(3, "")),
    ]);
}

#[test]
fn options_of_mounts_are_those_that_are_known() {
    if !needs::met(NEEDS) {
        return;
    }
    Site::new().all(&[
        (
            "RUN --mount=type=bind,bind-propagation=shared,target=/c true",
            Badly(3, "bind-propagation"),
        ),
        (
            "RUN --mount=type=bind,options=suid,target=/c true",
            Badly(3, "options"),
        ),
        (
            "RUN --mount=type=tmpfs,size=9E,target=/c true",
            Badly(3, "9E"),
        ),
        (
            "RUN --mount=type=tmpfs,size=-1,target=/c true",
            Badly(3, "-1"),
        ),
        (
            "RUN --mount=type=cache,mode=077777777777,target=/c true",
            Badly(3, "mode"),
        ),
        ("RUN --mount=type=secret,id=x,uid=-1 true", Badly(3, "uid")),
        ("RUN --mount=type=nfs,target=/c true", Badly(3, "nfs")),
    ]);
}

#[test]
fn nothing_weakens_the_sandbox_unless_it_was_allowed() {
    if !needs::met(NEEDS) {
        return;
    }
    Site::new().all(&[
        (
            "RUN true\nRUN --security=insecure id",
            Badly(3, "--allow security.insecure"),
        ),
        (
            "RUN true\nRUN --network=host id",
            Badly(3, "--allow network.host"),
        ),
        (
            "RUN true\nRUN --device=vendor/x=y id",
            Badly(3, "--allow device"),
        ),
        ("RUN --security=7 id", Badly(3, "7")),
        ("RUN --security= id", Badly(3, "security")),
        ("RUN --network=container:x id", Badly(3, "container:x")),
        ("RUN --privileged id", Badly(3, "--privileged")),
    ]);
}

#[test]
fn users_and_directories_of_steps_stay_inside() {
    if !needs::met(NEEDS) {
        return;
    }
    Site::new().all(&[
        ("WORKDIR /proc/self/fd/8\nRUN ls ..", Badly(1, "")),
        ("WORKDIR /proc/self/fd/3/../..\nRUN cat etc/shadow", Badly(1, "")),
        ("RUN ln -s / /l && ln -s ../../../../.. /m\nWORKDIR /l/..\nWORKDIR /m/CANARY\nRUN pwd -P", Well("canary")),
        ("RUN ln -s CANARY /l\nWORKDIR /l/made\nRUN pwd -P", Well("canary/made")),
        (
            "RUN echo '4294967296:x:0:0::/:/bin/sh' >>/etc/passwd\nUSER 4294967296\nRUN id -u",
            Badly(1, "4294967296"),
        ),
        ("USER 2147483648\nRUN id -u", Badly(1, "2147483648")),
        ("USER -1\nRUN id -u", Badly(1, "-1")),
        ("USER ../x\nRUN id -u", Badly(1, "../x")),
        ("USER 0:4294967296\nRUN id -g", Badly(1, "4294967296")),
        ("SHELL []\nRUN id", Badly(3, "SHELL")),
        ("EXPOSE 99999999", Badly(3, "99999999")),
        ("ENV LD_PRELOAD=/nowhere.so GCONV_PATH=/x LD_LIBRARY_PATH=/x\nRUN id -u", Well("DONE")),
        ("RUN printf '#!/proc/self/exe\\n' >/x && chmod 755 /x && (/x || true)", Well("DONE")),
        ("SHELL [\"/proc/self/exe\"]\nRUN id", Badly(1, "RUN")),
        ("SHELL [\"/proc/1/exe\", \"kiln-sandbox-init\"]\nRUN id", Badly(1, "RUN")),
    ]);
}

#[test]
fn accounts_of_a_root_may_be_anything() {
    if !needs::met(NEEDS) {
        return;
    }
    let begun = Instant::now();
    Site::new().all(&[
        (
            "RUN rm /etc/passwd && mkfifo /etc/passwd\nUSER www-data\nRUN id",
            Badly(1, "www-data"),
        ),
        (
            "RUN rm /etc/passwd && mkfifo /etc/passwd\nRUN echo still",
            Badly(1, "accounts"),
        ),
        (
            "RUN rm /etc/group && mkfifo /etc/group\nUSER www-data:www-data\nRUN id",
            Badly(1, "www-data"),
        ),
        (
            "RUN ln -sf CANARY/secret /etc/passwd\nUSER www-data\nRUN id",
            Badly(1, "www-data"),
        ),
        (
            "RUN ln -sf /dev/zero /etc/passwd\nUSER www-data\nRUN id",
            Badly(1, "www-data"),
        ),
        (
            "RUN ln -sf /proc/self/environ /etc/passwd\nUSER www-data\nRUN id",
            Badly(1, "www-data"),
        ),
        (
            "RUN truncate -s 20G /etc/passwd\nUSER www-data\nRUN id",
            Badly(1, "www-data"),
        ),
        (
            "RUN rm /etc/passwd && mkfifo /etc/passwd\nCOPY --chown=www-data file /x",
            Badly(1, "www-data"),
        ),
    ]);
    assert!(begun.elapsed() < Duration::from_secs(120));
}

#[test]
fn programs_of_an_image_are_run_by_its_steps_alone() {
    if !needs::met(NEEDS) {
        return;
    }
    let site = Site::new();
    let marker = site.kiln.path("marker");
    let programs = "tar xz unxz unpigz gzip zstd git modprobe newuidmap newgidmap mount nft ip";
    let dockerfile = format!(
        "FROM debian:bookworm\n\
         RUN for p in {programs}; do rm -f /usr/bin/$p /bin/$p; \
             printf '#!/bin/sh\\necho x >>{0}\\n' >/usr/bin/$p; chmod 755 /usr/bin/$p; done\n\
         ADD file.tar.xz /unpacked/\n\
         RUN test -e /unpacked/in-archive && test ! -e {0}\n",
        marker.display()
    );
    let context = site.kiln.context(&dockerfile);
    fs::write(context.join("in-archive"), "x").unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-C")
        .arg(&context)
        .args(["-cJf"])
        .arg(context.join("file.tar.xz"));
    kiln_testdata::command::stdout_of(tar.arg("in-archive"));
    site.kiln.build(&context, &[]);
    assert!(!marker.exists());
}

#[test]
fn endless_and_deep_dockerfiles_end_soon() {
    if !needs::met(NEEDS) {
        return;
    }
    let site = Site::new();
    let deep = "${a:-".repeat(10_000) + "x" + &"}".repeat(10_000);
    let stages: String = (0..20_000)
        .map(|n| format!("FROM scratch AS s{n}\n"))
        .collect();
    let table = [
        (
            format!("FROM scratch\nLABEL a={}\n", "x".repeat(1 << 20)),
            "error",
        ),
        (stages + "COPY nothing /\n", "nothing"),
        ("FROM two AS one\nFROM one AS two\n".to_owned(), "two"),
        ("FROM scratch AS a\nCOPY --from=a /x /x\n".to_owned(), "a"),
        (
            "FROM scratch\nCOPY <<EOT /x\nnever closed\n".to_owned(),
            "EOT",
        ),
        (format!("FROM scratch\nLABEL a={deep}\n"), "error"),
        (
            "FROM scratch\nONBUILD ONBUILD RUN x\n".to_owned(),
            "ONBUILD",
        ),
        ("FROM scratch\nLABEL a=\"\0\"\n".to_owned(), "error"),
        ("FROM scratch\nLABEL a=\x1b[2Jx b\n".to_owned(), "error"),
    ];
    for (text, part) in &table {
        let begun = Instant::now();
        let context = site.kiln.context(text);
        let ran = site.kiln.try_build(&context, &[]);
        let start: String = text.chars().take(40).collect();
        assert!(begun.elapsed() < Duration::from_secs(20), "{start}");
        assert!(!ran.stderr.contains("panicked"), "{start} {}", ran.stderr);
        assert_ne!(ran.code, Some(0), "{start}");
        assert!(ran.stderr.contains(part), "{start}: {}", ran.stderr);
        assert!(!ran.stderr.contains("\x1b[2J"), "{start}");
    }
}

#[test]
fn archives_as_contexts_stay_inside() {
    if !needs::met(NEEDS) || !needs::met(&[Need::Program("python3")]) {
        return;
    }
    let site = Site::new();
    let climb = "../".repeat(24);
    let script = format!(
        "import tarfile, io, sys\n\
         t = tarfile.open(fileobj=sys.stdout.buffer, mode='w|')\n\
         def add(name, data=b'', kind=tarfile.REGTYPE, to=''):\n\
         \x20   i = tarfile.TarInfo(name); i.size = len(data); i.type = kind; i.linkname = to\n\
         \x20   t.addfile(i, io.BytesIO(data))\n\
         exec(sys.argv[1].replace('CANARY', '{0}').replace('CLIMB', '{climb}'))\n\
         t.close()\n",
        site.canary.display()
    );
    let dockerfile =
        "add('Dockerfile', b'FROM debian:bookworm\\nCOPY . /x/\\nRUN ls -R /x >&2\\n')";
    let sym = "kind=tarfile.SYMTYPE";
    let hard = "kind=tarfile.LNKTYPE";
    for entries in [
        "add('CLIMBCANARY/pwn', b'x')".to_owned(),
        "add('CANARY/pwn', b'x')".to_owned(),
        format!("add('l', {sym}, to='CANARY'); add('l/pwn', b'x')"),
        format!("add('l', {sym}, to='CLIMBCANARY'); add('l/pwn', b'x')"),
        format!("add('h', {hard}, to='CANARY/secret')"),
        format!("add('l', {sym}, to='CANARY'); add('h', {hard}, to='l/secret')"),
        format!("add('f', {sym}, to='CANARY/victim'); add('f', b'x')"),
        format!("add('.', {sym}, to='CANARY'); add('pwn', b'x')"),
        format!("add('Dockerfile', {sym}, to='CANARY/victim')"),
    ] {
        let mut python = Command::new("python3");
        let program = format!("{dockerfile}; {entries}");
        let archive = python.args(["-c", &script, &program]).output().unwrap();
        assert!(
            archive.status.success(),
            "{}",
            String::from_utf8_lossy(&archive.stderr)
        );
        let path = site.kiln.path("context.tar");
        fs::write(&path, archive.stdout).unwrap();
        let mut command = site.kiln.command_with_mirror();
        command.args(["build", "--progress=plain", "-"]);
        command.stdin(fs::File::open(&path).unwrap());
        let output = command.stdout(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !said.contains(SECRET) && !said.contains("panicked"),
            "{entries}: {said}"
        );
        site.check_canary();
    }
}

/// What a shell hands on to a builder must not reach steps: capabilities that can be inherited,
/// descriptors, a terminal, the environment.
#[test]
fn what_the_builder_inherits_does_not_reach_steps() {
    if !needs::met(NEEDS) || !needs::met(&[Need::Root]) {
        return;
    }
    let site = Site::new();
    let context = site.kiln.context(
        "FROM debian:bookworm\n\
         RUN grep -E '^Cap(Inh|Amb)' /proc/self/status | grep -v 0000000000000000; \
             ls /proc/self/fd | tr '\\n' ' '; env | grep -c INHERITED; \
             (echo x >/dev/tty) 2>/dev/null || echo no terminal; ulimit -n\n",
    );
    let binary = crate::harness::binary().display().to_string();
    let script = format!(
        "exec 7<{0} 8</ 9>{0}/../opened; exec setpriv --inh-caps=+chown,+net_raw,+sys_admin --ambient-caps=+chown,+sys_admin \
         '{binary}' build --progress=plain '{1}'",
        site.canary.display(),
        context.display()
    );
    // With a terminal of its own.
    let mut command = Command::new("script");
    for (name, value) in site.kiln.command_with_mirror().get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.env("INHERITED", "yes").env("SHELL", "/bin/bash");
    command
        .args(["-qec", &script, "/dev/null"])
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    for part in ["0 1 2 3 0", "no terminal"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        !said.contains("CapInh") && !said.contains("CapAmb"),
        "{said}"
    );
    assert!(Path::new(&site.canary).exists());
}

/// Runs `kiln build` and returns what it said and the most memory it had, in KiB.
fn measured(site: &Site, dockerfile: &str) -> (Ran, u64) {
    let context = site.kiln.context(dockerfile);
    let mut command = Command::new("python3");
    for (name, value) in site.kiln.command_with_mirror().get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let program = "import resource, subprocess, sys\n\
        code = subprocess.call(sys.argv[1:])\n\
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\nsys.exit(code)";
    command.args(["-c", program]).arg(crate::harness::binary());
    command.args(["build", "--progress=plain"]).arg(context);
    let ran = Ran::from(command);
    let most = ran
        .stdout
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("{}", ran.description()));
    (ran, most)
}

#[test]
fn floods_of_output_are_told_in_bounded_memory() {
    if !needs::met(NEEDS) || !needs::met(&[Need::Program("python3")]) {
        return;
    }
    let site = Site::new();
    let (ran, least) = measured(&site, "FROM debian:bookworm\nRUN true\n");
    ran.succeeded();
    let (ran, most) = measured(
        &site,
        "FROM debian:bookworm\n\
         RUN head -c 60000000 /dev/zero | tr '\\0' x; echo; yes 0123456789 | head -c 4000000; \
         printf '\\377\\376\\000\\033[2J\\033]0;title\\007after'; exec 1>&-; echo last >&2\n",
    );
    let ran = ran.succeeded();
    assert!(!ran.stderr.contains(['\x1b', '\x07', '\0']));
    assert!(ran.stderr.contains("after") && ran.stderr.contains("last"));
    assert!(
        most < least + (128 << 10),
        "{least} KiB before, {most} KiB with"
    );
}

/// Images say who their steps are and where.
#[test]
fn configurations_of_images_are_held_to_the_same() {
    if !needs::met(NEEDS) || !needs::met(&[Need::Program("umoci")]) {
        return;
    }
    let table = [
        (
            &["--config.user", "4294967296:0"][..],
            Badly(1, "4294967296"),
        ),
        (&["--config.user", "-1"][..], Badly(1, "-1")),
        (
            &["--config.workingdir", "/proc/self/fd/7/../../.."][..],
            Well("in /"),
        ),
        (
            &["--config.workingdir", "/../../../CANARY"][..],
            Well("in /"),
        ),
        (
            &[
                "--config.volume",
                "/../../../CANARY",
                "--config.volume",
                "/proc",
            ][..],
            Well("in /"),
        ),
        (
            &["--config.env", "LD_PRELOAD=/nowhere.so"][..],
            Well("in /"),
        ),
    ];
    let site = Site::new();
    let layout = site.kiln.path("layout");
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(kiln_testdata::base::base_image());
    kiln_testdata::command::stdout_of(copy.arg(&layout));
    let canary = site.canary.display().to_string();
    let context = site.kiln.context("FROM evil\nRUN echo in $(pwd)\n");
    for (number, (options, ends)) in table.into_iter().enumerate() {
        let tag = kiln_testdata::base::BASE_TAG;
        let evil = format!("evil-{number}");
        let mut config = Command::new("umoci");
        config
            .arg("config")
            .arg("--image")
            .arg(format!("{}:{tag}", layout.display()));
        config.args(["--tag", &evil]);
        config.args(
            options
                .iter()
                .map(|option| option.replace("/CANARY", &canary)),
        );
        kiln_testdata::command::stdout_of(&mut config);
        let named = format!(
            "--build-context=evil=oci-layout://{}:{evil}",
            layout.display()
        );
        let ran = site.kiln.try_build(&context, &[&named]);
        site.check(&options.join(" "), ran, &ends);
    }
}
