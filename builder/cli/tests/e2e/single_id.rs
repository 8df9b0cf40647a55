//! A user without subordinate IDs handles images with owners, devices and capabilities that no
//! file of the user's can have: what goes out is what came in.

use std::path::Path;
use std::process::Command;

use kiln_testdata::command::stdout_of;
use kiln_testdata::needs::{self, Need};

use crate::harness::Kiln;
use crate::overlay_store::{USER, admit, run};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Program("busybox"),
    Need::Program("setpriv"),
    Need::Program("setcap"),
];

/// Root's image: files of others, devices, a capability, set-id bits, a deletion.
const BASE: &str = "\
FROM scratch
COPY busybox /bin/busybox
ADD capable.tar /
RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]
RUN mkdir -p /srv/gone /srv/dir && echo x >/srv/file && chown 33:34 /srv/file && chmod 4755 /srv/file \\
    && chown 1000:1000 /srv/dir && chmod 2775 /srv/dir && echo y >/srv/dir/inner \\
    && chown 4294967294:7 /srv/dir/inner && mknod /srv/block b 8 1 && mknod /srv/character c 5 1 \\
    && chown 0:6 /srv/block && chmod 660 /srv/block
RUN rmdir /srv/gone
";

/// What both make of it: a step on top, and all files in a new layer.
const ON_TOP: &str = "\
FROM base AS stepped
RUN echo new >/srv/new && chmod 600 /srv/new && rm /srv/character
FROM scratch
COPY --from=stepped / /
";

fn write_context(kiln: &Kiln) {
    let context = kiln.context(BASE);
    std::fs::copy("/bin/busybox", context.join("busybox")).expect("busybox");
    std::fs::write(context.join("on-top"), ON_TOP).expect("a Dockerfile");
    let tree = kiln.path("tree");
    std::fs::create_dir(&tree).expect("a directory");
    std::fs::write(tree.join("capable"), "program").expect("a file");
    let mut setcap = Command::new("setcap");
    stdout_of(setcap.arg("cap_net_raw+ep").arg(tree.join("capable")));
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "-cf"]);
    tar.arg(context.join("capable.tar")).arg("-C").arg(&tree);
    stdout_of(tar.arg("capable"));
}

/// Loads the base, builds on top of it, and returns the archive of all files.
fn build_on_top(kiln: &Kiln, root: &Path, user: Option<u32>, archive: &str, name: &str) -> Vec<u8> {
    let run = |arguments: &[&str]| run(kiln, root, user, arguments).succeeded();
    run(&["load", "--input", archive]);
    let output = kiln.path("home").join(name);
    let destination = format!("type=tar,dest={}", output.display());
    let build = ["build", "-q", "-f", "on-top", "-t", "top", "--output"];
    run(&[&build[..], &[&destination, "."]].concat());
    run(&["store", "verify"]);
    std::fs::read(output).expect("an archive")
}

#[test]
fn user_with_one_id_gives_back_owners_devices_and_capabilities() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    write_context(&kiln);
    let roots = kiln.path("roots");
    let archive = kiln.path("base.tar").display().to_string();
    run(&kiln, &roots, None, &["build", "-q", "-t", "base", "."]).succeeded();
    run(&kiln, &roots, None, &["save", "-o", &archive, "base"]).succeeded();
    let expected = build_on_top(&kiln, &roots, None, &archive, "roots.tar");
    admit(&kiln, USER);
    let users = kiln.path("home/users");
    let found = build_on_top(&kiln, &users, Some(USER), &archive, "users.tar");
    assert!(found == expected, "other files");
    let listing = stdout_of(
        Command::new("tar")
            .args(["-tvf"])
            .arg(kiln.path("home/users.tar"))
            .arg("--numeric-owner"),
    );
    for part in ["33/34", "1000/1000", "4294967294/7", "8,1"] {
        assert!(listing.contains(part), "{part} is not in {listing}");
    }
    assert!(String::from_utf8_lossy(&found).contains("SCHILY.xattr.security.capability="));
    // What goes out again is the archive that came in.
    let again = kiln.path("home/again.tar").display().to_string();
    run(&kiln, &users, Some(USER), &["save", "-o", &again, "base"]).succeeded();
    let read = |path: &str| std::fs::read(path).expect("an archive");
    assert!(read(&again) == read(&archive), "another archive");
}
