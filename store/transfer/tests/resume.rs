//! Large blobs: in parts over several connections, and on where they broke off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kiln_disk::Store;
use kiln_oci::{Platform, Reference};
use kiln_registry::{Client, ClientOptions, RetryPolicy};
use kiln_testdata::registry::{FakeRegistry, Fault, Layer};
use kiln_transfer::pull::{PullError, PullEvent, PulledImage, pull};
use tempfile::TempDir;

const LAYER_BYTES: usize = 60 << 20;

struct Bench {
    registry: FakeRegistry,
    store: Store,
    directory: TempDir,
}

fn client(directory: &TempDir) -> Client {
    let short = Duration::from_millis(1);
    Client::new(ClientOptions {
        retries: RetryPolicy {
            attempts: 3,
            first_pause: short,
            longest_pause: short,
            longest_wait: Duration::from_secs(1),
        },
        docker_config: Some(directory.path().to_owned()),
        ..ClientOptions::default()
    })
    .unwrap()
}

/// Returns a registry with an image that has a small and a large layer.
fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::start();
    // Bytes that differ everywhere, so that a part in the wrong place is seen.
    let words = 0..LAYER_BYTES as u32 / 4;
    let large: Vec<u8> = words
        .flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let layers = [("small", &b"x"[..]), ("large", &large)];
    let layers = layers.map(|file| Layer::of_files(&[file]));
    registry.add_image("a", "1", &layers);
    Bench {
        registry,
        store: Store::open(&directory.path().join("store")).unwrap(),
        directory,
    }
}

impl Bench {
    fn pull(
        &self,
        client: &Client,
        observer: &(dyn Fn(PullEvent) + Sync),
    ) -> Result<PulledImage, PullError> {
        let name = format!("{}/a:1", self.registry.address());
        let name: Reference = name.parse().unwrap();
        let linux = Platform::new("linux", "amd64", None);
        pull(&self.store, client, &name, &linux, observer)
    }

    fn ranges(&self) -> Vec<String> {
        let requests = self.registry.requests();
        let mut ranges: Vec<_> = requests.into_iter().filter_map(|one| one.range).collect();
        ranges.sort();
        ranges
    }

    fn left_over(&self) -> usize {
        let folder = self.store.root().join("partial");
        std::fs::read_dir(folder).unwrap().count()
    }
}

#[test]
fn large_layers_come_in_parts_where_the_server_has_them() {
    let bench = bench();
    let image = bench.pull(&client(&bench.directory), &|_| {}).unwrap();
    let file = bench
        .store
        .layers()
        .diff_path(&image.stack[1])
        .join("large");
    assert_eq!(file.metadata().unwrap().len(), LAYER_BYTES as u64);
    let mib = 1 << 20;
    let part = |from: usize, to: usize| format!("bytes={}-{}", from * mib, to * mib - 1);
    let rest = format!("bytes={}-", 48 * mib);
    let expected = [part(0, 16), part(16, 32), part(32, 48), rest];
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(bench.ranges(), expected);
    assert!(bench.registry.sent_bytes() < LAYER_BYTES as u64 + mib as u64);
    assert_eq!(bench.left_over(), 0);
}

#[test]
fn servers_without_parts_send_everything_once() {
    let bench = bench();
    bench.registry.set_fault(Fault::NoRanges);
    bench.pull(&client(&bench.directory), &|_| {}).unwrap();
    assert_eq!(bench.ranges().len(), 1);
    assert!(bench.registry.sent_bytes() < LAYER_BYTES as u64 + (1 << 20));
}

#[test]
fn next_pull_fetches_only_the_rest() {
    let bench = bench();
    let first = client(&bench.directory);
    let (canceller, is_cut) = (first.canceller(), AtomicBool::new(false));
    // Slow enough that a good deal is still to come when the transfer ends.
    bench
        .registry
        .set_fault(Fault::SlowBlobs { bytes: 200_000 });
    let cut = |event: PullEvent| {
        if let PullEvent::Downloading { bytes, .. } = event
            && bytes > 20 << 20
            && !is_cut.swap(true, Ordering::Relaxed)
        {
            canceller.cancel();
        }
    };
    let error = bench.pull(&first, &cut).unwrap_err();
    assert!(is_cut.into_inner(), "{error}");
    assert_eq!(bench.left_over(), 1);
    let before = bench.registry.sent_bytes();
    bench.registry.set_fault(Fault::None);
    bench.pull(&client(&bench.directory), &|_| {}).unwrap();
    let second = bench.registry.sent_bytes() - before;
    // Of the parts that came beside each other only the first are contiguous.
    assert!(second < LAYER_BYTES as u64 - (3 << 20), "{second}");
    assert!(before + second < 2 * LAYER_BYTES as u64);
    assert_eq!(bench.left_over(), 0);
}

#[test]
fn left_overs_that_are_wrong_are_fetched_anew() {
    let bench = bench();
    let manifest = bench.registry.manifest("a", "1").unwrap();
    let text = String::from_utf8(manifest).unwrap();
    let digests = text
        .match_indices("sha256:")
        .map(|(at, _)| &text[at..at + 71]);
    for digest in digests {
        let partial = bench.store.blobs().partial(&digest.parse().unwrap());
        partial.unwrap().write_at(0, &[7; 500]).unwrap();
    }
    let image = bench.pull(&client(&bench.directory), &|_| {}).unwrap();
    assert_eq!(image.stack.len(), 2);
}
