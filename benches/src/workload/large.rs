//! A copy of a GiB: a quarter does not compress, half is text, a quarter compresses well.

use std::fs;
use std::path::Path;

use super::{Player, Promise, Row, Site, Size, Workload, remove, scaled, with_size};
use crate::contender::{Build, Compression, Output};
use crate::content::{Texture, Writer};
use crate::cost::Cost;
use crate::meter::Meter;
use crate::shell::shell;

const MIB: usize = 1 << 20;
const TOTAL_MIB: usize = 1024;
const FILES: usize = 1_300;

/// It is kept in the store.
pub struct Kept;

impl Workload for Kept {
    fn rows(&self) -> &'static [Row] {
        const {
            &[Row {
                name: "big-store",
                title: "COPY of 1 GiB, kept in the store",
                promise: Promise::processor(2_000),
            }]
        }
    }

    fn size(&self, scale: f64) -> Size {
        mebibytes(scale)
    }

    fn prepare(&self, site: &Site<'_>) {
        write_context(site, site.scaled(TOTAL_MIB));
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, _number: usize) -> Vec<Option<Cost>> {
        player.contender.empty();
        vec![player.build(&site.path("context"), "big")]
    }

    fn limit(&self, site: &Site<'_>, meter: &Meter<'_>, _number: usize) -> Vec<Option<Cost>> {
        let target = site.path("copied");
        let script = "cp -a \"$1\" \"$2\"; tar -C \"$1\" -cf - . | openssl dgst -sha256";
        let cost = meter.run(shell(script, &[&site.path("context"), &target]));
        remove(&target);
        vec![Some(cost)]
    }
}

/// It goes to a compressed OCI archive.
pub struct Archived(Compression, &'static [Row], &'static str);

impl Archived {
    pub const GZIP: Archived = Archived(
        Compression::Gzip,
        &[Row {
            name: "big-gzip",
            title: "COPY of 1 GiB, to an OCI archive, gzip",
            promise: Promise::both(6_000, 4_000),
        }],
        COMPRESS_GZIP,
    );
    pub const ZSTD: Archived = Archived(
        Compression::Zstd,
        &[Row {
            name: "big-zstd",
            title: "COPY of 1 GiB, to an OCI archive, zstd",
            promise: Promise::processor(8_000),
        }],
        "tar -C \"$1\" -cf - . | zstd -q -3 -T2 > \"$2\"",
    );
}

pub(super) const COMPRESS_GZIP: &str = "tar -C \"$1\" -cf - . | igzip -2 -T 2 > \"$2\"";

impl Workload for Archived {
    fn rows(&self) -> &'static [Row] {
        self.1
    }

    fn size(&self, scale: f64) -> Size {
        mebibytes(scale)
    }

    fn prepare(&self, site: &Site<'_>) {
        write_context(site, site.scaled(TOTAL_MIB));
    }

    fn round(&self, site: &Site<'_>, player: &Player<'_>, _number: usize) -> Vec<Option<Cost>> {
        player.contender.empty();
        let (context, archive) = (site.path("context"), site.path("archive.tar"));
        let cost = player.measure(&Build {
            output: Output::Archive(archive.clone(), self.0),
            ..Build::kept(&context, "big")
        });
        let cost = with_size(cost, &archive);
        remove(&archive);
        vec![cost]
    }

    fn limit(&self, site: &Site<'_>, meter: &Meter<'_>, _number: usize) -> Vec<Option<Cost>> {
        let (context, archive) = (site.path("context"), site.path("limit"));
        let cost = meter.run(shell(self.2, &[&context, &archive]));
        let cost = with_size(Some(cost), &archive);
        remove(&archive);
        vec![cost]
    }
}

pub(super) fn mebibytes(scale: f64) -> Size {
    Size {
        count: scaled(TOTAL_MIB, scale),
        unit: "MiB",
    }
}

/// Writes the context `context`: `total_mib` MiB in all.
pub(super) fn write_context(site: &Site<'_>, total_mib: usize) {
    let context = site.context(
        "context",
        "FROM scratch\nCOPY data /data/\nCOPY small /small/\n",
    );
    let small = context.join("small");
    fs::create_dir_all(&small).expect("a directory");
    fs::write(small.join("file"), "0").expect("a file");
    write_data(&context.join("data"), total_mib * MIB);
}

/// Files of one to sixteen parts, so that some are small and some are large.
fn write_data(directory: &Path, total_bytes: usize) {
    let mut writer = Writer::new(2);
    let files = FILES.min(total_bytes / 4096);
    let part = total_bytes / (files * 17 / 2);
    for number in 0..files {
        let folder = directory.join((number / 50).to_string());
        if number % 50 == 0 {
            fs::create_dir_all(&folder).expect("a directory");
        }
        let texture = match number / 16 % 4 {
            0 => Texture::Random,
            1 | 2 => Texture::Text,
            _ => Texture::Repeated,
        };
        let bytes = part * (1 + number % 16);
        writer.file(&folder.join(number.to_string()), bytes, texture);
    }
}
