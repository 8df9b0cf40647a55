//! One Dockerfile on every rung that makes namespaces: the same image, digest for digest.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use kiln_testdata::needs::{self, Need};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Ran, binary, world};

/// A user without ranges of ids, and without a name.
const NOBODY: &str = "65534";

/// A user with ranges; `testdata/check` makes it.
const USER_WITH_RANGES: &str = "kilntest";

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Program("docker-registry"),
    Need::Program("skopeo"),
    Need::Program("setpriv"),
    Need::Program("newuidmap"),
];

/// All that asks for ids: accounts, owners, devices, capabilities, archives that keep owners, links,
/// pipes, directories that hand on their group, and a user whose files are its own.
const DOCKERFILE: &str = r#"
FROM debian:bookworm
RUN useradd --create-home --uid 1234 ann && touch /home/ann/file && chown ann: /home/ann/file \
    && chmod 4750 /home/ann/file && install -o games -g mail -m 640 /etc/issue /srv/installed \
    && mkdir /srv/dev && mknod -m 666 /srv/dev/null c 1 3 && mknod -m 600 /srv/dev/disk b 8 1
RUN cp /bin/true /srv/able && case $(uname -m) in x86_64) call=188;; *) call=5;; esac \
    && perl -e 'my @words = ("/srv/able", "security.capability", pack("V5", 0x02000001, 0x2000, 0, 0, 0)); \
        syscall('$call', @words, 20, 0) == 0 or die "$!"'
RUN tar -C /srv --exclude=./dev --sort=name --mtime=@0 -cf /all.tar . && mkdir /copy && tar -C /copy -xf /all.tar \
    && cp -a /home/ann /ann && chgrp -R mail /copy && find / -xdev -user games | sort >/games
RUN setpriv --reuid=7 --regid=8 --clear-groups sh -c 'id >/tmp/id; mkdir /tmp/d; echo x >/tmp/d/x' \
    && test "$(stat -c %u:%g /tmp/d/x)" = 7:8
RUN ln -s issue /etc/link && chown -h 7:8 /etc/link && mkfifo -m 640 /srv/pipe && chown 7:8 /srv/pipe \
    && ln /home/ann/file /home/ann/further && install -d -m 2775 -g staff /srv/staff && cd /srv/staff \
    && touch file && mkdir deep && ln -s file link && mkfifo pipe && chmod 2755 deep
COPY --chown=7:8 linked /srv/linked/
USER ann
WORKDIR /home/ann/work
RUN id >id && mkdir deep && cp /etc/issue deep/ && ln -s issue deep/link && mkfifo deep/pipe \
    && umask 077 && touch deep/private
"#;

/// Where another user builds: directories that are its own, and a copy of the program.
struct Place {
    directory: TempDir,
    user: Option<String>,
}

impl Place {
    fn of(user: Option<&str>) -> Place {
        let directory = tempfile::Builder::new()
            .prefix("e2e-rungs-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a directory");
        let place = Place {
            directory,
            user: user.map(str::to_owned),
        };
        fs::copy(binary(), place.path("kiln")).expect("a copy of the program");
        fs::create_dir_all(place.path("own/context")).expect("directories");
        fs::write(place.path("own/context/Dockerfile"), DOCKERFILE).expect("the Dockerfile");
        fs::create_dir(place.path("own/context/linked")).expect("a directory");
        symlink("nowhere", place.path("own/context/linked/link")).expect("a link");
        if let Some(user) = user {
            let mut chown = Command::new("chown");
            chown.args(["-R", user]).arg(place.path("own"));
            Ran::from(chown).succeeded();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn kiln(&self) -> Command {
        let mut command = match &self.user {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
                command.arg(self.path("kiln"));
                command
            }
            None => Command::new(self.path("kiln")),
        };
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("own"))
            .env("KILN_ROOT", self.path("own/store"))
            .env("KILN_REGISTRY_MIRROR", world().registry.as_hub_mirror())
            .current_dir("/");
        command
    }

    /// Returns the rung, and the digest of the image.
    fn build(&self) -> (String, String) {
        let mut info = self.kiln();
        info.arg("info");
        let info = Ran::from(info).succeeded().stdout;
        let rung = info
            .lines()
            .find_map(|line| line.trim().strip_prefix("rung"));
        let metadata = self.path("own/metadata.json");
        let mut build = self.kiln();
        build
            .args([
                "build",
                "--progress=plain",
                "--reproducible",
                "--metadata-file",
            ])
            .arg(&metadata)
            .arg(format!(
                "--output=type=oci,dest={}",
                self.path("own/image.tar").display()
            ))
            .arg(self.path("own/context"));
        Ran::from(build).succeeded();
        let text = fs::read_to_string(metadata).expect("metadata");
        let metadata: Value = serde_json::from_str(&text).expect("JSON");
        let digest = metadata["containerimage.digest"]
            .as_str()
            .expect("a digest");
        (
            rung.unwrap_or_default().trim().to_owned(),
            digest.to_owned(),
        )
    }
}

#[test]
fn image_is_the_same_on_every_rung_with_namespaces() {
    if !needs::met(NEEDS) {
        return;
    }
    let ranges = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let has_ranges = ranges.starts_with(USER_WITH_RANGES) || ranges.contains("\nkilntest:");
    let users = [None, has_ranges.then_some(USER_WITH_RANGES), Some(NOBODY)];
    let (root, others) = users.split_first().expect("root");
    let expected = Place::of(*root).build();
    assert_eq!(expected.0, "root, in namespaces");
    let rungs = [
        "user namespace with a range of ids",
        "user namespace with one id",
    ];
    for (user, rung) in others.iter().zip(rungs) {
        match user {
            Some(user) => {
                let built = Place::of(Some(user)).build();
                assert_eq!(built, (rung.to_owned(), expected.1.clone()), "{user}");
            }
            None => println!("skipped: no user {USER_WITH_RANGES} with subordinate ids"),
        }
    }
}
