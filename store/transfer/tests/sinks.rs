//! Images that were built leave the store, and come out as others expect them.

mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use fixture::Fixture;
use kiln_disk::Store;
use kiln_layer::compress::Compression;
use kiln_oci::{Digest, Document, ImageConfig};
use kiln_transfer::pack::{self, Packing};
use kiln_transfer::sink::local::Ownership;
use kiln_transfer::sink::{
    ArchiveOptions, Destination, docker_archive, local, oci_layout, rootfs_tar,
};
use kiln_transfer::{Error, image, layers};

fn named(name: &str) -> ArchiveOptions {
    let names = vec![name.parse().unwrap()];
    ArchiveOptions {
        names,
        packing: Packing::standard(),
        created: None,
    }
}

#[test]
fn image_in_the_store_has_plain_layers_and_no_layer_blobs() {
    let fixture = Fixture::new("assemble");
    let image = fixture.image();
    assert_eq!(image.layers.len(), 2);
    for layer in &image.layers {
        assert_eq!(
            layer.descriptor.media_type.as_str(),
            "application/vnd.oci.image.layer.v1.tar"
        );
        assert_eq!(layer.descriptor.digest, layer.diff_id.0);
        assert!(!fixture.store.blobs().has(&layer.descriptor.digest));
    }
    let loaded = image::load(&fixture.store, &image.manifest, None).unwrap();
    assert_eq!(loaded, image);
    assert_eq!(fixture.store.verify(&mut |_| {}).unwrap().problems, vec![]);
}

#[test]
fn same_image_assembled_twice_is_the_same_image() {
    let fixture = Fixture::new("same");
    assert_eq!(fixture.image().manifest, fixture.image().manifest);
}

#[test]
fn manifest_is_indented_and_names_existing_blobs_once_packed() {
    let fixture = Fixture::new("pack");
    let image = fixture.image();
    let packed = pack::pack(&fixture.store, &image, &Packing::standard(), &|_| {}).unwrap();
    let text = String::from_utf8(packed.manifest_bytes.clone()).unwrap();
    assert!(text.starts_with("{\n  \"schemaVersion\": 2,\n"), "{text}");
    let Ok(Document::Manifest(manifest)) = Document::parse(&packed.manifest_bytes, None) else {
        panic!("{text}");
    };
    for layer in &manifest.layers {
        let media_type = layer.media_type.as_str();
        assert_eq!(media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
        assert_eq!(
            fixture.store.blobs().size(&layer.digest).unwrap(),
            layer.size
        );
    }
}

#[test]
fn archive_is_the_same_whether_its_blobs_were_made_just_now_or_found() {
    let fixture = Fixture::new("made-or-found");
    let image = fixture.image();
    let (made, found) = (fixture.scratch("made.tar"), fixture.scratch("found.tar"));
    let write = |store: &Store, path: &Path| {
        let to = Destination::File(path);
        oci_layout::write_archive(
            store,
            std::slice::from_ref(&image),
            &named("made"),
            to,
            &|_| {},
        )
        .unwrap()
    };
    let one = write(&fixture.store, &made);
    let other = write(&Store::open(fixture.store.root()).unwrap(), &found);
    assert_eq!(one, other);
    let mut stream = Vec::new();
    let to = Destination::Stream(&mut stream);
    let names = named("made");
    oci_layout::write_archive(
        &fixture.store,
        std::slice::from_ref(&image),
        &names,
        to,
        &|_| {},
    )
    .unwrap();
    assert!(fs::read(&made).unwrap() == stream);
    assert!(fs::read(&found).unwrap() == stream);
}

#[test]
fn layer_is_compressed_once_per_compression() {
    let fixture = Fixture::new("once");
    let image = fixture.image();
    let layer = &image.layers[0];
    let first = layers::ensure_blob(&fixture.store, layer, Compression::GZIP).unwrap();
    // Whoever reads the layer again notices that it has changed.
    let id = layer.layer.as_ref().unwrap();
    fs::write(
        fixture.store.layers().diff_path(id).join("etc/motd"),
        "changed",
    )
    .unwrap();
    assert_eq!(
        layers::ensure_blob(&fixture.store, layer, Compression::GZIP).unwrap(),
        first
    );
    let error = layers::ensure_blob(&fixture.store, layer, Compression::ZSTD).unwrap_err();
    assert!(matches!(error, Error::LayerChanged { .. }), "{error}");
}

#[test]
fn layer_prepared_in_one_pass_is_the_one_that_is_made_in_two() {
    let (early, late) = (Fixture::new("early"), Fixture::new("late"));
    let id = &early.stack()[0];
    let compressions = [Compression::GZIP, Compression::ZSTD];
    let prepare = |is_stopped: layers::Stop<'_>| {
        let watch = layers::Watch {
            is_stopped,
            begun: &|_, _| (),
        };
        layers::prepare(&early.store, id, Some(9), &compressions, watch)
    };
    let stopped = prepare(&|| true);
    assert!(matches!(stopped, Err(Error::Capture { .. })), "{stopped:?}");
    assert_eq!(early.store.layers().facts(id).unwrap(), None);
    prepare(&|| false).unwrap();
    let known = early.store.layers().facts(id).unwrap().unwrap();
    let found = layers::facts(&late.store, &late.stack()[0], Some(9)).unwrap();
    assert_eq!(known.diff_id, found.diff_id);
    assert_eq!(known.uncompressed_size, found.uncompressed_size);
    for compression in compressions {
        let blob = |fixture: &Fixture| {
            let layer = image::describe(&fixture.store, &fixture.stack()[0], None, Some(9));
            layers::ensure_blob(&fixture.store, &layer.unwrap(), compression).unwrap()
        };
        let name = compression.to_string();
        let prepared = early.store.compressed().get(&known.diff_id, &name);
        assert_eq!(prepared.unwrap(), Some(blob(&late)));
        assert_eq!(blob(&early), blob(&late));
    }
}

