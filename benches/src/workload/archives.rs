//! An image of one layer that comes from a registry, goes to an archive and comes back.

use std::path::Path;

use kiln_testdata::command::stdout_of;

use super::{Player, Promise, Row, Site, Size, Workload, remove, scaled, with_size};
use crate::content::{Texture, Writer, write_tree};
use crate::cost::Cost;
use crate::layout;
use crate::meter::Meter;
use crate::shell::shell;

const MIB: usize = 1 << 20;
const MANY_FILES: usize = 50_000;
const MANY_FILE_BYTES: usize = 2_000;
const LARGE_FILES: usize = 128;
const LARGE_FILE_MIB: usize = 16;

/// It is pulled into an empty store, saved, and loaded into an empty one.
pub enum Moves {
    /// Of many small files.
    Many,
    /// Of 2 GiB in large files.
    Large,
}

const fn row(name: &'static str, title: &'static str) -> Row {
    Row {
        name,
        title,
        promise: Promise::NONE,
    }
}

impl Workload for Moves {
    fn rows(&self) -> &'static [Row] {
        const MANY: &[Row] = &[
            row("unpack-many", "an image of 50,000 small files pulled"),
            row("save-many", "saved to an archive"),
            row("load-many", "and loaded into an empty store"),
        ];
        const LARGE: &[Row] = &[
            row("unpack-large", "an image of 2 GiB in large files pulled"),
            row("save-large", "saved to an archive"),
            row("load-large", "and loaded into an empty store"),
        ];
        match self {
            Moves::Many => MANY,
            Moves::Large => LARGE,
        }
    }

    fn size(&self, scale: f64) -> Size {
        match self {
            Moves::Many => Size {
                count: scaled(MANY_FILES, scale),
                unit: "file",
            },
            Moves::Large => Size {
                count: scaled(LARGE_FILES, scale) * LARGE_FILE_MIB,
                unit: "MiB",
            },
        }
    }

    fn prepare(&self, site: &Site<'_>) {
        let (tree, layout) = (site.path("tree"), site.path("layout"));
        match self {
            Moves::Many => write_tree(&tree, site.scaled(MANY_FILES), MANY_FILE_BYTES),
            Moves::Large => write_large(&tree, site.scaled(LARGE_FILES)),
        }
        layout::write_of(&tree, &layout);
        remove(&tree);
        site.registry.copy_in(&layout, "1", "moved:1");
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, _number: usize) -> Vec<Option<Cost>> {
        let name = format!("{}/moved:1", site.registry.address());
        let archive = site.path("archive.tar");
        player.contender.empty();
        let pulled = player.meter.run(player.contender.pull(&name));
        let saved = player.meter.run(player.contender.save(&name, &archive));
        let saved = with_size(Some(saved), &archive);
        player.contender.empty();
        let loaded = player.meter.run(player.contender.load(&archive));
        remove(&archive);
        vec![Some(pulled), saved, Some(loaded)]
    }

    /// Unpacking is inflating and making files; saving is copying the compressed layer.
    fn limit(&self, site: &Site<'_>, meter: &Meter<'_>, _number: usize) -> Vec<Option<Cost>> {
        let layer = layout::layers(&site.path("layout")).remove(0);
        let (target, copy) = (site.path("unpacked"), site.path("copy"));
        let unpack = |from: &Path| {
            std::fs::create_dir(&target).expect("a directory");
            let script = "igzip -d < \"$2\" | tar -C \"$1\" -xf -";
            let cost = meter.run(shell(script, &[&target, from]));
            // In the background of what comes next it would cost that.
            stdout_of(std::process::Command::new("rm").arg("-rf").arg(&target));
            cost
        };
        let pulled = unpack(&layer);
        let saved = meter.run(shell("cp \"$1\" \"$2\"", &[&layer, &copy]));
        let saved = with_size(Some(saved), &copy);
        let loaded = unpack(&copy);
        remove(&copy);
        vec![Some(pulled), saved, Some(loaded)]
    }
}

/// A quarter does not compress, half does as programs do, a quarter to almost nothing.
fn write_large(directory: &Path, files: usize) {
    std::fs::create_dir_all(directory).expect("a directory");
    let mut writer = Writer::new(4);
    for number in 0..files {
        let texture = match number % 4 {
            0 => Texture::Random,
            1 | 2 => Texture::Words,
            _ => Texture::Repeated,
        };
        let path = directory.join(number.to_string());
        writer.file(&path, LARGE_FILE_MIB * MIB, texture);
    }
}
