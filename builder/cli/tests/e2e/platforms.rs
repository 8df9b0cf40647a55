//! Images for several platforms: their index, annotations, and files.

use std::fs;
use std::process::Command;

use kiln_testdata::command::{output_of, stdout_of};
use kiln_testdata::{image, needs};
use serde_json::Value;

use crate::harness::{Kiln, world};

const DOCKERFILE: &str = "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /etc/$TARGETARCH\n";
const BOTH: &str = "--platform=linux/amd64,linux/arm64";

fn pushed(name: &str) -> (String, String) {
    let name = format!("{}/platforms/{name}", world().registry.address());
    (format!("docker://{name}"), name)
}

fn metadata(path: &std::path::Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn annotations_stand_where_they_are_asked_for() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let (image, name) = pushed("annotated:1");
    let arguments = [
        BOTH,
        "--annotation=all=manifests",
        "--annotation=index:of=index",
        "--annotation=manifest[linux/arm64],manifest-descriptor[linux/arm64]:only=arm64",
    ];
    let output = format!("type=registry,name={name},annotation-index.from=output");
    kiln.build(
        &kiln.context(DOCKERFILE),
        &[&arguments[..], &["--output", &output]].concat(),
    );
    let index = image::manifest(&image);
    assert_eq!(index["annotations"]["of"], "index");
    assert_eq!(index["annotations"]["from"], "output");
    let entries = index["manifests"].as_array().unwrap();
    let of_entries = entries
        .iter()
        .map(|entry| entry["annotations"]["only"].clone());
    assert_eq!(
        of_entries.collect::<Vec<_>>(),
        [Value::Null, "arm64".into()]
    );
    let repository = image.rsplit_once(':').unwrap().0;
    for (entry, only) in entries.iter().zip([Value::Null, "arm64".into()]) {
        let digest = entry["digest"].as_str().unwrap();
        let manifest = image::manifest(&format!("{repository}@{digest}"));
        assert_eq!(manifest["annotations"]["all"], "manifests");
        assert_eq!(manifest["annotations"]["only"], only);
    }
}

#[test]
fn stored_annotations_go_along_with_a_later_push() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let (image, name) = pushed("later:1");
    let arguments = [BOTH, "--annotation=manifest,index:kept=yes", "-t", &name];
    kiln.build(&kiln.context(DOCKERFILE), &arguments);
    kiln.run(&["push", &name]);
    assert_eq!(image::manifest(&image)["annotations"]["kept"], "yes");
}

#[test]
fn annotation_without_a_place_is_refused_before_anything_runs() {
    let kiln = Kiln::new();
    let context = kiln.context("FROM scratch\nCOPY Dockerfile /\n");
    let cases: [(&[&str], &str); 4] = [
        (
            &["--annotation=index:a=b"],
            "annotation `index:a`: an image for one platform has no index",
        ),
        (
            &["--annotation=manifest[linux/s390x]:a=b"],
            "annotation `manifest[linux/s390x]:a`: linux/s390x is not built",
        ),
        (
            &["--annotation=a=b", "--output=type=docker,dest=out"],
            "is in Docker's format, which has none",
        ),
        (
            &["--annotation=layer:a=b"],
            "invalid annotation `layer:a=b`: `layer` is not a level",
        ),
    ];
    for (arguments, message) in cases {
        let ran = kiln
            .try_build(&context, arguments)
            .failed_saying(2, &[message]);
        assert_eq!(ran.executed_steps(), 0, "{}", ran.description());
    }
}

#[test]
fn image_pushed_by_digest_has_no_tag_and_is_found_by_its_metadata() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let (image, name) = pushed("native");
    let file = kiln.path("metadata.json");
    let output =
        format!("type=image,\"name={name}\",push-by-digest=true,name-canonical=true,push=true");
    let metadata_file = format!("--metadata-file={}", file.display());
    kiln.build(
        &kiln.context(DOCKERFILE),
        &["--output", &output, &metadata_file],
    );
    let metadata = metadata(&file);
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    assert_eq!(metadata["image.name"], format!("{name}@{digest}"));
    let manifest = image::manifest(&format!("{image}@{digest}"));
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
    let mut tagged = Command::new("skopeo");
    tagged.args(["inspect", "--raw", "--tls-verify=false", &image]);
    assert!(
        !output_of(&mut tagged).status.success(),
        "nothing is tagged latest"
    );
}

#[test]
fn files_of_several_platforms_lie_in_a_directory_each() {
    let kiln = Kiln::new();
    let context = kiln.context(DOCKERFILE);
    let (directory, archive) = (kiln.path("files"), kiln.path("files.tar"));
    let local = format!("--output=type=local,dest={}", directory.display());
    let tar = format!("--output=type=tar,dest={}", archive.display());
    kiln.build(&context, &[BOTH, &local, &tar]);
    for architecture in ["amd64", "arm64"] {
        let file = directory.join(format!("linux_{architecture}/etc/{architecture}"));
        assert_eq!(fs::read_to_string(file).unwrap(), DOCKERFILE);
    }
    let listed = stdout_of(Command::new("tar").arg("-tf").arg(&archive));
    assert!(
        listed.lines().any(|path| path == "linux_arm64/etc/arm64"),
        "{listed}"
    );
    let split = format!(
        "--output=type=local,platform-split=true,dest={}",
        kiln.path("one").display()
    );
    kiln.build(&context, &["--platform=linux/amd64", &split]);
    assert!(kiln.path("one/linux_amd64/etc/amd64").exists());
}