#[test]
fn changed_layer_is_named_by_verify() {
    let fixture = Fixture::new("verify");
    let image = fixture.image();
    let id = image.layers[0].layer.clone().unwrap();
    let path = fixture.store.layers().diff_path(&id);
    fs::write(path.join("etc/motd"), "hallo\n").unwrap();
    let report = fixture.store.verify(&mut |_| {}).unwrap();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert_eq!(report.problems[0].path, path);
}

#[test]
fn oci_archive_has_the_whole_image_and_its_name_and_is_reproducible() {
    let fixture = Fixture::new("oci");
    let image = fixture.image();
    let path = fixture.scratch("image.tar");
    let write = || {
        let destination = Destination::File(&path);
        let images = std::slice::from_ref(&image);
        oci_layout::write_archive(
            &fixture.store,
            images,
            &named("app:1"),
            destination,
            &|_| {},
        )
        .unwrap();
        fs::read(&path).unwrap()
    };
    let bytes = write();
    assert_eq!(write(), bytes);
    let files = fixture::read_archive(&bytes);
    assert_eq!(files["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let annotations = &index["manifests"][0]["annotations"];
    assert_eq!(
        annotations["io.containerd.image.name"],
        "docker.io/library/app:1"
    );
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "1");
    check_blobs(&files);
}

/// Every blob has the digest that its path says, and there is a configuration among them.
fn check_blobs(files: &BTreeMap<String, Vec<u8>>) {
    let blobs: Vec<_> = files
        .iter()
        .filter(|(path, _)| path.starts_with("blobs/"))
        .collect();
    for (path, bytes) in &blobs {
        assert_eq!(
            path.as_str(),
            format!("blobs/sha256/{}", Digest::sha256(bytes).hex())
        );
    }
    assert_eq!(blobs.len(), 4, "manifest, configuration, two layers");
    assert!(
        blobs
            .iter()
            .any(|(_, bytes)| ImageConfig::parse(bytes).is_ok())
    );
}

#[test]
fn oci_directory_keeps_images_of_other_names() {
    let fixture = Fixture::new("layout");
    let image = fixture.image();
    let directory = fixture.scratch("layout");
    let images = std::slice::from_ref(&image);
    for name in ["one", "two", "one"] {
        oci_layout::write_directory(&fixture.store, images, &named(name), &directory, &|_| {})
            .unwrap();
    }
    let index = fs::read(directory.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let entries = index["manifests"].as_array().unwrap().iter();
    let name = |entry: &serde_json::Value| {
        let name = &entry["annotations"]["io.containerd.image.name"];
        name.as_str().unwrap().to_owned()
    };
    let names: Vec<_> = entries.map(name).collect();
    assert_eq!(
        names,
        [
            "docker.io/library/two:latest",
            "docker.io/library/one:latest"
        ]
    );
}

#[test]
fn docker_archive_leads_to_configuration_and_layers() {
    let fixture = Fixture::new("docker");
    let image = fixture.image();
    let mut bytes = Vec::new();
    let images = std::slice::from_ref(&image);
    let destination = Destination::Stream(&mut bytes);
    docker_archive::write(&fixture.store, images, &named("app"), destination, &|_| {}).unwrap();
    let files = fixture::read_archive(&bytes);
    let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    assert_eq!(manifest[0]["RepoTags"], serde_json::json!(["app:latest"]));
    let config = &files[manifest[0]["Config"].as_str().unwrap()];
    assert_eq!(ImageConfig::parse(config).unwrap(), image.config);
    for layer in manifest[0]["Layers"].as_array().unwrap() {
        assert!(files.contains_key(layer.as_str().unwrap()));
    }
}

#[test]
fn docker_archive_of_several_platforms_is_refused() {
    let fixture = Fixture::new("platforms");
    let image = fixture.image();
    let mut bytes = Vec::new();
    let images = [image.clone(), image];
    let destination = Destination::Stream(&mut bytes);
    let error = docker_archive::write(&fixture.store, &images, &named("app"), destination, &|_| {})
        .unwrap_err();
    assert_eq!(error.to_string(), "a Docker archive holds one image, not 2");
    assert!(bytes.is_empty());
}

#[test]
fn local_directory_is_the_union_of_the_layers() {
    let fixture = Fixture::new("local");
    let directory = fixture.scratch("out");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("mine"), "stays").unwrap();
    local::write(
        &fixture.store,
        &fixture.stack(),
        fixture.ownership(),
        None,
        &directory,
    )
    .unwrap();
    let read = |path: &str| fs::read_to_string(directory.join(path)).unwrap();
    assert_eq!(read("etc/motd"), "hello\n");
    assert_eq!(read("mine"), "stays");
    assert_eq!(read("run.sh"), "#!/bin/sh\n");
    assert_eq!(
        fs::read_link(directory.join("link")).unwrap().to_str(),
        Some("/etc/motd")
    );
    let inode = |path: &str| directory.join(path).metadata().unwrap().ino();
    assert_eq!(inode("run.sh"), inode("same.sh"));
    let metadata = directory.join("run.sh").metadata().unwrap();
    assert_eq!(
        (metadata.permissions().mode() & 0o7777, metadata.mtime()),
        (0o755, 1_000_000)
    );
}

#[test]
fn local_directory_of_the_caller_has_no_set_user_id_bits() {
    let fixture = Fixture::new("caller");
    let directory = fixture.scratch("out");
    let stack = fixture.stack();
    let run = fixture.store.layers().diff_path(&stack[1]).join("run.sh");
    fs::set_permissions(run, fs::Permissions::from_mode(0o4755)).unwrap();
    local::write(
        &fixture.store,
        &stack,
        Ownership::Caller,
        Some(500),
        &directory,
    )
    .unwrap();
    let metadata = directory.join("run.sh").metadata().unwrap();
    assert_eq!(
        (metadata.permissions().mode() & 0o7777, metadata.mtime()),
        (0o755, 500)
    );
}

fn root(directory: &str, stack: Vec<kiln_disk::LayerId>) -> rootfs_tar::RootFs {
    rootfs_tar::RootFs {
        directory: directory.into(),
        stack,
    }
}

#[test]
fn rootfs_archive_has_several_platforms_in_directories() {
    let fixture = Fixture::new("split");
    let path = fixture.scratch("rootfs.tar");
    let roots = ["linux_amd64", "linux_arm64"];
    let roots = roots.map(|directory| root(directory, fixture.stack().to_vec()));
    rootfs_tar::write(&fixture.store, &roots, None, Destination::File(&path)).unwrap();
    let output = Command::new("tar").arg("-tvf").arg(&path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "linux_amd64/",
        "linux_amd64/etc/motd",
        "linux_amd64/same.sh link to linux_amd64/run.sh",
        "linux_arm64/run.sh",
    ] {
        let has_line = |listed: &str| listed.ends_with(&format!(" {line}"));
        assert!(text.lines().any(has_line), "{line}\n{text}");
    }
}

#[test]
fn rootfs_archive_has_every_file_of_the_union() {
    let fixture = Fixture::new("tar");
    let path = fixture.scratch("rootfs.tar");
    rootfs_tar::write(
        &fixture.store,
        &[root("", fixture.stack().to_vec())],
        None,
        Destination::File(&path),
    )
    .unwrap();
    let output = Command::new("tar").arg("-tvf").arg(&path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for line in [
        "etc/",
        "etc/motd",
        "link -> /etc/motd",
        "run.sh",
        "same.sh link to run.sh",
    ] {
        assert!(
            text.lines()
                .any(|listed| listed.ends_with(&format!(" {line}"))),
            "{line}\n{text}"
        );
    }
}

#[test]
fn image_of_no_layers_is_fine() {
    let fixture = Fixture::new("empty");
    let image = image::assemble(&fixture.store, fixture::config(), &[], None).unwrap();
    assert_eq!(image.layers, []);
    let (path, directory) = (fixture.scratch("empty.tar"), fixture.scratch("empty"));
    let empty = [root("", Vec::new())];
    rootfs_tar::write(&fixture.store, &empty, None, Destination::File(&path)).unwrap();
    local::write(&fixture.store, &[], Ownership::Caller, None, &directory).unwrap();
    assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
}
