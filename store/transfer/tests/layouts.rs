//! Images from OCI image layouts, which may be damaged or hostile.

mod fixture;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::Fixture;
use kiln_disk::Store;
use kiln_oci::{Descriptor, Index, MediaFamily, Platform};
use kiln_transfer::layout_name::LayoutName;
use kiln_transfer::pack::Packing;
use kiln_transfer::sink::{ArchiveOptions, Destination, oci_layout as sink};
use kiln_transfer::source::ImportError;
use kiln_transfer::source::oci_layout::import;

struct Layout {
    fixture: Fixture,
    target: Descriptor,
}

impl Layout {
    /// A layout of one image under the name `app:1`.
    fn new(name: &str) -> Self {
        let fixture = Fixture::new(name);
        let image = fixture.image();
        let directory = fixture.scratch("layout");
        let target = sink::write_directory(
            &fixture.store,
            &[image],
            &options(&["app:1"]),
            &directory,
            &|_| {},
        );
        Layout {
            target: target.unwrap(),
            fixture,
        }
    }

    fn path(&self) -> PathBuf {
        self.fixture.scratch("layout")
    }

    /// A store that has nothing yet.
    fn empty_store(&self) -> Store {
        Store::open(&self.fixture.scratch("empty")).unwrap()
    }

    fn blob(&self, digest: &kiln_oci::Digest) -> PathBuf {
        self.path().join("blobs/sha256").join(digest.hex())
    }

    fn import(&self, wanted: &LayoutName) -> Result<Descriptor, ImportError> {
        import(
            &self.empty_store(),
            &self.path(),
            wanted,
            &[Platform::host()],
        )
    }
}

fn options(names: &[&str]) -> ArchiveOptions {
    ArchiveOptions {
        names: names.iter().map(|name| name.parse().unwrap()).collect(),
        packing: Packing::standard(),
        created: None,
    }
}

fn named(name: &str) -> LayoutName {
    LayoutName {
        name: Some(name.to_owned()),
        digest: None,
    }
}

#[test]
fn image_of_a_directory_comes_in_whole() {
    let layout = Layout::new("layout-directory");
    for wanted in [
        named("1"),
        named("docker.io/library/app:1"),
        LayoutName::default(),
    ] {
        let target = layout.import(&wanted).unwrap();
        assert_eq!(target.digest, layout.target.digest, "{wanted:?}");
    }
    let store = layout.empty_store();
    let image = kiln_transfer::image::load(&store, &layout.target, None).unwrap();
    for layer in &image.layers {
        assert_eq!(
            store.blobs().size(&layer.descriptor.digest).unwrap(),
            layer.descriptor.size
        );
    }
}

#[test]
fn image_of_an_archive_comes_in_compressed_or_not() {
    let layout = Layout::new("layout-archive");
    let archive = layout.fixture.scratch("layout.tar");
    let image = layout.fixture.image();
    let target = sink::write_archive(
        &layout.fixture.store,
        &[image],
        &options(&["app:1"]),
        Destination::File(&archive),
        &|_| {},
    )
    .unwrap();
    let gzip = Command::new("gzip").arg("-k").arg(&archive).status();
    assert!(gzip.unwrap().success());
    for name in ["layout.tar", "layout.tar.gz"] {
        let store = Store::open(&layout.fixture.scratch(&format!("store-of-{name}"))).unwrap();
        let path = layout.fixture.scratch(name);
        let imported = import(&store, &path, &named("1"), &[]).unwrap();
        assert_eq!(imported.digest, target.digest);
        kiln_transfer::image::load(&store, &imported, None).unwrap();
    }
}

