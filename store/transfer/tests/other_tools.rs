//! What leaves the store is read by tools that others wrote, and is what was put in.

mod fixture;

use std::fs;
use std::path::Path;
use std::process::Command;

use fixture::Fixture;
use kiln_layer::compress::Compression;
use kiln_testdata::command::stdout_of;
use kiln_testdata::docker::DockerEngine;
use kiln_testdata::image::root_file_system;
use kiln_testdata::needs::{Need, met};
use kiln_testdata::table::{Allowed, Table, differences, read_tree};
use kiln_transfer::image::Image;
use kiln_transfer::pack::Packing;
use kiln_transfer::sink::local::Ownership;
use kiln_transfer::sink::{ArchiveOptions, Destination, docker_archive, local, oci_layout};

const TOOLS: &[Need] = &[Need::Root, Need::Program("skopeo"), Need::Program("umoci")];

fn options(compression: Compression) -> ArchiveOptions {
    let packing = Packing {
        compression,
        ..Packing::standard()
    };
    ArchiveOptions {
        names: vec!["app:1".parse().unwrap()],
        packing,
        created: None,
    }
}

/// The union of the layers as a directory, and what is in it.
fn expected(fixture: &Fixture) -> Table {
    let directory = fixture.scratch("expected");
    let stack = fixture.stack();
    local::write(&fixture.store, &stack, Ownership::Image, None, &directory).unwrap();
    let table = read_tree(&directory);
    for gone in ["gone", "emptied/old"] {
        assert!(!table.contains_key(Path::new(gone)), "{gone}");
    }
    assert!(table.contains_key(Path::new("emptied/new")));
    table
}

fn assert_same(mut found: Table, fixture: &Fixture) {
    let mut expected = expected(fixture);
    // The root directory is no entry of a layer: everybody makes their own.
    found.remove(Path::new(""));
    expected.remove(Path::new(""));
    let none = Vec::<String>::new();
    assert_eq!(differences(&expected, &found, &Allowed::default()), none);
}

fn write_oci(fixture: &Fixture, image: &Image, compression: Compression, path: &Path) {
    let images = std::slice::from_ref(image);
    let destination = Destination::File(path);
    let options = options(compression);
    oci_layout::write_archive(&fixture.store, images, &options, destination, &|_| {}).unwrap();
}

fn write_docker(fixture: &Fixture, image: &Image, path: &Path) {
    let images = std::slice::from_ref(image);
    let destination = Destination::File(path);
    let options = options(Compression::GZIP);
    docker_archive::write(&fixture.store, images, &options, destination, &|_| {}).unwrap();
}

#[test]
fn skopeo_and_umoci_read_oci_archives() {
    if !met(TOOLS) {
        return;
    }
    let fixture = Fixture::with_everything("tools-oci");
    let image = fixture.image();
    for compression in [Compression::None, Compression::GZIP] {
        let path = fixture.scratch("image.tar");
        write_oci(&fixture, &image, compression, &path);
        let found = root_file_system(&format!("oci-archive:{}:1", path.display()));
        assert_same(found, &fixture);
        fs::remove_dir_all(fixture.scratch("expected")).unwrap();
    }
}

#[test]
fn skopeo_reads_zstd_layers() {
    if !met(TOOLS) {
        return;
    }
    let fixture = Fixture::with_everything("tools-zstd");
    let (path, converted) = (fixture.scratch("image.tar"), fixture.scratch("plain"));
    write_oci(&fixture, &fixture.image(), Compression::ZSTD, &path);
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--quiet", "--dest-decompress"]);
    copy.arg(format!("oci-archive:{}:1", path.display()));
    copy.arg(format!("dir:{}", converted.display()));
    stdout_of(&mut copy);
    let found = root_file_system(&format!("dir:{}", converted.display()));
    assert_same(found, &fixture);
}

#[test]
fn umoci_reads_oci_directories() {
    if !met(TOOLS) {
        return;
    }
    let fixture = Fixture::with_everything("tools-layout");
    let directory = fixture.scratch("layout");
    let images = [fixture.image()];
    let options = options(Compression::GZIP);
    oci_layout::write_directory(&fixture.store, &images, &options, &directory, &|_| {}).unwrap();
    let root = fixture.scratch("root");
    let mut unpack = Command::new("umoci");
    unpack.args(["raw", "unpack", "--image"]);
    unpack.arg(format!("{}:1", directory.display())).arg(&root);
    stdout_of(&mut unpack);
    assert_same(read_tree(&root), &fixture);
}