#[test]
fn media_types_are_those_that_the_output_asks_for() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let (image, name) = pushed("docker-types:1");
    let output = format!("type=registry,name={name},oci-mediatypes=false");
    kiln.build(&kiln.context(DOCKERFILE), &["--output", &output]);
    let manifest = image::manifest(&image);
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    assert_eq!(manifest["mediaType"], docker);
}

#[test]
fn labels_and_annotations_can_be_what_git_knows() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let kiln = Kiln::new();
    let context = kiln.context("FROM scratch\nCOPY Dockerfile /\nLABEL by=hand\n");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-C", context.to_str().unwrap()]);
        git.args([
            "-c",
            "user.name=tester",
            "-c",
            "user.email=tester@example.org",
        ]);
        stdout_of(git.args(arguments)).trim().to_owned()
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "first"]);
    git(&["tag", "v1.0"]);
    git(&[
        "remote",
        "add",
        "origin",
        "https://me:secret@example.org/app.git",
    ]);
    let layout = kiln.path("layout");
    let output = format!("--output=type=oci,tar=false,dest={}", layout.display());
    kiln.build(&context, &["--git-labels", "--git-annotations", &output]);
    let image = format!("oci:{}", layout.display());
    let annotations = &image::manifest(&image)["annotations"];
    let labels = &image::config(&image)["config"]["Labels"];
    for (key, value) in [
        ("revision", git(&["rev-parse", "HEAD"])),
        ("source", "https://example.org/app.git".to_owned()),
        ("version", "v1.0".to_owned()),
    ] {
        let key = format!("org.opencontainers.image.{key}");
        assert_eq!(labels[&key], value, "{key}");
        assert_eq!(annotations[&key], value, "{key}");
    }
    assert_eq!(labels["by"], "hand");
    fs::write(context.join("new"), "").unwrap();
    let dirty = kiln.path("dirty");
    let output = format!("--output=type=oci,tar=false,dest={}", dirty.display());
    kiln.build(&context, &["--git-labels", &output]);
    let labels = &image::config(&format!("oci:{}", dirty.display()))["config"]["Labels"];
    let revision = labels["org.opencontainers.image.revision"]
        .as_str()
        .unwrap();
    assert!(revision.ends_with("-dirty"), "{revision}");
}

#[test]
fn labels_of_git_need_a_checkout() {
    let kiln = Kiln::new();
    let context = kiln.context("FROM scratch\nCOPY Dockerfile /\n");
    let message = "git knows nothing of the build context";
    kiln.try_build(&context, &["--git-labels"])
        .failed_saying(5, &[message]);
}

#[test]
fn machines_of_a_matrix_push_by_digest_and_one_makes_the_index() {
    if !needs::met(needs::PEERS) {
        return;
    }
    let (image, name) = pushed("matrix");
    let mut digests = Vec::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        let machine = Kiln::new();
        let file = machine.path("metadata.json");
        let metadata_file = format!("--metadata-file={}", file.display());
        let output = format!("type=registry,name={name},push-by-digest=true");
        let platform = format!("--platform={platform}");
        machine.build(
            &machine.context(DOCKERFILE),
            &[&platform, "--output", &output, &metadata_file],
        );
        let metadata = metadata(&file);
        let digest = metadata["containerimage.digest"].as_str().unwrap();
        digests.push(format!("{name}@{digest}"));
    }
    let merger = Kiln::new();
    let tagged = format!("{name}:1");
    for (append, digest) in [(false, &digests[0]), (true, &digests[1])] {
        let mut create = vec!["manifest", "create", "--push"];
        create.extend(append.then_some("--append"));
        merger.run(&[&create[..], &[tagged.as_str(), digest.as_str()]].concat());
    }
    let index = image::manifest(&format!("{image}:1"));
    let entries = index["manifests"].as_array().unwrap().iter();
    let entry = |entry: &Value| {
        let architecture = entry["platform"]["architecture"].as_str().unwrap();
        let digest = entry["digest"].as_str().unwrap();
        (architecture.to_owned(), format!("{name}@{digest}"))
    };
    let expected = [("amd64", &digests[0]), ("arm64", &digests[1])];
    let expected = expected.map(|(one, digest)| (one.to_owned(), digest.clone()));
    assert_eq!(entries.map(entry).collect::<Vec<_>>(), expected);
}

#[test]
fn bad_platforms_and_clocks_are_refused_before_anything_runs() {
    let kiln = Kiln::new();
    let context = kiln.context("FROM scratch\nCOPY Dockerfile /\n");
    let cases: [(&[&str], i32, &str); 3] = [
        (&["--platform=linus"], 2, "invalid platform `linus`"),
        (&["--platform=linux/a b"], 2, "invalid platform `linux/a b`"),
        (
            &["--build-arg=SOURCE_DATE_EPOCH=noon"],
            3,
            "SOURCE_DATE_EPOCH",
        ),
    ];
    for (arguments, code, message) in cases {
        let ran = kiln.try_build(&context, arguments);
        let ran = ran.failed_saying(code, &[message]);
        assert_eq!(ran.executed_steps(), 0, "{}", ran.description());
    }
}
