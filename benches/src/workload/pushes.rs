//! An image of a GiB sent to registries.

use std::fs;
use std::path::Path;

use kiln_testdata::distribution::{Registry, Setup};
use walk::bytes_below;

use super::{Player, Promise, Row, Site, Size, Workload, large};
use crate::cost::Cost;
use crate::meter::Meter;
use crate::shell::shell;
use crate::walk;

/// To an empty one, to another empty one, and again to that with another small layer.
pub struct Pushes;

impl Workload for Pushes {
    fn rows(&self) -> &'static [Row] {
        const {
            &[
                Row {
                    name: "push",
                    title: "1 GiB pushed to an empty registry",
                    promise: Promise::both(6_000, 4_000),
                },
                Row {
                    name: "push-another",
                    title: "then to another empty registry",
                    promise: Promise::NONE,
                },
                Row {
                    name: "push-again",
                    title: "then again, one small layer changed",
                    promise: Promise::processor(40),
                },
            ]
        }
    }

    fn size(&self, scale: f64) -> Size {
        large::mebibytes(scale)
    }

    fn prepare(&self, site: &Site<'_>) {
        large::write_context(site, large::mebibytes(site.scale).count);
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, number: usize) -> Vec<Option<Cost>> {
        let context = site.path("context");
        let [first, other] =
            [(); 2].map(|()| Registry::start_in(&site.disk.path(), &Setup::default()));
        let name = |registry: &Registry| format!("{}/big:1", registry.address());
        player.contender.empty();
        player.prepare(&context, &name(&first));
        let pushed = push(player, &first, &name(&first));
        player.carry_out(player.contender.rename(&name(&first), &name(&other)));
        let again = push(player, &other, &name(&other));
        change(&context, number);
        player.prepare(&context, &name(&other));
        let changed = push(player, &other, &name(&other));
        vec![pushed, again, changed]
    }

    fn limit(&self, site: &Site<'_>, meter: &Meter<'_>, _number: usize) -> Vec<Option<Cost>> {
        let (context, blob, copy) = (site.path("context"), site.path("blob"), site.path("copy"));
        let zipped = meter.run(shell(large::COMPRESS_GZIP, &[&context, &blob]));
        let copied = meter.run(shell("cp \"$1\" \"$2\"", &[&blob, &copy]));
        [blob, copy].iter().for_each(|path| super::remove(path));
        vec![Some(zipped), Some(copied), None]
    }
}

fn change(context: &Path, number: usize) {
    fs::write(context.join("small/file"), number.to_string()).expect("a file");
}

fn push(player: &Player<'_>, registry: &Registry, name: &str) -> Option<Cost> {
    let had = bytes_below(&registry.data());
    let cost = player.meter.run(player.contender.push(name));
    let result_bytes = bytes_below(&registry.data()).checked_sub(had);
    Some(Cost {
        result_bytes,
        ..cost
    })
}
