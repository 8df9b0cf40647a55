//! How steps are confined: what the command line asks for.

use std::fs;

use kiln_testdata::needs::{self, Need};

use crate::harness::{Kiln, Ran};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Program("docker-registry"),
    Need::Program("skopeo"),
];

const EITHER: &[Need] = &[Need::Program("docker-registry"), Need::Program("skopeo")];

/// Owners, modes, links, deletions, renames, file capabilities, other users, cache and bind mounts.
const DOCKERFILE: &str = r#"FROM debian:bookworm AS base
COPY --chown=33:34 Dockerfile /srv/copied
RUN mkdir -p /made/deep && echo x >/made/deep/file && chown -R 1000:1001 /made/deep && \
    chmod 4755 /made/deep/file && rm -r /usr/share/doc && ln -s /made /link && \
    ln /made/deep/file /made/hard && mkfifo /made/pipe && mv /srv /moved
RUN perl -e 'my $c = pack("V5", 0x02000001, 1 << 10, 0, 0, 0); my ($p, $n) = ("/capable", "security.capability"); \
    open(F, ">$p"); close(F); exit(syscall(188, $p, $n, $c, 20, 0) != 0)'
RUN --mount=type=cache,target=/cache,uid=7 echo x >/cache/file && chown 8:8 /cache/file
RUN --mount=type=cache,target=/cache,uid=7 --mount=type=bind,target=/context,rw \
    test "$(stat -c %u:%g /cache /cache/file /context/Dockerfile | tr '\n' ' ')" = "7:0 8:8 0:0 " && \
    rm /context/Dockerfile && test "$(stat -c %u:%g /moved/copied)" = 33:34
USER www-data
WORKDIR /home/www
RUN echo mine >file && test "$(stat -c %U file)" = www-data && ! touch /etc/x
"#;

fn build(kiln: &Kiln, arguments: &[&str]) -> Ran {
    let mut command = kiln.command_with_mirror();
    command
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .args(["build", "--progress=plain", "--no-cache"])
        .args(arguments)
        .arg(kiln.context(DOCKERFILE));
    Ran::from(command)
}

#[test]
fn own_users_make_the_same_image() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    let id = |users: &str, file: &str| {
        let path = kiln.path(file);
        let iidfile = path.display().to_string();
        build(&kiln, &["--userns", users, "--iidfile", &iidfile]).succeeded();
        fs::read_to_string(path).unwrap()
    };
    assert_eq!(id("auto", "own"), id("host", "hosts"));
    kiln.run(&["store", "verify"]);
}

#[test]
fn roots_of_steps_with_own_users_are_users_outside() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context("FROM debian:bookworm\nRUN cat /proc/self/uid_map; id -u\n");
    let ran = kiln.build(&context, &["--userns=auto"]);
    let map = ran.stderr.lines().find(|line| line.ends_with(" 65536"));
    let map = map.unwrap_or_else(|| panic!("{}", ran.description()));
    let start: u32 = map.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(start >= 1 << 30, "{map}");
}

#[test]
fn profile_of_system_calls_is_obeyed() {
    if !needs::met(EITHER) {
        return;
    }
    let kiln = Kiln::new();
    let profile = kiln.path("profile.json");
    let rule = r#"{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}"#;
    let text = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{rule}]}}"#);
    fs::write(&profile, text).unwrap();
    let context = kiln.context(
        "FROM debian:bookworm\n\
         RUN mkdir /x 2>&1 | grep 'No space left' && unshare --user true && echo obeyed\n",
    );
    let option = format!("--security-opt=seccomp={}", profile.display());
    let ran = kiln.build(&context, &[&option]);
    assert!(ran.stderr.contains("obeyed"), "{}", ran.description());
    let ran = kiln.try_build(&context, &["--security-opt=seccomp=/dev/null"]);
    ran.failed_saying(2, &["cannot use the seccomp profile /dev/null"]);
}

#[test]
fn options_reach_the_step() {
    if !needs::met(EITHER) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context(
        "FROM debian:bookworm\n\
         RUN grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr '\\n\\t' '  '; echo end; \\\n\
         mkdir /a /b && touch /a/x && mv /a/x /b/x && ln /b/x /a/y && echo x >/dev/stdout\n",
    );
    // Users' steps make devices by a filter that forbids nothing.
    let unconfined = match Need::Root.is_met() {
        true => "NoNewPrivs: 0 Seccomp: 0 end",
        false => "NoNewPrivs: 0 Seccomp: 2 end",
    };
    let table = [
        (&[][..], "NoNewPrivs: 0 Seccomp: 2 end"),
        (
            &[
                "--security-opt=no-new-privileges",
                "--security-opt=landlock=root",
            ][..],
            "NoNewPrivs: 1 Seccomp: 2 end",
        ),
        (
            &[
                "--security-opt=seccomp=unconfined",
                "--security-opt=landlock=off",
            ][..],
            unconfined,
        ),
    ];
    for (arguments, expected) in table {
        let all = [&["--no-cache"][..], arguments].concat();
        let ran = kiln.build(&context, &all);
        assert!(ran.stderr.contains(expected), "{}", ran.description());
    }
    let ran = kiln.try_build(
        &context,
        &["--no-cache", "--security-opt=apparmor=nothing-of-this-name"],
    );
    ran.failed_saying(1, &["nothing-of-this-name"]);
    let ran = kiln.try_build(&context, &["--security-opt=privileged"]);
    ran.failed_saying(2, &["unknown security option `privileged`"]);
}
