//! Changes of what a command sees.

use super::{Case, check};
use crate::harness::world;
use kiln_testdata::base::{BASE_TAG, base_image};
use kiln_testdata::needs;

const NOTHING: &[&str] = &[];
const RUN: &[&str] = &["RUN"];
const TRUE: &str = "FROM BASE\nRUN true\n";
const SECRET: &str = "FROM BASE\nRUN --mount=type=secret,id=s,env=S true\n";
const CACHE: &str = "FROM BASE\nRUN --mount=type=cache,id=one,target=/c true\n";
const BOUND: &str = "FROM BASE\nRUN --mount=type=bind,source=dir,target=/m true\n";
const BUILT: &str = "FROM BASE AS build\nRUN echo 1 > /out\nRUN echo 2 > /other\n\
    FROM scratch\nCOPY --from=build /out /\n";

#[test]
fn commands_hit_when_they_see_the_same() {
    if !needs::met(needs::PEERS) {
        return;
    }
    world()
        .registry
        .copy_in(&base_image(), BASE_TAG, "library/debian:other-tag");
    let cases: &[Case] = &[
        ("nothing changed for a command", TRUE, |_| (), NOTHING),
        (
            "limits",
            TRUE,
            |p| {
                for limit in ["--memory=512m", "--cpus=1.5", "--pids-limit=100"] {
                    p.argue(limit);
                }
            },
            NOTHING,
        ),
        ("number of jobs", TRUE, |p| p.argue("--jobs=1"), NOTHING),
        (
            "name and labels of the image",
            TRUE,
            |p| {
                p.argue("--tag=x");
                p.argue("--label=a=b");
            },
            NOTHING,
        ),
        (
            "proxy",
            TRUE,
            |p| p.argue("--build-arg=http_proxy=http://127.0.0.1:9"),
            NOTHING,
        ),
        (
            "value of a secret",
            SECRET,
            |p| {
                p.write("../secret", "two");
                let path = p.path("../secret").display().to_string();
                p.argue(&format!("--secret=id=s,src={path}"));
            },
            NOTHING,
        ),
        (
            "name of a cache mount",
            CACHE,
            |p| p.replace("id=one", "id=two"),
            NOTHING,
        ),
        (
            "sharing of a cache mount",
            CACHE,
            |p| p.replace("id=one", "id=one,sharing=locked"),
            NOTHING,
        ),
        (
            "default name of a cache mount",
            CACHE,
            |p| p.replace("id=one,", ""),
            NOTHING,
        ),
        ("unread file", BOUND, |p| p.write("a.txt", "new"), NOTHING),
        (
            "directory of a bind mount has another name",
            BOUND,
            |p| {
                p.rename("dir", "lib");
                p.replace("source=dir", "source=lib");
            },
            NOTHING,
        ),
        (
            "label before a command",
            "FROM BASE\nLABEL a=1\nRUN true\n",
            |p| p.replace("a=1", "a=2"),
            NOTHING,
        ),
        (
            "argument after a command",
            "FROM BASE\nRUN true\nARG A=1\n",
            |p| p.replace("A=1", "A=2"),
            NOTHING,
        ),
        (
            "port before a command",
            "FROM BASE\nEXPOSE 1\nRUN true\n",
            |p| p.replace("EXPOSE 1", "EXPOSE 2"),
            NOTHING,
        ),
        (
            "tag of the base",
            TRUE,
            |p| p.replace("debian:bookworm", "debian:other-tag"),
            NOTHING,
        ),
        (
            "base by digest after --pull",
            TRUE,
            |p| p.argue("--pull"),
            NOTHING,
        ),
        (
            "same output of another command",
            BUILT,
            |p| p.replace("echo 1", "echo  1"),
            RUN,
        ),
        (
            "other output that nobody reads",
            BUILT,
            |p| p.replace("echo 2", "echo 3"),
            &["RUN echo 3"],
        ),
    ];
    check(cases, &[]);
}

