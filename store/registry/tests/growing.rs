//! Blobs that are sent while they are made.

use std::io::{self, Cursor, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kiln_oci::{Descriptor, Reference};
use kiln_registry::{
    Client, ClientOptions, Error, GrowingBlob, Growth, Pushed, RetryPolicy, Timeouts,
};
use kiln_testdata::registry::{FakeRegistry, Fault};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// What is sent at once of a blob that grows.
const PART_BYTES: usize = 16 << 20;

/// A blob of which more is there each time somebody looks, and which is whole in the end, or
/// fails.
struct Steps {
    content: Vec<u8>,
    sizes: Vec<usize>,
    looks: AtomicUsize,
    fails: bool,
}

impl Steps {
    fn new(sizes: &[usize], bytes: usize) -> Self {
        let content = (0..bytes).map(|number| (number % 251) as u8).collect();
        let sizes = sizes.to_vec();
        Steps {
            content,
            sizes,
            looks: AtomicUsize::new(0),
            fails: false,
        }
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor::of_bytes(LAYER, &self.content)
    }
}

impl GrowingBlob for Steps {
    fn growth(&self) -> io::Result<Growth> {
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        match self.sizes.get(look) {
            Some(size) => Ok(Growth::Bytes(*size as u64)),
            None if self.fails => Err(io::Error::other("no more paper")),
            None => Ok(Growth::Whole(Box::new(self.descriptor()))),
        }
    }

    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, position: u64) -> io::Result<Box<dyn Read + Send>> {
        let looks = self.looks.load(Ordering::Relaxed);
        let there = self.sizes.get(looks - 1).copied();
        let there = there.unwrap_or(self.content.len());
        let bytes = self.content[position as usize..there].to_vec();
        Ok(Box::new(Cursor::new(bytes)))
    }
}

struct Bench {
    registry: FakeRegistry,
    client: Client,
    name: Reference,
}

fn bench(fault: Fault) -> Bench {
    let retries = RetryPolicy {
        attempts: 4,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(5),
        longest_wait: Duration::from_secs(1),
    };
    bench_with(fault, retries)
}

fn bench_with(fault: Fault, retries: RetryPolicy) -> Bench {
    let registry = FakeRegistry::start();
    registry.set_fault(fault);
    // Many bytes take their time.
    let timeouts = Timeouts {
        idle: Duration::from_secs(60),
        ..Timeouts::default()
    };
    let client = Client::new(ClientOptions {
        retries,
        timeouts,
        ..ClientOptions::default()
    });
    Bench {
        name: format!("{}/a/b:1", registry.address()).parse().unwrap(),
        client: client.unwrap(),
        registry,
    }
}

impl Bench {
    /// Returns how long the bodies of requests were, without empty ones.
    fn lengths(&self) -> Vec<usize> {
        let requests = self.registry.requests().into_iter();
        let lengths = requests.map(|request| request.length);
        lengths.filter(|length| *length > 0).collect()
    }

    fn assert_has(&self, blob: &Steps) {
        let digest = blob.descriptor().digest;
        let there = self.registry.blob("a/b", digest.as_str());
        assert!(there.is_some_and(|bytes| bytes == blob.content));
    }
}

#[test]
fn parts_go_as_soon_as_they_are_there_and_the_rest_with_the_digest() {
    let bench = bench(Fault::None);
    let (first, second) = (PART_BYTES + 1, 2 * PART_BYTES + 1);
    let sizes = [0, PART_BYTES, first, first, second];
    let all = 2 * PART_BYTES + 100;
    let blob = Steps::new(&sizes, all);
    let pushed = bench.client.push_growing(&bench.name, &blob).unwrap();
    assert_eq!(pushed, (blob.descriptor(), Pushed::Uploaded));
    assert_eq!(bench.lengths(), [PART_BYTES, PART_BYTES, 100]);
    let counts = ["POST", "PATCH", "PUT"].map(|method| bench.registry.count(method, "/uploads/"));
    assert_eq!(counts, [1, 2, 1]);
    bench.assert_has(&blob);
}

#[test]
fn small_blobs_are_asked_for_before_anything_is_sent() {
    let bench = bench(Fault::None);
    let blob = Steps::new(&[0, 10], 20);
    bench.registry.add_blob("a/b", &blob.content);
    let pushed = bench.client.push_growing(&bench.name, &blob).unwrap();
    assert_eq!(pushed, (blob.descriptor(), Pushed::Existed));
    assert_eq!(bench.registry.count("POST", ""), 0);
}

#[test]
fn no_more_is_sent_of_a_blob_that_turns_out_to_be_there() {
    let bench = bench(Fault::None);
    let blob = Steps::new(&[PART_BYTES + 1, PART_BYTES + 1], 3 * PART_BYTES);
    bench.registry.add_blob("a/b", &blob.content);
    let pushed = bench.client.push_growing(&bench.name, &blob).unwrap();
    assert_eq!(pushed, (blob.descriptor(), Pushed::Existed));
    assert_eq!(bench.lengths(), [PART_BYTES]);
    assert_eq!(bench.registry.count("DELETE", "/uploads/"), 1);
}

