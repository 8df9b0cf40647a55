//! Builds over a context of many files of which nothing, or one, has changed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Player, Promise, Row, Site, Size, Workload, remove, scaled};
use crate::contender::Build;
use crate::content::write_tree;
use crate::cost::Cost;
use crate::meter::Meter;
use crate::shell::shell;

const FILES: usize = 20_000;
const FILE_BYTES: usize = 3_600;
const IGNORED_FILES: usize = 500;
const AT_ONCE: usize = 4;

/// A build of twelve steps that has nothing to do.
pub struct Nothing;

impl Workload for Nothing {
    fn rows(&self) -> &'static [Row] {
        const {
            &[Row {
                name: "noop",
                title: "12 steps over 20,000 files, all cached",
                promise: Promise::processor(120),
            }]
        }
    }

    fn rounds(&self) -> usize {
        9
    }

    fn size(&self, scale: f64) -> Size {
        files(scale)
    }

    fn prepare(&self, site: &Site<'_>) {
        let mut dockerfile = format!("FROM {}\nWORKDIR /all\nCOPY . /all/\n", site.base());
        for step in 0..5 {
            let _ = write!(dockerfile, "COPY d0/e{step} /e{step}/\nRUN true {step}\n");
        }
        let context = write_context(site, "context", &dockerfile);
        write_tree(&context.join("ignored"), IGNORED_FILES, FILE_BYTES);
        fs::write(context.join(".dockerignore"), "ignored\n").expect("an ignore file");
    }

    fn prime(&self, site: &Site<'_>, player: &Player<'_>) {
        player.prepare(&site.path("context"), "noop");
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, _number: usize) -> Vec<Option<Cost>> {
        vec![player.build(&site.path("context"), "noop")]
    }

    fn limit(&self, site: &Site<'_>, meter: &Meter<'_>, _number: usize) -> Vec<Option<Cost>> {
        vec![Some(meter.run(walk(&site.path("context"))))]
    }
}

/// One file has changed: all are copied, one command runs.
pub struct OneFile;

impl Workload for OneFile {
    fn rows(&self) -> &'static [Row] {
        const {
            &[Row {
                name: "change",
                title: "one of 20,000 files changed, all copied, `RUN true`",
                promise: Promise::processor(900),
            }]
        }
    }

    fn rounds(&self) -> usize {
        5
    }

    fn size(&self, scale: f64) -> Size {
        files(scale)
    }

    fn prepare(&self, site: &Site<'_>) {
        write_context(site, "context", &copy_all(site));
        write_linked(site, "linked");
    }

    fn prime(&self, site: &Site<'_>, player: &Player<'_>) {
        player.prepare(&site.path("context"), "change");
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, number: usize) -> Vec<Option<Cost>> {
        let context = site.path("context");
        change(&context, number);
        vec![player.build(&context, "change")]
    }

    fn limit(&self, site: &Site<'_>, meter: &Meter<'_>, _number: usize) -> Vec<Option<Cost>> {
        let script = "cp -al \"$1\" \"$1-copy\"";
        let cost = meter.run(shell(script, &[site.path("linked")]));
        remove(&site.path("linked-copy"));
        vec![Some(cost)]
    }
}

/// Four such builds at once, over contexts of their own and one store.
pub struct FourAtOnce;

impl Workload for FourAtOnce {
    fn rows(&self) -> &'static [Row] {
        const {
            &[Row {
                name: "four-change",
                title: "four builds at once, of 20,000 files each, one changed in each",
                promise: Promise::processor(3_000),
            }]
        }
    }

    fn size(&self, scale: f64) -> Size {
        files(scale * AT_ONCE as f64)
    }

    fn prepare(&self, site: &Site<'_>) {
        for number in 0..AT_ONCE {
            let context = write_context(site, &context_name(number), &copy_all(site));
            // Otherwise the four would be one.
            fs::write(context.join("which"), number.to_string()).expect("a file");
            write_linked(site, &format!("linked{number}"));
        }
    }

    fn prime(&self, site: &Site<'_>, player: &Player<'_>) {
        for number in 0..AT_ONCE {
            let name = context_name(number);
            player.prepare(&site.path(&name), &name);
        }
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, number: usize) -> Vec<Option<Cost>> {
        let names: Vec<String> = (0..AT_ONCE).map(context_name).collect();
        let builds = names.iter().map(|name| {
            let context = site.path(name);
            change(&context, number);
            player.contender.build(&Build::kept(&context, name))
        });
        let builds: Option<Vec<Command>> = builds.collect();
        vec![builds.map(|builds| player.meter.run_all(builds))]
    }

    fn limit(&self, site: &Site<'_>, meter: &Meter<'_>, _number: usize) -> Vec<Option<Cost>> {
        let script = "for n in 0 1 2 3; do cp -al \"$1$n\" \"$1$n-copy\" & done; wait";
        let cost = meter.run(shell(script, &[site.path("linked")]));
        for number in 0..AT_ONCE {
            remove(&site.path(&format!("linked{number}-copy")));
        }
        vec![Some(cost)]
    }
}

fn files(scale: f64) -> Size {
    Size {
        count: scaled(FILES, scale),
        unit: "file",
    }
}

fn context_name(number: usize) -> String {
    format!("context{number}")
}

fn copy_all(site: &Site<'_>) -> String {
    format!("FROM {}\nWORKDIR /src\nCOPY . .\nRUN true\n", site.base())
}

fn write_context(site: &Site<'_>, name: &str, dockerfile: &str) -> std::path::PathBuf {
    let context = site.context(name, dockerfile);
    write_tree(&context, site.scaled(FILES), FILE_BYTES);
    context
}

/// Writes files for the limit. Those of a context are not linked to: their status would change,
/// and who goes by that would read them all again.
fn write_linked(site: &Site<'_>, name: &str) {
    write_tree(&site.path(name), site.scaled(FILES), FILE_BYTES);
}

fn change(context: &Path, number: usize) {
    fs::write(context.join("d0/e1/changed"), number.to_string()).expect("a changed file");
}

/// This program looks at each file once.
fn walk(context: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg("--walk").arg(context);
    command
}
