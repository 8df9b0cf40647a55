//! Images in and out of a registry, through the store.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kiln_disk::{LayerId, Store};
use kiln_oci::{Platform, Reference};
use kiln_registry::{Client, ClientOptions, RetryPolicy};
use kiln_testdata::registry::{FakeRegistry, Fault, Layer, digest_of};
use kiln_transfer::image::Listing;
use kiln_transfer::pack::{Absent, Packing};
use kiln_transfer::pull::{PullError, PullPolicy, pull, resolve, unpack_layers};
use kiln_transfer::push::{Naming, PushTarget, push};
use tempfile::TempDir;

struct Bench {
    registry: FakeRegistry,
    client: Client,
    store: Store,
    directory: TempDir,
}

fn client(docker_config: &Path) -> Client {
    let short = Duration::from_millis(1);
    let retries = RetryPolicy {
        longest_wait: Duration::from_secs(1),
        attempts: 3,
        first_pause: short,
        longest_pause: short,
    };
    let docker_config = Some(docker_config.to_owned());
    Client::new(ClientOptions {
        retries,
        docker_config,
        ..Default::default()
    })
    .unwrap()
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    Bench {
        registry: FakeRegistry::start(),
        client: client(directory.path()),
        store: Store::open(&directory.path().join("store")).unwrap(),
        directory,
    }
}

fn layers() -> Vec<Layer> {
    let big = vec![7; 300_000];
    vec![
        Layer::of_files(&[("etc/name", b"below"), ("gone", b"x")]),
        Layer::of_files(&[("big", &big)]),
        Layer::of_files(&[("etc/name", b"above"), (".wh.gone", b"")]),
    ]
}

fn linux() -> Platform {
    Platform::new("linux", "amd64", None)
}

impl Bench {
    fn name(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.registry.address())
            .parse()
            .unwrap()
    }

    fn pull(&self, name: &Reference) -> Result<Vec<LayerId>, PullError> {
        pull(&self.store, &self.client, name, &linux(), &|_| {}).map(|image| image.stack)
    }

    fn read(&self, layer: &LayerId, path: &str) -> Vec<u8> {
        fs::read(self.store.layers().diff_path(layer).join(path)).unwrap()
    }
}

#[test]
fn pulled_images_are_stacks_of_their_layers() {
    let bench = bench();
    bench.registry.add_image("a", "1", &layers());
    let stack = bench.pull(&bench.name("a:1")).unwrap();
    assert_eq!(stack.len(), 3);
    assert_eq!(bench.read(&stack[0], "etc/name"), b"below");
    assert_eq!(bench.read(&stack[1], "big").len(), 300_000);
    assert_eq!(bench.read(&stack[2], "etc/name"), b"above");
    let whiteout = bench.store.layers().diff_path(&stack[2]).join("gone");
    assert!(!fs::symlink_metadata(whiteout).unwrap().is_file());
}

#[test]
fn image_in_the_store_needs_no_registry_unless_told_so() {
    let bench = bench();
    bench.registry.add_image("a", "1", &layers());
    let name = bench.name("a:1");
    let stack = bench.pull(&name).unwrap();
    let before = bench.registry.requests().len();
    let resolve = |policy| resolve(&bench.store, &bench.client, &name, &linux(), policy).unwrap();
    let image = resolve(PullPolicy::Missing);
    assert!(image.is_local);
    assert_eq!(
        unpack_layers(&bench.store, &bench.client, &image, &|_| {}).unwrap(),
        stack
    );
    assert_eq!(bench.registry.requests().len(), before);
    assert!(!resolve(PullPolicy::Always).is_local);
    assert_eq!(bench.registry.requests().len(), before + 1);
}

#[test]
fn shared_layers_are_fetched_once() {
    let bench = bench();
    bench.registry.add_image("a", "1", &layers()[..2]);
    bench.registry.add_image("a", "2", &layers());
    let below = bench.pull(&bench.name("a:1")).unwrap();
    let above = bench.pull(&bench.name("a:2")).unwrap();
    assert_eq!(above[..2], below);
    // Three layers and two configurations.
    assert_eq!(bench.registry.count("GET", "/blobs/"), 5);
}

