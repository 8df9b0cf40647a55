//! Cache mounts, `kiln du` and `kiln prune`, with real builds beside each other.
//!
//! Commands run from a static busybox and need root; without either the tests are skipped,
//! but fail where `CI=true`.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use kiln_testdata::needs::{self, Need, find_program};
use serde_json::Value;
use tempfile::TempDir;

/// A directory with a store and a context of busybox.
struct Place(TempDir);

impl Place {
    fn new() -> Option<Self> {
        if !needs::met(&[Need::Root, Need::Program("busybox")]) {
            return None;
        }
        let directory = tempfile::Builder::new().prefix("kiln-disk-").tempdir();
        Some(Self(directory.unwrap()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn context(&self, name: &str, lines: &str) -> PathBuf {
        let context = self.path(name);
        fs::create_dir_all(&context).unwrap();
        let base = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nENV PATH=/bin\n";
        fs::write(context.join("Dockerfile"), format!("{base}{lines}\n")).unwrap();
        fs::copy(find_program("busybox").unwrap(), context.join("busybox")).unwrap();
        context
    }

    fn kiln(&self, store: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command
            .args(arguments)
            .env("KILN_ROOT", self.path(store))
            .env("HOME", self.0.path())
            .env_remove("BUILDKIT_PROGRESS")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.kiln("store", arguments).output().unwrap()
    }

    /// Runs a command that must succeed; returns what it printed.
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            messages(&output)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn build(&self, context: &Path) -> Output {
        let context = context.to_str().unwrap();
        let output = self.run(&["build", "--progress=plain", "-t", "app", context]);
        assert!(output.status.success(), "{}", messages(&output));
        output
    }

    /// Starts a build whose messages go to a file of that name.
    fn start(&self, context: &Path, log: &str) -> Child {
        let context = context.to_str().unwrap();
        let mut command = self.kiln(
            "store",
            &["build", "--progress=plain", "--no-cache", context],
        );
        let log = File::create(self.path(log)).unwrap();
        command.stderr(log).stdout(Stdio::null()).spawn().unwrap()
    }

    fn wait_for(&self, log: &str, words: &str) -> String {
        let started = Instant::now();
        loop {
            let text = fs::read_to_string(self.path(log)).unwrap();
            if let Some(line) = text.lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "no `{words}`: {text}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn messages(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const LOCKED: &str = "RUN --mount=type=cache,target=/c,id=the-cache,sharing=locked ";

#[test]
fn build_says_for_whom_it_waits_and_goes_on_when_that_is_killed() {
    let Some(place) = Place::new() else { return };
    let holder = place.context("holder", &format!("{LOCKED}echo holds && sleep 600"));
    let waiter = place.context("waiter", &format!("{LOCKED}echo done"));
    let mut holder = place.start(&holder, "holder.log");
    place.wait_for("holder.log", " holds");
    let mut waiter = place.start(&waiter, "waiter.log");
    let line = place.wait_for("waiter.log", "waiting for cache mount `the-cache`");
    let process = format!("which process {} uses (build ", holder.id());
    assert!(line.contains(&process), "{line}");
    holder.kill().unwrap();
    let killed = Instant::now();
    assert!(waiter.wait().unwrap().success());
    assert!(killed.elapsed() < Duration::from_secs(10));
    holder.wait().unwrap();
}

#[test]
fn private_builds_have_directories_of_their_own_at_once() {
    let Some(place) = Place::new() else { return };
    let line = "RUN --mount=type=cache,target=/c,sharing=private ";
    let first = format!("{line}echo first > /c/who && echo holds && sleep 600");
    let mut first = place.start(&place.context("first", &first), "first.log");
    place.wait_for("first.log", " holds");
    let second = format!("{line}test ! -e /c/who && echo second > /c/who");
    place.build(&place.context("second", &second));
    let listed = place.succeed(&["cache-mount", "ls", "--format=json"]);
    let mount: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(mount["directories"], 2);
    assert_eq!(
        (&mount["id"], &mount["in_use"]),
        (&"/c".into(), &true.into())
    );
    let removed = place.run(&["cache-mount", "rm", "/c"]);
    assert!(messages(&removed).contains("cache mount `/c` is in use"));
    first.kill().unwrap();
    first.wait().unwrap();
    let third = format!("{line}cat /c/who");
    let third = messages(&place.build(&place.context("third", &third)));
    assert!(
        third.contains(" first"),
        "the first directory is free again: {third}"
    );
}

#[test]
fn new_mount_is_filled_from_its_seed_with_mode_and_owner() {
    let Some(place) = Place::new() else { return };
    let lines = "RUN mkdir /seed && echo seeded > /seed/file\n\
        FROM scratch\nCOPY --from=0 /bin /bin\nENV PATH=/bin\n\
        RUN --mount=type=cache,from=0,source=/seed,target=/c,mode=0751,uid=7,gid=8 \
        busybox stat -c '%a %u:%g' /c && cat /c/file && echo more > /c/file\n\
        RUN --mount=type=cache,target=/c,mode=0751,uid=7,gid=8 \
        test ! -e /c/file && echo another\n\
        RUN --mount=type=cache,from=0,source=/seed,target=/c,mode=0751,uid=7,gid=8,ro \
        cat /c/file && ! echo x 2>/dev/null > /c/file";
    let built = messages(&place.build(&place.context("c", lines)));
    for part in [" 751 7:8", " seeded", " another", " more"] {
        assert!(built.contains(part), "{part}: {built}");
    }
}

#[test]
fn prune_takes_nothing_from_a_running_build() {
    let Some(place) = Place::new() else { return };
    let lines = "RUN echo below > /below\nRUN --mount=type=cache,target=/c \
        echo runs; for i in 1 2 3 4 5 6 7 8 9 10; do cat /below > /c/$i; sleep 0.1; done\n\
        RUN cat /below";
    let mut build = place.start(&place.context("c", lines), "build.log");
    place.wait_for("build.log", " runs");
    let mut prunes = 0;
    while build.try_wait().unwrap().is_none() {
        place.succeed(&["prune", "--force", "--all"]);
        prunes += 1;
    }
    assert!(build.wait().unwrap().success() && prunes > 1);
    place.succeed(&["store", "verify"]);
    place.succeed(&["prune", "--force", "--all"]);
    let listed = place.succeed(&["du", "--format=json"]);
    let left: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(left["type"], "internal", "nothing else is left");
}

#[test]
fn sizes_add_up_to_what_the_store_takes() {
    let Some(place) = Place::new() else { return };
    let lines = "RUN --mount=type=cache,target=/c echo x > /c/x; ln /bin/busybox /bin/cp";
    place.build(&place.context("c", lines));
    let listed = place.succeed(&["du", "--format=json"]);
    let items: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let sum: u64 = items
        .iter()
        .map(|item| item["size_bytes"].as_u64().unwrap())
        .sum();
    let du = Command::new("du")
        .args(["--summarize", "--block-size=1"])
        .arg(place.path("store"))
        .output()
        .unwrap();
    let du = String::from_utf8(du.stdout).unwrap();
    assert_eq!(du.split_whitespace().next().unwrap(), sum.to_string());
    let kinds: Vec<&str> = items
        .iter()
        .filter_map(|item| item["type"].as_str())
        .collect();
    for kind in ["regular", "blob", "exec.cachemount", "log", "internal"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let only = place.succeed(&["du", "--format=json", "--filter=type=log"]);
    assert_eq!(only.lines().count(), 1);
}

#[test]
fn scripts_must_say_that_they_mean_it() {
    let Some(place) = Place::new() else { return };
    let refused = place.run(&["prune"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(messages(&refused).contains("hint: say --force"));
    let refused = place.run(&["prune", "--force", "--filter", "color=red"]);
    assert!(messages(&refused).contains("unknown filter `color=red`"));
}

#[test]
fn builds_collect_by_the_rules_of_the_configuration() {
    let Some(place) = Place::new() else { return };
    let context = place.context("c", "RUN echo old");
    place.build(&context);
    let whole = place.succeed(&["du", "--filter=type=regular", "--format=json"]);
    fs::write(
        place.path("config.toml"),
        "[[gc.rule]]\nmin-free-space = \"100%\"\n",
    )
    .unwrap();
    fs::write(
        context.join("Dockerfile"),
        "FROM scratch\nCOPY Dockerfile /\n",
    )
    .unwrap();
    let config = place.path("config.toml");
    let (config, context) = (config.to_str().unwrap(), context.to_str().unwrap());
    let built = place.run(&["build", "--config", config, "-t", "app", context]);
    assert!(built.status.success(), "{}", messages(&built));
    assert!(
        messages(&built).contains("of unused cache removed"),
        "{}",
        messages(&built)
    );
    // What the image of before had, which has no name any more, is gone by the next build.
    place.run(&["build", "--config", config, "-t", "app", context]);
    let left = place.succeed(&["du", "--filter=type=regular", "--format=json"]);
    assert!(left.lines().count() < whole.lines().count(), "{left}");
}

#[test]
fn mount_travels_to_another_store_by_directory_and_tar() {
    let Some(place) = Place::new() else { return };
    let lines = "RUN --mount=type=cache,target=/c,id=travels \
        mkdir /c/d && echo here > /c/d/file && chmod 4711 /c/d/file && ln /c/d/file /c/link";
    place.build(&place.context("there", lines));
    let directory = format!("type=local,dest={}", place.path("out").display());
    let sent = place.run(&["cache-mount", "export", "travels", "--to", &directory]);
    assert!(
        messages(&sent).contains("in 1 packs"),
        "{}",
        messages(&sent)
    );
    let again = place.run(&["cache-mount", "export", "travels", "--to", &directory]);
    assert!(
        messages(&again).contains("in 0 packs"),
        "{}",
        messages(&again)
    );

    let directory = format!("type=local,src={}", place.path("out").display());
    let import = ["cache-mount", "import", "--from", &directory];
    let fetched = place.kiln("other", &import).output().unwrap();
    assert!(fetched.status.success(), "{}", messages(&fetched));
    let used = "RUN --mount=type=cache,target=/c,id=travels busybox stat -c '%a %h' /c/link";
    let context = place.context("here", used);
    let arguments = ["build", "--progress=plain", context.to_str().unwrap()];
    let built = place.kiln("other", &arguments).output().unwrap();
    assert!(messages(&built).contains(" 4711 2"), "{}", messages(&built));

    let to = format!("id=travels,{}", directory.replace("src=", "dest="));
    let more = "RUN --mount=type=cache,target=/c,id=travels cat /c/d/file && echo more > /c/more";
    let context = place.context("both", more);
    let arguments = [
        "build",
        "--progress=plain",
        "--cache-mount-from=type=local,src=/nonexistent",
        &format!("--cache-mount-from={directory}"),
        &format!("--cache-mount-to={to}"),
        context.to_str().unwrap(),
    ];
    let built = place.kiln("third", &arguments).output().unwrap();
    let said = messages(&built);
    assert!(built.status.success() && said.contains(" here"), "{said}");
    assert!(
        said.contains("warning: cache mount not imported: there is no"),
        "{said}"
    );
    let fetched = place.kiln("other", &import).output().unwrap();
    assert!(
        messages(&fetched).contains("in 1 packs"),
        "{}",
        messages(&fetched)
    );

    let archive = place.path("mount.tar");
    let to = format!("type=tar,dest={}", archive.display());
    place.succeed(&["cache-mount", "export", "travels", "--to", &to]);
    let mut bytes = Vec::new();
    File::open(&archive)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert!(bytes.len() > 1024);
    let from = format!("type=tar,src={}", archive.display());
    place.succeed(&["cache-mount", "import", "--from", &from, "copied"]);
    let listed = place.succeed(&["cache-mount", "ls", "--filter=id=copied", "--quiet"]);
    assert_eq!(listed.lines().count(), 1);
}
