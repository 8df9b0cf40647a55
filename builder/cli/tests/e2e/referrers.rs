//! What refers to images, signatures and the like, goes with a copy that is asked for it; and all
//! tags of a repository go at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kiln_testdata::distribution::Registry;
use kiln_testdata::needs::{self, Need};
use kiln_testdata::registry::digest_of;
use serde_json::{Value, json};

use crate::harness::{Kiln, world};

const NEEDS: &[Need] = &[
    Need::Program("docker-registry"),
    Need::Program("skopeo"),
    Need::Program("mmdebstrap"),
];

fn build(kiln: &Kiln, name: &str, data: &str) {
    let context = kiln.context("FROM scratch\nCOPY data /data\n");
    fs::write(context.join("data"), data).unwrap();
    kiln.build(&context, &["-t", name]);
}

fn index(layout: &Path) -> Value {
    serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap()
}

/// Writes a blob to the layout and returns its descriptor.
fn put(layout: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = digest_of(bytes);
    let hex = digest.strip_prefix("sha256:").unwrap();
    fs::write(layout.join("blobs/sha256").join(hex), bytes).unwrap();
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

/// Adds a signature of the layout's first image and lists it; returns its digest.
fn sign(layout: &Path, text: &[u8]) -> String {
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let mut index = index(layout);
    let mut subject = index["manifests"][0].clone();
    subject.as_object_mut().unwrap().remove("annotations");
    let empty = put(layout, "application/vnd.oci.empty.v1+json", b"{}");
    let layer = put(layout, "application/vnd.example.signature", text);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": empty,
        "layers": [layer],
        "subject": subject,
    });
    let mut entry = put(layout, MANIFEST, manifest.to_string().as_bytes());
    entry["artifactType"] = manifest["artifactType"].clone();
    index["manifests"]
        .as_array_mut()
        .unwrap()
        .push(entry.clone());
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    entry["digest"].as_str().unwrap().to_owned()
}

#[test]
fn signatures_go_from_a_layout_through_registries_to_another_layout() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    build(&kiln, "app", "data");
    let (first, last) = (kiln.path("first"), kiln.path("last"));
    let archive = kiln.path("app.tar").display().to_string();
    kiln.run(&["save", "--output", &archive, "app"]);
    let named = |layout: &Path| format!("oci:{}:1", layout.display());
    kiln.run(&[
        "copy",
        "-q",
        &format!("oci-archive:{archive}"),
        &named(&first),
    ]);
    let signatures = BTreeSet::from([sign(&first, b"one"), sign(&first, b"two")]);
    let other = Registry::start();
    let names = [world().registry.address(), other.address()]
        .map(|address| format!("docker://{address}/signed/app:1"));
    let ways = [
        (named(&first), names[0].clone()),
        (names[0].clone(), names[1].clone()),
        (names[1].clone(), named(&last)),
    ];
    for (from, to) in &ways {
        kiln.run(&["copy", "-q", "--referrers", from, to]);
    }
    let (before, after) = (index(&first), index(&last));
    assert_eq!(
        after["manifests"][0]["digest"],
        before["manifests"][0]["digest"]
    );
    let listed = after["manifests"].as_array().unwrap()[1..].iter();
    let listed = listed.map(|entry| {
        assert_eq!(entry["artifactType"], "application/vnd.example.signature");
        entry["digest"].as_str().unwrap().to_owned()
    });
    assert_eq!(listed.collect::<BTreeSet<_>>(), signatures);
    // Without being asked for, they stay; the image alone is still the only one of its layout.
    let alone = kiln.path("alone");
    kiln.run(&[
        "copy",
        "-q",
        &format!("oci:{}", last.display()),
        &named(&alone),
    ]);
    assert_eq!(index(&alone)["manifests"].as_array().unwrap().len(), 1);
    let mut command = kiln.command();
    command.args(["copy", "--referrers", &names[0]]);
    command.arg(format!("oci-archive:{archive}"));
    crate::harness::Ran::from(command).failed_saying(2, &["archives hold images alone"]);
}

#[test]
fn all_tags_are_pushed_and_pulled() {
    if !needs::met(NEEDS) {
        return;
    }
    let (here, there) = (Kiln::new(), Kiln::new());
    let repository = format!("{}/all/tags", world().registry.address());
    for tag in ["1", "2", "latest"] {
        build(&here, &format!("{repository}:{tag}"), tag);
    }
    build(&here, &format!("{repository}/other:3"), "other");
    let pushed = here.run(&["push", "--all-tags", &repository]);
    assert_eq!(pushed.lines().count(), 3, "{pushed}");
    let tags = there.run(&["tags", &repository]);
    assert_eq!(
        tags.lines().collect::<BTreeSet<_>>(),
        ["1", "2", "latest"].into()
    );
    there.run(&["pull", "--all-tags", "--quiet", &repository]);
    let ids = |kiln: &Kiln| {
        let listed = kiln.run(&["images", "--format", "{{.Tag}} {{.ID}}", &repository]);
        let mut lines: Vec<String> = listed.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(ids(&there), ids(&here));
    assert_eq!(ids(&there).len(), 3);
    for command in ["push", "pull"] {
        let mut tagged = here.command();
        tagged.args([command, "--all-tags", &format!("{repository}:1")]);
        crate::harness::Ran::from(tagged).failed_saying(2, &["--all-tags"]);
    }
}
