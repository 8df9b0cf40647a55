//! What one sandbox costs, from the request to its end: as root, and as a user without rights.

use std::fs;
use std::process::Command;
use std::time::Duration;

use kiln_testdata::command::stdout_of;

use super::{Player, Promise, Row, Site, Size, Workload, steps};
use crate::contender::{Build, Kind};
use crate::cost::Cost;

/// Commands of the longer build.
const STEPS: usize = 41;
/// The user that `testdata/check-rootless` makes.
const USER: &str = "kilntest";

/// What a build of many commands takes more than a build of one, for each of them.
pub struct Sandboxes;

impl Workload for Sandboxes {
    fn rows(&self) -> &'static [Row] {
        const {
            &[
                Row {
                    name: "sandbox",
                    title: "one more `RUN true`, as root",
                    promise: Promise::wall(9),
                },
                Row {
                    name: "sandbox-rootless",
                    title: "the same as a user without rights",
                    promise: Promise::wall(12),
                },
            ]
        }
    }

    fn rounds(&self) -> usize {
        5
    }

    fn size(&self, _scale: f64) -> Size {
        Size {
            count: 1,
            unit: "step",
        }
    }

    fn prepare(&self, site: &Site<'_>) {
        for number in [1, STEPS] {
            site.context(&format!("context{number}"), "");
        }
    }

    fn prime(&self, site: &Site<'_>, player: &Player<'_>) {
        steps::prime(site, player);
        if is_rootless_possible(player) {
            let home = site.path("user");
            fs::create_dir(&home).expect("a directory");
            // Others may look at neither the disk's directory nor where the program lies.
            let script = "chown \"$1:\" \"$2\"; chmod 0755 \"$3\" \"$4\"; cp \"$5\" \"$2/kiln\"";
            let root = site.disk.path();
            let above = root.parent().expect("a directory above");
            let program = player.contender.version();
            let program = program.get_program();
            let given = [
                USER.as_ref(),
                home.as_os_str(),
                root.as_os_str(),
                above.as_os_str(),
                program,
            ];
            stdout_of(&mut crate::shell::shell(script, &given));
            player.carry_out(as_user(site, &player.contender.pull(&site.base())));
            build(site, player, 1, 0, Who::User);
        }
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, number: usize) -> Vec<Option<Cost>> {
        let measured = |who| {
            let one = build(site, player, 1, number, who)?;
            let many = build(site, player, STEPS, number, who)?;
            Some(difference(&many, &one))
        };
        let rootless = is_rootless_possible(player).then(|| measured(Who::User));
        vec![measured(Who::Root), rootless.flatten()]
    }
}

#[derive(Clone, Copy)]
enum Who {
    Root,
    User,
}

fn is_rootless_possible(player: &Player<'_>) -> bool {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let is_there = users
        .lines()
        .any(|line| line.starts_with(&format!("{USER}:")));
    is_there && player.contender.kind() == Kind::Kiln
}

fn build(
    site: &Site<'_>,
    player: &Player<'_>,
    steps: usize,
    number: usize,
    who: Who,
) -> Option<Cost> {
    let dockerfile = steps::dockerfile(site, steps, number);
    let context = site.context(&format!("context{steps}"), &dockerfile);
    let command = player.contender.build(&Build::kept(&context, "steps"))?;
    Some(player.meter.run(match who {
        Who::Root => command,
        Who::User => as_user(site, &command),
    }))
}

/// Returns `command` for the user, with a store of its own.
fn as_user(site: &Site<'_>, command: &Command) -> Command {
    let home = site.path("user");
    let mut other = Command::new("setpriv");
    other
        .args(["--reuid", USER, "--regid", USER, "--init-groups", "--"])
        .arg(home.join("kiln"))
        .args(command.get_args())
        .env("HOME", &home)
        .env("KILN_ROOT", home.join("store"))
        .env_remove("XDG_RUNTIME_DIR");
    other
}

/// Returns what each further step took.
fn difference(many: &Cost, one: &Cost) -> Cost {
    let each = |more: Duration, less: Duration| more.saturating_sub(less) / (STEPS as u32 - 1);
    Cost {
        wall: each(many.wall, one.wall),
        processor: each(many.processor, one.processor),
        ..*many
    }
}