#[test]
fn skopeo_reads_docker_archives() {
    if !met(TOOLS) {
        return;
    }
    let fixture = Fixture::with_everything("tools-docker");
    let path = fixture.scratch("image.tar");
    write_docker(&fixture, &fixture.image(), &path);
    let found = root_file_system(&format!("docker-archive:{}", path.display()));
    assert_same(found, &fixture);
}

#[test]
fn docker_loads_docker_archives() {
    if !met(TOOLS) || !met(&[Need::Program("dockerd")]) {
        return;
    }
    let fixture = Fixture::with_everything("tools-engine");
    let (path, saved) = (fixture.scratch("image.tar"), fixture.scratch("saved.tar"));
    write_docker(&fixture, &fixture.image(), &path);
    let engine = DockerEngine::start();
    stdout_of(engine.client().arg("load").arg("-i").arg(&path));
    engine.save("app:1", &saved);
    let found = root_file_system(&format!("docker-archive:{}", saved.display()));
    assert_same(found, &fixture);
}

#[test]
fn podman_loads_oci_and_docker_archives() {
    if !met(TOOLS) || !met(&[Need::Program("podman")]) {
        return;
    }
    let fixture = Fixture::with_special_files("tools-podman");
    let (oci, docker) = (fixture.scratch("oci.tar"), fixture.scratch("docker.tar"));
    write_oci(&fixture, &fixture.image(), Compression::ZSTD, &oci);
    write_docker(&fixture, &fixture.image(), &docker);
    for archive in [oci, docker] {
        let (storage, run) = (fixture.scratch("podman"), fixture.scratch("podman-run"));
        let podman = || {
            let mut command = Command::new("podman");
            command
                .args(["--storage-driver", "vfs", "--root"])
                .arg(&storage);
            command.arg("--runroot").arg(&run);
            command
        };
        stdout_of(podman().args(["load", "--quiet", "-i"]).arg(&archive));
        let image = stdout_of(podman().args(["images", "--quiet", "--no-trunc"]));
        let mounted = stdout_of(podman().args(["image", "mount", image.trim()]));
        assert_same(read_tree(Path::new(mounted.trim())), &fixture);
        stdout_of(podman().args(["image", "umount", "--all"]));
        for path in ["podman", "podman-run", "expected"] {
            fs::remove_dir_all(fixture.scratch(path)).unwrap();
        }
    }
}

/// GNU tar knows nothing of whiteouts: the test does what they say.
#[test]
fn gnu_tar_unpacks_layers() {
    if !met(TOOLS) {
        return;
    }
    let fixture = Fixture::with_special_files("tools-tar");
    let layout = fixture.scratch("layout");
    let images = [fixture.image()];
    let options = options(Compression::GZIP);
    oci_layout::write_directory(&fixture.store, &images, &options, &layout, &|_| {}).unwrap();
    let root = fixture.scratch("root");
    fs::create_dir(&root).unwrap();
    let packed = kiln_transfer::pack::pack(&fixture.store, &images[0], &options.packing, &|_| {});
    for layer in packed.unwrap().layers {
        let blob = layout.join("blobs/sha256").join(layer.digest.hex());
        let list = stdout_of(Command::new("tar").arg("-tzf").arg(&blob));
        for name in list.lines() {
            if let Some(directory) = name.strip_suffix(".wh..wh..opq") {
                fs::remove_dir_all(root.join(directory)).unwrap();
            } else if let Some((directory, gone)) = name.rsplit_once(".wh.") {
                fs::remove_file(root.join(directory).join(gone)).unwrap();
            }
        }
        let mut tar = Command::new("tar");
        tar.args([
            "--numeric-owner",
            "--same-owner",
            "--xattrs",
            "--xattrs-include=*",
        ]);
        tar.args(["--exclude=.wh.*", "-xpzf"])
            .arg(&blob)
            .arg("-C")
            .arg(&root);
        stdout_of(&mut tar);
    }
    assert_same(read_tree(&root), &fixture);
}