#[test]
fn commands_miss_when_they_see_something_else() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let cases: &[Case] = &[
        ("command", TRUE, |p| p.replace("RUN true", "RUN :"), RUN),
        (
            "form of the command",
            TRUE,
            |p| p.replace("RUN true", "RUN [\"true\"]"),
            RUN,
        ),
        (
            "environment",
            "FROM BASE\nENV A=1\nRUN true\n",
            |p| p.replace("A=1", "A=2"),
            RUN,
        ),
        (
            "new variable",
            TRUE,
            |p| p.replace("RUN", "ENV NEW=1\nRUN"),
            RUN,
        ),
        (
            "argument",
            "FROM BASE\nARG A=1\nRUN true\n",
            |p| p.argue("--build-arg=A=2"),
            RUN,
        ),
        ("user", TRUE, |p| p.replace("RUN", "USER 7\nRUN"), RUN),
        (
            "working directory of a command",
            "FROM BASE\nWORKDIR /w\nRUN true\n",
            |p| p.replace("/w", "/v"),
            &["WORKDIR", "RUN"],
        ),
        (
            "shell",
            TRUE,
            |p| p.replace("RUN", "SHELL [\"/bin/bash\", \"-c\"]\nRUN"),
            RUN,
        ),
        (
            "extra host",
            TRUE,
            |p| p.argue("--add-host=db:10.0.0.2"),
            RUN,
        ),
        (
            "network",
            TRUE,
            |p| p.replace("RUN", "RUN --network=none"),
            RUN,
        ),
        (
            "limit of open files",
            TRUE,
            |p| p.argue("--ulimit=nofile=1024"),
            RUN,
        ),
        ("shared memory", TRUE, |p| p.argue("--shm-size=128m"), RUN),
        (
            "variable of a secret",
            SECRET,
            |p| p.replace("env=S", "env=T"),
            RUN,
        ),
        (
            "target of a cache mount",
            CACHE,
            |p| p.replace("target=/c", "target=/d"),
            RUN,
        ),
        (
            "mode of a cache mount",
            CACHE,
            |p| p.replace("id=one", "id=one,mode=0700"),
            RUN,
        ),
        ("bound file", BOUND, |p| p.write("dir/x.txt", "new"), RUN),
        (
            "target of a bind mount",
            BOUND,
            |p| p.replace("target=/m", "target=/n"),
            RUN,
        ),
        (
            "size of a tmpfs",
            "FROM BASE\nRUN --mount=type=tmpfs,target=/t true\n",
            |p| p.replace("target=/t", "target=/t,size=64m"),
            RUN,
        ),
        (
            "earlier command",
            "FROM BASE\nRUN true one\nRUN true two\n",
            |p| p.replace("true one", "true 1"),
            RUN,
        ),
        (
            "only later commands",
            "FROM BASE\nRUN true one\nRUN true two\n",
            |p| p.replace("true two", "true 2"),
            &["RUN true 2"],
        ),
        (
            "file that an earlier step copied",
            "FROM BASE\nCOPY a.txt /\nRUN true\n",
            |p| p.write("a.txt", "new"),
            &["COPY", "RUN"],
        ),
        (
            "--no-cache runs commands only",
            "FROM BASE AS one\nCOPY a.txt /\nFROM BASE\nCOPY a.txt /\nRUN true\n",
            |p| p.argue("--no-cache"),
            RUN,
        ),
        (
            "--no-cache-filter by stage",
            "FROM BASE AS one\nRUN echo 1 > /1\nFROM BASE AS two\nRUN echo 2 > /2\n\
            COPY --from=one /1 /\n",
            |p| p.argue("--no-cache-filter=one"),
            &["RUN echo 1"],
        ),
        (
            "--no-cache-filter by line",
            "FROM BASE\nRUN true a\nRUN true b\nRUN true c\n",
            |p| p.argue("--no-cache-filter=:4"),
            &["RUN true b", "RUN true c"],
        ),
        (
            "--no-cache-filter by stage and line",
            "FROM BASE AS one\nRUN true a\nFROM one AS two\nRUN true b\nRUN true c\n",
            |p| p.argue("--no-cache-filter=two:6"),
            &["RUN true c"],
        ),
        (
            "what is built upon a stage that ran again",
            "FROM BASE AS one\nRUN true a\nFROM one AS two\nRUN true b\n",
            |p| p.argue("--no-cache-filter=one"),
            RUN,
        ),
    ];
    check(cases, &[]);
}

#[test]
fn host_addresses_and_secret_values_do_not_count() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let cases: &[Case] = &[(
        "address of an extra host",
        TRUE,
        |p| {
            p.arguments = vec!["--add-host=db:10.0.0.3".to_owned()];
        },
        NOTHING,
    )];
    check(cases, &["--add-host=db:10.0.0.2"]);
}
