//! A command that writes many small files, and the image that has them.

use super::{Player, Promise, Row, Site, Size, Workload, remove, scaled, steps, with_size};
use crate::cost::Cost;
use crate::meter::Meter;
use crate::shell::shell;

const FILES: usize = 50_000;
const FILES_OF_A_DIRECTORY: usize = 100;

/// A command writes them; then the image goes to an archive.
pub struct Many;

impl Workload for Many {
    fn rows(&self) -> &'static [Row] {
        const {
            &[
                Row {
                    name: "many-run",
                    title: "RUN writes 50,000 small files",
                    promise: Promise::processor(1_700),
                },
                Row {
                    name: "many-export",
                    title: "the image of them to an OCI archive",
                    promise: Promise::processor(800),
                },
            ]
        }
    }

    fn rounds(&self) -> usize {
        5
    }

    fn size(&self, scale: f64) -> Size {
        Size {
            count: scaled(FILES, scale),
            unit: "file",
        }
    }

    fn prepare(&self, _site: &Site<'_>) {}

    fn prime(&self, site: &Site<'_>, player: &Player<'_>) {
        steps::prime(site, player);
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, number: usize) -> Vec<Option<Cost>> {
        let script = script(site, "/many", number);
        let dockerfile = format!("FROM {}\nRUN {script}\n", site.base());
        let context = site.context("context", &dockerfile);
        let run = player.build(&context, "many");
        let archive = site.path("archive.tar");
        let export = player.contender.export("many", &context, &archive);
        let exported = with_size(Some(player.meter.run(export)), &archive);
        remove(&archive);
        vec![run, exported]
    }

    fn limit(&self, site: &Site<'_>, meter: &Meter<'_>, number: usize) -> Vec<Option<Cost>> {
        let (directory, archive) = (site.path("many"), site.path("many.tar.gz"));
        let write = script(site, &directory.display().to_string(), number);
        let mut written = std::process::Command::new("sh");
        written.arg("-c").arg(write);
        let written = meter.run(written);
        let read = "tar -C \"$1\" -cf - . | igzip -2 > \"$2\"";
        let read = meter.run(shell(read, &[&directory, &archive]));
        let read = with_size(Some(read), &archive);
        remove(&directory);
        remove(&archive);
        vec![Some(written), read]
    }
}

fn script(site: &Site<'_>, directory: &str, number: usize) -> String {
    let directories = site.scaled(FILES).div_ceil(FILES_OF_A_DIRECTORY);
    format!(
        "mkdir {directory}; for d in $(seq {directories}); do \
         mkdir {directory}/$d; for f in $(seq {FILES_OF_A_DIRECTORY}); do \
         echo \"file $f of directory $d of round {number}\" > {directory}/$d/$f; done; done"
    )
}
