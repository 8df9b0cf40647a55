//! Commands that do next to nothing, one after the other and beside each other.

use std::fmt::Write as _;

use kiln_testdata::base::base_image;

use super::{Player, Promise, Row, Site, Size, Workload, scaled};
use crate::cost::Cost;
use crate::layout;
use crate::meter::Meter;
use crate::shell::shell;

const STEPS: usize = 30;
const STAGES: usize = 8;

/// Thirty commands, one after the other, none of them cached.
pub struct Steps;

impl Workload for Steps {
    fn rows(&self) -> &'static [Row] {
        const {
            &[Row {
                name: "run30",
                title: "30 × `RUN true`, none cached",
                promise: Promise::both(300, 270),
            }]
        }
    }

    fn rounds(&self) -> usize {
        7
    }

    fn size(&self, scale: f64) -> Size {
        Size {
            count: scaled(STEPS, scale),
            unit: "step",
        }
    }

    fn prepare(&self, site: &Site<'_>) {
        layout::unpack(&base_image(), &site.path("root"));
    }

    fn prime(&self, site: &Site<'_>, player: &Player<'_>) {
        prime(site, player);
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, number: usize) -> Vec<Option<Cost>> {
        let steps = site.scaled(STEPS);
        vec![build_steps(site, player, steps, number)]
    }

    fn limit(&self, site: &Site<'_>, meter: &Meter<'_>, _number: usize) -> Vec<Option<Cost>> {
        let script = "for n in $(seq $2); do
            unshare --mount --pid --ipc --uts --cgroup --fork chroot \"$1\" /bin/sh -c \"true $n\"
        done";
        let root = site.path("root").display().to_string();
        vec![Some(
            meter.run(shell(script, &[root, site.scaled(STEPS).to_string()])),
        )]
    }
}

/// Brings the base image, whose pull is not measured, and runs a command once.
pub(super) fn prime(site: &Site<'_>, player: &Player<'_>) {
    player.carry_out(player.contender.pull(&site.base()));
    let context = site.context("prime", &format!("FROM {}\nRUN true\n", site.base()));
    player.prepare(&context, "prime");
}

/// Measures a build of `steps` commands that only this round has.
pub(super) fn build_steps(
    site: &Site<'_>,
    player: &Player<'_>,
    steps: usize,
    number: usize,
) -> Option<Cost> {
    let dockerfile = dockerfile(site, steps, number);
    player.build(&site.context("context", &dockerfile), "steps")
}

/// Returns so many commands that only the round `number` has.
pub(super) fn dockerfile(site: &Site<'_>, steps: usize, number: usize) -> String {
    let mut text = format!("FROM {}\n", site.base());
    for step in 0..steps {
        let _ = writeln!(text, "RUN true {number} {step}");
    }
    text
}

/// Eight stages that need nothing of each other and each wait for a second.
pub struct Stages;

impl Workload for Stages {
    fn rows(&self) -> &'static [Row] {
        const {
            &[Row {
                name: "stages",
                title: "8 stages of `sleep 1`, a COPY from each",
                promise: Promise::wall(1_200),
            }]
        }
    }

    fn size(&self, scale: f64) -> Size {
        Size {
            count: scaled(STAGES, scale),
            unit: "stage",
        }
    }

    fn prepare(&self, _site: &Site<'_>) {}

    fn prime(&self, site: &Site<'_>, player: &Player<'_>) {
        prime(site, player);
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, number: usize) -> Vec<Option<Cost>> {
        let mut dockerfile = String::new();
        let stages = site.scaled(STAGES);
        for stage in 0..stages {
            let _ = writeln!(
                dockerfile,
                "FROM {} AS stage{stage}\nRUN sleep 1; echo {number} {stage} > /made",
                site.base()
            );
        }
        let _ = writeln!(dockerfile, "FROM {}", site.base());
        for stage in 0..stages {
            let _ = writeln!(dockerfile, "COPY --from=stage{stage} /made /made{stage}");
        }
        vec![player.build(&site.context("context", &dockerfile), "stages")]
    }

    fn limit(&self, _site: &Site<'_>, meter: &Meter<'_>, _number: usize) -> Vec<Option<Cost>> {
        vec![Some(meter.run(shell::<&str>("sleep 1", &[])))]
    }
}