#[test]
fn digest_leads_to_an_image_that_the_index_does_not_list() {
    let layout = Layout::new("layout-digest");
    let index = layout.path().join("index.json");
    fs::write(&index, r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    let wanted = LayoutName {
        name: None,
        digest: Some(layout.target.digest.clone()),
    };
    assert_eq!(layout.import(&wanted).unwrap().digest, layout.target.digest);
    let nothing = layout.import(&LayoutName::default()).unwrap_err();
    assert!(nothing.to_string().ends_with("lists no image"), "{nothing}");
}

#[test]
fn unknown_name_is_told_with_those_that_there_are() {
    let layout = Layout::new("layout-name");
    let error = layout.import(&named("2")).unwrap_err().to_string();
    assert!(error.contains("no image `2`; it has 1"), "{error}");
}

#[test]
fn what_is_no_layout_is_told_so() {
    let fixture = Fixture::new("layout-none");
    let (store, path) = (&fixture.store, fixture.scratch("nothing"));
    let refused = |path: &Path| {
        let error = import(store, path, &LayoutName::default(), &[]).unwrap_err();
        error.to_string()
    };
    assert!(refused(&path).starts_with("cannot open"));
    fs::create_dir(&path).unwrap();
    assert!(refused(&path).ends_with("it has no file `oci-layout`"));
    fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"9"}"#).unwrap();
    assert!(refused(&path).ends_with("its version is 9, not 1.0.0"));
    fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    assert!(refused(&path).ends_with("it has no file `index.json`"));
    fs::write(path.join("index.json"), "{}").unwrap();
    assert!(refused(&path).contains("its `index.json`"));
    let file = fixture.scratch("file");
    fs::write(&file, "text").unwrap();
    refused(&file);
}

#[test]
fn damaged_short_and_missing_blobs_are_refused() {
    let layout = Layout::new("layout-damaged");
    let manifest: kiln_oci::Manifest =
        serde_json::from_slice(&fs::read(layout.blob(&layout.target.digest)).unwrap()).unwrap();
    let blob = layout.blob(&manifest.layers[0].digest);
    let whole = fs::read(&blob).unwrap();
    let mut flipped = whole.clone();
    flipped[9] ^= 1;
    let longer = [whole.as_slice(), b"x"].concat();
    for damaged in [flipped.as_slice(), &whole[1..], &longer] {
        fs::remove_file(&blob).unwrap();
        fs::write(&blob, damaged).unwrap();
        let error = layout.import(&named("1")).unwrap_err();
        assert!(matches!(error, ImportError::Damaged { .. }), "{error}");
    }
    fs::remove_file(&blob).unwrap();
    let error = layout.import(&named("1")).unwrap_err();
    assert!(matches!(error, ImportError::BlobMissing { .. }), "{error}");
}

#[test]
fn index_of_which_nothing_is_there_is_refused() {
    let layout = Layout::new("layout-empty-index");
    let absent = Descriptor::of_bytes("application/vnd.oci.image.manifest.v1+json", b"absent");
    let index = Index::new(MediaFamily::Oci, vec![absent]).to_bytes();
    let index_type = "application/vnd.oci.image.index.v1+json";
    let mut outer = Descriptor::of_bytes(index_type, &index);
    fs::write(layout.blob(&outer.digest), &index).unwrap();
    outer.annotations = [(
        "org.opencontainers.image.ref.name".to_owned(),
        "empty".to_owned(),
    )]
    .into();
    let outer = Index::new(MediaFamily::Oci, vec![outer]).to_bytes();
    fs::write(layout.path().join("index.json"), outer).unwrap();
    let store = layout.empty_store();
    let error = import(&store, &layout.path(), &named("empty"), &[]).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("none of the images that index sha256:"),
        "{said}"
    );
}

#[test]
fn blobs_that_are_links_or_pipes_are_not_opened() {
    let layout = Layout::new("layout-links");
    let blob = layout.blob(&layout.target.digest);
    let elsewhere = layout.fixture.scratch("elsewhere");
    fs::rename(&blob, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &blob).unwrap();
    let error = layout.import(&named("1")).unwrap_err();
    assert!(matches!(error, ImportError::NotRegular(_)), "{error}");
    fs::remove_file(&blob).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&blob)
            .status()
            .unwrap()
            .success()
    );
    let error = layout.import(&named("1")).unwrap_err();
    assert!(matches!(error, ImportError::NotRegular(_)), "{error}");
}

#[test]
fn names_are_compared_as_image_names_are() {
    let layout = Layout::new("layout-names");
    assert!(layout.import(&named("app:1")).is_ok());
    assert!(layout.import(&named("app")).is_err());
}
