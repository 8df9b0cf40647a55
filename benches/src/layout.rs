//! Images in OCI layouts: one that is made for the workload of pulling, and one unpacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_oci::Digest;
use kiln_testdata::command::stdout_of;
use serde_json::{Value, json};

use crate::content::{Texture, Writer};
use crate::shell::shell;
use crate::workload;

const MIB: usize = 1 << 20;
/// Files of each layer: so many of so many bytes. As of a distribution and a language upon it.
const FILES: [(usize, usize); 4] = [(3_400, 2_000), (700, 40_000), (90, MIB), (1, 12 * MIB)];

/// Writes an image of so many layers, which gzip compressed, to `layout`, by way of `tree`. The
/// lowest layer has a shell.
pub fn write(layout: &Path, layers: usize, scale: f64, tree: &Path) {
    let mut writer = Writer::new(3);
    let made = (0..layers)
        .map(|number| {
            write_tree(tree, number, scale, &mut writer);
            let layer = pack(tree, &blobs_of(layout));
            fs::remove_dir_all(tree).expect("a directory");
            layer
        })
        .collect();
    write_image(layout, made);
}

/// Writes an image of one layer, which gzip compressed and which is what `tree` has, to `layout`.
pub fn write_of(tree: &Path, layout: &Path) {
    write_image(layout, vec![pack(tree, &blobs_of(layout))]);
}

fn blobs_of(layout: &Path) -> PathBuf {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a layout");
    blobs
}

/// Writes what is said of layers, of which each is a descriptor and a diff ID.
fn write_image(layout: &Path, made: Vec<(Value, String)>) {
    let blobs = blobs_of(layout);
    let (layers, diff_ids): (Vec<Value>, Vec<String>) = made.into_iter().unzip();
    let config = json!({
        "architecture": kiln_oci::Platform::host().architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = put_json(&blobs, &config, "application/vnd.oci.image.config.v1+json");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": layers,
    });
    let mut manifest = put_json(&blobs, &manifest, MANIFEST);
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "1"});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("index.json"), index.to_string()).expect("an index");
    let version = json!({"imageLayoutVersion": "1.0.0"});
    fs::write(layout.join("oci-layout"), version.to_string()).expect("a version");
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn write_tree(tree: &Path, number: usize, scale: f64, writer: &mut Writer) {
    fs::create_dir_all(tree).expect("a directory");
    if number == 0 {
        let bin = tree.join("bin");
        fs::create_dir(&bin).expect("a directory");
        fs::copy("/bin/busybox", bin.join("sh")).expect("Debian's busybox-static");
    }
    for (kind, (count, bytes)) in FILES.into_iter().enumerate() {
        let (count, bytes) = match count {
            1 => (1, workload::scaled(bytes, scale)),
            _ => (workload::scaled(count, scale), bytes),
        };
        for file in 0..count {
            let folder = tree.join(format!("{number}/{kind}-{}", file / 25));
            fs::create_dir_all(&folder).expect("a directory");
            writer.file(&folder.join(file.to_string()), bytes, Texture::Words);
        }
    }
}

/// Returns the descriptor of a layer of what is in `tree`, and its diff ID.
fn pack(tree: &Path, blobs: &Path) -> (Value, String) {
    let (archive, zipped) = (blobs.join("archive"), blobs.join("archive.gz"));
    let script = "tar --sort=name --owner=0 --group=0 --mtime=@1 -C \"$1\" -cf \"$2\" .
        gzip -n < \"$2\" > \"$3\"; sha256sum < \"$2\"; sha256sum < \"$3\"";
    let sums = stdout_of(&mut shell(script, &[tree, &archive, &zipped]));
    let mut sums = sums.split_whitespace().filter(|word| *word != "-");
    let mut sum = || sums.next().expect("a digest").to_owned();
    let (diff_id, hexadecimal) = (format!("sha256:{}", sum()), sum());
    fs::remove_file(archive).expect("an archive");
    let size = fs::metadata(&zipped).expect("a layer").len();
    fs::rename(&zipped, blobs.join(&hexadecimal)).expect("a blob");
    let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
    (
        json!({"mediaType": kind, "digest": format!("sha256:{hexadecimal}"), "size": size}),
        diff_id,
    )
}

fn put_json(blobs: &Path, document: &Value, kind: &str) -> Value {
    let text = document.to_string();
    let digest = Digest::sha256(&text).to_string();
    fs::write(blobs.join(hexadecimal(&digest)), &text).expect("a blob");
    json!({"mediaType": kind, "digest": digest, "size": text.len()})
}

fn hexadecimal(digest: &str) -> &str {
    digest.rsplit_once(':').map_or(digest, |(_, text)| text)
}

/// Returns the paths of the layers of the image in `layout`, bottom first.
pub fn layers(layout: &Path) -> Vec<PathBuf> {
    let read = |path: &Path| -> Value {
        let text = fs::read(path).expect("a document of the layout");
        serde_json::from_slice(&text).expect("JSON")
    };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().expect("a digest");
        layout.join("blobs/sha256").join(hexadecimal(digest))
    };
    let index = read(&layout.join("index.json"));
    let manifest = read(&blob(&index["manifests"][0]));
    let layers = manifest["layers"].as_array().expect("layers");
    layers.iter().map(blob).collect()
}

/// Unpacks the image in `layout`, which deletes nothing of its own, to `root`.
pub fn unpack(layout: &Path, root: &Path) {
    fs::create_dir_all(root).expect("a directory");
    for layer in layers(layout) {
        stdout_of(
            Command::new("tar")
                .arg("-C")
                .arg(root)
                .arg("-xf")
                .arg(layer),
        );
    }
}
