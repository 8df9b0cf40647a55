//! What every place of a cache must do, over all of them.

use super::document::{DocumentBuilder, LayerEntry, RecordEntry};
use super::*;
use kiln_oci::{DiffId, LayerEncoding, MediaFamily, MediaType};
use kiln_registry::{Client, ClientOptions};
use kiln_testdata::registry::FakeRegistry;
use std::io::Cursor;

fn layer_blob(text: &str) -> (LayerEntry, Descriptor, Vec<u8>) {
    let bytes = text.as_bytes().to_vec();
    let entry = LayerEntry {
        diff_id: DiffId(Digest::sha256(&bytes)),
        created_seconds: 7,
    };
    (
        entry,
        Descriptor::of_bytes(
            MediaType::layer(MediaFamily::Oci, LayerEncoding::TarGzip),
            &bytes,
        ),
        bytes,
    )
}

fn sample(text: &str) -> (Document, Descriptor, Vec<u8>) {
    let (entry, descriptor, bytes) = layer_blob(text);
    let key = Digest::sha256(b"key");
    let record = RecordEntry::new(vec![key.clone()], key, 7, "[1/1] RUN true".to_owned());
    let mut builder = DocumentBuilder::default();
    builder.add(record, &[entry]);
    (builder.finish(), descriptor, bytes)
}

fn put(backend: &dyn Backend, text: &str) -> Document {
    let (document, descriptor, bytes) = sample(text);
    let open = || Ok(Box::new(Cursor::new(bytes.clone())) as Box<dyn Read + Send>);
    backend
        .put_blob(&descriptor, &open, None)
        .expect("the blob goes in");
    backend
        .publish(&document, &[descriptor])
        .expect("the cache appears");
    document
}

/// Calls `check` with an empty place of each kind, made anew each time it is opened.
fn each_backend(check: impl Fn(&dyn Fn() -> Box<dyn Backend>)) {
    let directory = tempfile::tempdir().expect("a directory");
    let client = Client::new(ClientOptions::default()).expect("a client");
    let layout = CacheLocation::Directory {
        path: directory.path().join("cache"),
        tag: DEFAULT_TAG.to_owned(),
        digest: None,
    };
    check(&|| backend(&layout, &client));
    let registry = FakeRegistry::start();
    let name = format!("{}/team/cache:ci", registry.address());
    let location = CacheLocation::Registry(name.parse().expect("a name"));
    check(&|| backend(&location, &client));
}

#[test]
fn an_empty_place_has_no_cache() {
    each_backend(|open| {
        let loaded = open().load();
        assert!(matches!(loaded, Err(CacheError::Absent)), "{loaded:?}");
    });
}

#[test]
fn what_was_published_is_loaded_with_its_blobs() {
    each_backend(|open| {
        let document = put(open().as_ref(), "one");
        let loaded = open().load().expect("it is there");
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].document, document);
        let mut bytes = Vec::new();
        let mut blob = open()
            .blob(&loaded[0].layers[0])
            .expect("the blob is there");
        blob.read_to_end(&mut bytes).expect("it can be read");
        assert_eq!(bytes, b"one");
    });
}

#[test]
fn a_second_cache_takes_the_place_of_the_first() {
    each_backend(|open| {
        put(open().as_ref(), "one");
        let second = put(open().as_ref(), "two");
        let loaded = open().load().expect("it is there");
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].document, second);
    });
}

/// The blobs in the layout at `path`.
fn blobs(path: &std::path::Path) -> std::collections::BTreeSet<String> {
    let names = std::fs::read_dir(path.join("blobs/sha256")).expect("the blobs");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("a blob").file_name();
    names
        .map(|entry| name(entry).into_string().expect("a digest"))
        .collect()
}

#[test]
fn a_directory_keeps_no_blobs_of_the_cache_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let client = Client::new(ClientOptions::default()).expect("a client");
    let in_tag = |tag: &str| {
        let location = CacheLocation::Directory {
            path: directory.path().to_owned(),
            tag: tag.to_owned(),
            digest: None,
        };
        backend(&location, &client)
    };
    put(in_tag("main").as_ref(), "one");
    put(in_tag("branch").as_ref(), "one");
    let both = blobs(directory.path());
    put(in_tag("main").as_ref(), "two");
    assert!(
        blobs(directory.path()).is_superset(&both),
        "the branch has them"
    );
    // While somebody reads the cache nothing goes.
    let reader = in_tag("branch");
    reader.load().expect("it is there");
    let read = blobs(directory.path());
    put(in_tag("main").as_ref(), "three");
    assert!(
        blobs(directory.path()).is_superset(&read),
        "it is being read"
    );
    drop(reader);
    put(in_tag("branch").as_ref(), "four");
    let left = blobs(directory.path());
    assert!(both.is_disjoint(&left), "{left:?}");
    for tag in ["main", "branch"] {
        in_tag(tag).load().expect("it is whole");
    }
}

#[test]
fn a_blob_that_is_there_is_not_read_again() {
    each_backend(|open| {
        put(open().as_ref(), "one");
        let (_, descriptor, _) = sample("one");
        let refuse = || Err(io::Error::other("it was read"));
        open()
            .put_blob(&descriptor, &refuse, None)
            .expect("it is there");
    });
}

#[test]
fn an_image_without_an_inline_cache_is_no_cache() {
    let registry = FakeRegistry::start();
    registry.add_image("team/app", "1", &[]);
    let client = Client::new(ClientOptions::default()).expect("a client");
    let name = format!("{}/team/app:1", registry.address());
    let location = CacheLocation::Registry(name.parse().expect("a name"));
    let loaded = backend(&location, &client).load();
    assert!(
        matches!(loaded, Err(CacheError::Malformed(_))),
        "{loaded:?}"
    );
}

#[test]
fn a_damaged_layout_is_told_from_an_absent_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let client = Client::new(ClientOptions::default()).expect("a client");
    let path = directory.path().to_owned();
    let location = CacheLocation::Directory {
        path: path.clone(),
        tag: DEFAULT_TAG.to_owned(),
        digest: None,
    };
    put(backend(&location, &client).as_ref(), "one");
    for blob in std::fs::read_dir(path.join("blobs/sha256")).expect("the blobs") {
        std::fs::write(blob.expect("a blob").path(), "damaged").expect("it can be written");
    }
    let loaded = backend(&location, &client).load();
    assert!(
        matches!(loaded, Err(CacheError::Malformed(_))),
        "{loaded:?}"
    );
}
