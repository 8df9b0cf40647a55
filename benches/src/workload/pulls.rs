//! A base image that is not here, and a command upon it.

use kiln_testdata::command::stdout_of;

use super::{Player, Promise, Row, Site, Size, Workload, remove, scaled};
use crate::cost::Cost;
use crate::layout;
use crate::meter::Meter;
use crate::shell::shell;

const LAYERS: usize = 5;
const LAYER_MIB: usize = 142;

/// An image of 712 MB in 21,000 files and five layers is pulled; `RUN true`.
pub struct Pull;

impl Workload for Pull {
    fn rows(&self) -> &'static [Row] {
        const {
            &[Row {
                name: "pull",
                title: "712 MB, 21,000 files, 5 layers pulled, `RUN true`",
                promise: Promise::both(4_200, 3_000),
            }]
        }
    }

    fn size(&self, scale: f64) -> Size {
        Size {
            count: scaled(LAYERS * LAYER_MIB, scale),
            unit: "MiB",
        }
    }

    fn prepare(&self, site: &Site<'_>) {
        let layout = site.path("layout");
        layout::write(&layout, LAYERS, site.scale, &site.path("tree"));
        site.registry.copy_in(&layout, "1", "large:1");
        let name = format!("{}/large:1", site.registry.address());
        site.context("context", &format!("FROM {name}\nRUN true\n"));
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, _number: usize) -> Vec<Option<Cost>> {
        player.contender.empty();
        vec![player.build(&site.path("context"), "pulled")]
    }

    fn limit(&self, site: &Site<'_>, meter: &Meter<'_>, _number: usize) -> Vec<Option<Cost>> {
        let target = site.path("unpacked");
        std::fs::create_dir(&target).expect("a directory");
        let script = "target=$1; for layer in \"${@:2}\"; do
            igzip -d < \"$layer\" | tar -C \"$target\" -xf -
        done";
        let paths = std::iter::once(target.clone()).chain(layout::layers(&site.path("layout")));
        let cost = meter.run(shell(script, &paths.collect::<Vec<_>>()));
        // In the background of what comes next it would cost that.
        stdout_of(std::process::Command::new("rm").arg("-rf").arg(&target));
        remove(&target);
        vec![Some(cost)]
    }
}
