//! Sizes that few projects reach, and that must work. Measured only when asked for by name.

use std::fmt::Write as _;
use std::fs;

use super::{Player, Promise, Row, Site, Size, Workload, large, remove, scaled, steps, with_size};
use crate::contender::{Build, Compression, Output};
use crate::content::write_tree;
use crate::cost::Cost;

/// A Dockerfile of a thousand commands.
pub struct ThousandSteps;

impl Workload for ThousandSteps {
    fn rows(&self) -> &'static [Row] {
        const {
            &[Row {
                name: "thousand-steps",
                title: "1,000 × `RUN true`, none cached",
                promise: Promise::NONE,
            }]
        }
    }

    fn rounds(&self) -> usize {
        1
    }

    fn size(&self, scale: f64) -> Size {
        Size {
            count: scaled(1_000, scale),
            unit: "step",
        }
    }

    fn is_extreme(&self) -> bool {
        true
    }

    fn prepare(&self, _site: &Site<'_>) {}

    fn prime(&self, site: &Site<'_>, player: &Player<'_>) {
        steps::prime(site, player);
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, number: usize) -> Vec<Option<Cost>> {
        vec![steps::build_steps(site, player, site.scaled(1_000), number)]
    }
}

/// An image of five hundred layers, and a command upon them all.
pub struct ManyLayers;

impl Workload for ManyLayers {
    fn rows(&self) -> &'static [Row] {
        const {
            &[
                Row {
                    name: "many-layers",
                    title: "500 layers to an OCI archive",
                    promise: Promise::NONE,
                },
                Row {
                    name: "upon-layers",
                    title: "`RUN true` upon them",
                    promise: Promise::NONE,
                },
            ]
        }
    }

    fn rounds(&self) -> usize {
        1
    }

    fn size(&self, scale: f64) -> Size {
        Size {
            count: scaled(500, scale),
            unit: "layer",
        }
    }

    fn is_extreme(&self) -> bool {
        true
    }

    fn prepare(&self, _site: &Site<'_>) {}

    fn prime(&self, site: &Site<'_>, player: &Player<'_>) {
        steps::prime(site, player);
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, number: usize) -> Vec<Option<Cost>> {
        let mut dockerfile = format!("FROM {}\n", site.base());
        for layer in 1..site.scaled(500) {
            let _ = writeln!(dockerfile, "COPY file /layer{layer}");
        }
        let context = site.context("context", &dockerfile);
        fs::write(context.join("file"), number.to_string()).expect("a file");
        let archive = site.path("archive.tar");
        let cost = player.measure(&Build {
            output: Output::Archive(archive.clone(), Compression::Gzip),
            ..Build::kept(&context, "layers")
        });
        let cost = with_size(cost, &archive);
        remove(&archive);
        let context = site.context("context", &(dockerfile + "RUN true\n"));
        vec![cost, player.build(&context, "upon")]
    }
}

/// A context of a million files, copied, then cached.
pub struct MillionFiles;

impl Workload for MillionFiles {
    fn rows(&self) -> &'static [Row] {
        const {
            &[
                Row {
                    name: "million-files",
                    title: "COPY of 1,000,000 files",
                    promise: Promise::NONE,
                },
                Row {
                    name: "million-cached",
                    title: "and once more",
                    promise: Promise::NONE,
                },
            ]
        }
    }

    fn rounds(&self) -> usize {
        1
    }

    fn size(&self, scale: f64) -> Size {
        Size {
            count: scaled(1_000_000, scale),
            unit: "file",
        }
    }

    fn is_extreme(&self) -> bool {
        true
    }

    fn prepare(&self, site: &Site<'_>) {
        let context = site.context("context", "FROM scratch\nCOPY . /\n");
        write_tree(&context, site.scaled(1_000_000), 100);
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, _number: usize) -> Vec<Option<Cost>> {
        player.contender.empty();
        let context = site.path("context");
        vec![
            player.build(&context, "files"),
            player.build(&context, "files"),
        ]
    }
}

/// A layer of 20 GiB to an archive.
pub struct LargeLayer;

impl Workload for LargeLayer {
    fn rows(&self) -> &'static [Row] {
        const {
            &[Row {
                name: "large-layer",
                title: "COPY of 20 GiB, to an OCI archive, gzip",
                promise: Promise::NONE,
            }]
        }
    }

    fn rounds(&self) -> usize {
        1
    }

    fn size(&self, scale: f64) -> Size {
        large::mebibytes(scale * 20.0)
    }

    fn is_extreme(&self) -> bool {
        true
    }

    fn prepare(&self, site: &Site<'_>) {
        large::write_context(site, large::mebibytes(site.scale * 20.0).count);
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, number: usize) -> Vec<Option<Cost>> {
        large::Archived::GZIP.round(site, player, number)
    }
}