#[test]
fn broken_parts_go_on_where_the_registry_says() {
    let bench = bench(Fault::CutUploads { times: 1 });
    let blob = Steps::new(&[PART_BYTES + 1, PART_BYTES + 1], PART_BYTES + 100);
    bench.client.push_growing(&bench.name, &blob).unwrap();
    // Half of the first part arrived, and a whole one was sent from there on.
    let sent = PART_BYTES + PART_BYTES / 2;
    assert_eq!(bench.lengths().iter().sum::<usize>(), sent + 100);
    assert_eq!(bench.registry.count("POST", "/uploads/"), 1);
    bench.assert_has(&blob);
}

#[test]
fn registries_that_take_no_parts_get_the_whole_in_the_end() {
    let bench = bench(Fault::NoUploadsInParts);
    let blob = Steps::new(&[PART_BYTES + 1, PART_BYTES + 1], PART_BYTES + 100);
    bench.client.push_growing(&bench.name, &blob).unwrap();
    let counts = ["PATCH", "PUT"].map(|method| bench.registry.count(method, "/uploads/"));
    assert_eq!(counts, [1, 1]);
    bench.assert_has(&blob);
}

#[test]
fn blobs_that_are_never_whole_are_told() {
    let bench = bench(Fault::None);
    let mut blob = Steps::new(&[PART_BYTES + 1], 2 * PART_BYTES);
    blob.fails = true;
    let error = bench.client.push_growing(&bench.name, &blob).unwrap_err();
    assert!(
        matches!(&error, Error::Source { source, .. } if source.to_string() == "no more paper")
    );
    let counts = ["PUT", "DELETE"].map(|method| bench.registry.count(method, "/uploads/"));
    assert_eq!(counts, [0, 1]);
}

/// A blob of which a part is there, until nobody wants it any more.
struct Unwanted<'a> {
    registry: &'a FakeRegistry,
}

impl GrowingBlob for Unwanted<'_> {
    fn growth(&self) -> io::Result<Growth> {
        Ok(Growth::Bytes(PART_BYTES as u64 + 1))
    }

    fn check(&self) -> io::Result<()> {
        match self.registry.count("PATCH", "/uploads/") {
            0 => Ok(()),
            _ => Err(io::Error::other("the build has failed")),
        }
    }

    fn open(&self, _: u64) -> io::Result<Box<dyn Read + Send>> {
        let part = io::repeat(0).take(PART_BYTES as u64);
        Ok(Box::new(Hesitating(part)))
    }
}

/// Reads with a pause that is longer than it takes to notice that nobody wants a blob.
struct Hesitating(io::Take<io::Repeat>);

impl Read for Hesitating {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.limit() == PART_BYTES as u64 / 2 {
            std::thread::sleep(Duration::from_millis(400));
        }
        // In halves.
        let left = self.0.limit() as usize;
        let half = left.checked_sub(PART_BYTES / 2).filter(|rest| *rest > 0);
        let most = half.unwrap_or(left).min(buffer.len());
        self.0.read(&mut buffer[..most])
    }
}

#[test]
fn uploads_that_nobody_wants_any_more_end_although_they_wait() {
    // The next attempt would be in an hour.
    let hour = Duration::from_secs(3600);
    let bench = bench_with(
        Fault::CutUploads { times: 1 },
        RetryPolicy {
            attempts: 4,
            first_pause: hour,
            longest_pause: hour,
            longest_wait: 4 * hour,
        },
    );
    let blob = Unwanted {
        registry: &bench.registry,
    };
    let error = bench.client.push_growing(&bench.name, &blob).unwrap_err();
    let Error::Source { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.to_string(), "the build has failed");
    assert_eq!(bench.registry.count("DELETE", "/uploads/"), 1);
}

#[test]
fn requests_of_uploads_that_nobody_wants_any_more_are_not_cut_off() {
    let bench = bench(Fault::None);
    let blob = Unwanted {
        registry: &bench.registry,
    };
    bench.client.push_growing(&bench.name, &blob).unwrap_err();
    // All of the part came before the upload was taken back.
    let requests = bench.registry.requests();
    let last = requests.last().unwrap();
    assert_eq!(last.method, "DELETE");
    let come = format!("state={PART_BYTES}");
    assert!(last.path.ends_with(&come), "{}", last.path);
}

#[test]
fn registries_are_told_of_uploads_that_failed() {
    let bench = bench(Fault::RefuseUploads {
        code: 507,
        times: u32::MAX,
    });
    let growing = Steps::new(&[PART_BYTES + 1, PART_BYTES + 1], PART_BYTES + 100);
    bench
        .client
        .push_growing(&bench.name, &growing)
        .unwrap_err();
    assert_eq!(bench.registry.count("DELETE", "/uploads/"), 1);
    let content = b"whole".as_slice();
    let blob = Descriptor::of_bytes(LAYER, content);
    let open = |from| Ok(Box::new(&content[from as usize..]) as Box<dyn Read + Send>);
    let pushed = bench.client.push_blob(&bench.name, &blob, open, None);
    pushed.unwrap_err();
    assert_eq!(bench.registry.count("DELETE", "/uploads/"), 2);
}