#[test]
fn several_that_want_one_image_download_it_once() {
    let bench = bench();
    bench.registry.add_image("a", "1", &layers());
    let name = bench.name("a:1");
    let stacks: Vec<_> = std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    // As other processes do: with a store and a client of their own.
                    let store = Store::open(&bench.directory.path().join("store")).unwrap();
                    let client = client(bench.directory.path());
                    pull(&store, &client, &name, &linux(), &|_| {})
                        .unwrap()
                        .stack
                })
            })
            .collect();
        pulls.into_iter().map(|pull| pull.join().unwrap()).collect()
    });
    assert!(stacks.iter().all(|stack| *stack == stacks[0]));
    for layer in layers() {
        assert_eq!(bench.registry.count("GET", &digest_of(&layer.archive)), 1);
    }
}

#[test]
fn layer_that_is_not_what_the_configuration_says_gets_no_name() {
    let bench = bench();
    let mut layers = layers();
    layers[1].diff_id = layers[0].diff_id.clone();
    bench.registry.add_image("a", "1", &layers);
    let error = bench.pull(&bench.name("a:1")).unwrap_err();
    assert!(matches!(error, PullError::WrongDiffId { .. }), "{error}");
    assert_eq!(bench.store.layers().list().unwrap().len(), 1);
    assert!(bench.store.images().list().unwrap().is_empty());
}

#[test]
fn wrong_blobs_stay_out_of_the_store() {
    let bench = bench();
    bench.registry.add_image("a", "1", &layers());
    let name = bench.name("a:1");
    let image = resolve(
        &bench.store,
        &bench.client,
        &name,
        &linux(),
        PullPolicy::Always,
    )
    .unwrap();
    for fault in [Fault::WrongBlobs, Fault::LongBlobs, Fault::ShortBlobs] {
        bench.registry.set_fault(fault);
        let error = unpack_layers(&bench.store, &bench.client, &image, &|_| {}).unwrap_err();
        assert!(error.registry().is_some(), "{error}");
        assert!(bench.store.layers().list().unwrap().is_empty());
        for layer in &image.manifest.layers {
            assert!(!bench.store.blobs().has(&layer.digest));
        }
    }
    bench.registry.set_fault(Fault::CutBlobs { times: 2 });
    assert_eq!(
        unpack_layers(&bench.store, &bench.client, &image, &|_| {})
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn indexes_lead_to_the_platform_or_say_what_they_have() {
    let bench = bench();
    let digest = bench.registry.add_image("a", "1", &layers());
    let size = bench.registry.manifest("a", "1").unwrap().len();
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
        {{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size},
          "platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
    );
    let media_type = "application/vnd.oci.image.index.v1+json";
    bench
        .registry
        .add_manifest("a", "many", media_type, index.as_bytes());
    let name = bench.name("a:many");
    assert_eq!(bench.pull(&name).unwrap().len(), 3);
    let other = Platform::new("linux", "riscv64", None);
    let error = resolve(
        &bench.store,
        &bench.client,
        &name,
        &other,
        PullPolicy::Missing,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("has no image for linux/riscv64; it has linux/amd64"),
        "{error}"
    );
}

#[test]
fn pushed_images_are_mounted_where_they_were_pulled_and_sent_elsewhere() {
    let bench = bench();
    bench.registry.add_image("a", "1", &layers());
    let name = bench.name("a:1");
    bench.pull(&name).unwrap();
    let named = bench.store.images().get(&name).unwrap().unwrap();
    let images = kiln_transfer::image::load_all(&bench.store, &named.target).unwrap();
    let packing = Packing {
        absent: Absent::Describe,
        listing: Listing::of(&named.target),
        ..Packing::standard()
    };
    let send = |target: &Reference| {
        let target = PushTarget {
            name: target,
            naming: Naming::Reference,
            packing: &packing,
            ahead: None,
        };
        push(&bench.store, &bench.client, &images, target, &|_| {}).unwrap()
    };
    let pushed = send(&bench.name("copy:2"));
    assert_eq!(
        digest_of(&bench.registry.manifest("copy", "2").unwrap()),
        pushed.digest.to_string()
    );
    // Only the configuration is sent, and the manifest.
    assert_eq!(bench.registry.count("PUT", "/copy/blobs/"), 1);

    let other = FakeRegistry::start();
    send(&format!("{}/a:1", other.address()).parse().unwrap());
    assert_eq!(other.count("PUT", "/blobs/"), 4);
    for layer in layers() {
        assert_eq!(
            other.blob("a", &digest_of(&layer.archive)).unwrap(),
            layer.archive
        );
    }
}
