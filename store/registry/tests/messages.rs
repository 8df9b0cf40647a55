//! Every fault of a registry, and what users read about it.

use std::error::Error as _;
use std::io::{Cursor, Read};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use kiln_oci::{Descriptor, Reference};
use kiln_registry::{Client, ClientOptions, Error, Pushed, RetryPolicy, Timeouts};
use kiln_testdata::registry::{FakeRegistry, Fault, Guard, Layer, digest_of};
use tempfile::TempDir;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

struct Bench {
    registry: FakeRegistry,
    client: Client,
    name: Reference,
    blob: Descriptor,
    content: Vec<u8>,
    notes: Arc<Mutex<Vec<String>>>,
    _config: TempDir,
}

fn password() -> String {
    base64::engine::general_purpose::STANDARD.encode("user:secret")
}

/// How long a connection may stand still where that it does is what is tested.
const SHORT: Duration = Duration::from_millis(400);
/// The same where a busy machine must not be mistaken for that.
const LONG: Duration = Duration::from_secs(60);

fn bench() -> Bench {
    bench_that_waits(SHORT)
}

fn bench_that_waits(idle: Duration) -> Bench {
    let registry = FakeRegistry::start();
    let config = tempfile::tempdir().unwrap();
    let (address, auth) = (registry.address(), password());
    let auths = format!(r#"{{"auths":{{"{address}":{{"auth":"{auth}"}}}}}}"#);
    std::fs::write(config.path().join("config.json"), auths).unwrap();
    let content: Vec<u8> = (0..100_000u32).map(|number| (number % 251) as u8).collect();
    registry.add_blob("a/b", &content);
    registry.add_image("a/b", "1", &[Layer::of_files(&[("x", b"y")])]);
    let notes = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&notes);
    let client = Client::new(ClientOptions {
        docker_config: Some(config.path().to_owned()),
        retries: RetryPolicy {
            attempts: 3,
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_millis(10),
            longest_wait: Duration::from_secs(3),
        },
        timeouts: Timeouts {
            idle,
            ..Timeouts::default()
        },
        observer: Some(Arc::new(move |line: &str| {
            heard.lock().unwrap().push(line.to_owned());
        })),
        ..ClientOptions::default()
    })
    .unwrap();
    Bench {
        name: format!("{address}/a/b:1").parse().unwrap(),
        blob: Descriptor::of_bytes(LAYER, &content),
        registry,
        client,
        content,
        notes,
        _config: config,
    }
}

impl Bench {
    fn with(fault: Fault) -> Self {
        let bench = bench();
        bench.registry.set_fault(fault);
        bench
    }

    /// For faults among many bytes, which take their time.
    fn patient_with(fault: Fault) -> Self {
        let bench = bench_that_waits(LONG);
        bench.registry.set_fault(fault);
        bench
    }

    fn resolve(&self) -> Result<(), String> {
        let resolved = self.client.resolve(&self.name);
        resolved.map(drop).map_err(|error| self.in_words(&error))
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut reader = self.client.blob(&self.name, &self.blob).unwrap();
        match reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.in_words(&error.downcast::<Error>().unwrap())),
        }
    }

    fn push(&self, content: &[u8]) -> Result<Pushed, String> {
        let blob = Descriptor::of_bytes(LAYER, content);
        let open = |position: u64| {
            let rest = content[position as usize..].to_vec();
            Ok(Box::new(Cursor::new(rest)) as Box<dyn Read + Send>)
        };
        let pushed = self.client.push_blob(&self.name, &blob, open, None);
        pushed.map_err(|error| self.in_words(&error))
    }

    /// Returns the error with its causes, as users see it; the host is `HOST`, digests `…`.
    fn in_words(&self, error: &Error) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            text = format!("{text}: {source}");
            cause = source.source();
        }
        self.neutral(&text)
    }

    fn neutral(&self, text: &str) -> String {
        let text = text.replace(&self.registry.address(), "HOST");
        text.replace(self.blob.digest.as_str(), "BLOB")
    }

    fn notes(&self) -> Vec<String> {
        let notes = self.notes.lock().unwrap();
        notes.iter().map(|note| self.neutral(note)).collect()
    }
}

const MANIFEST: &str = "HOST/v2/a/b/manifests/1";

#[test]
fn answers_that_stay_are_told_with_host_path_and_status() {
    let cases = [
        (
            500,
            "cannot GET {M} (tried 3 times): the server answered 500 Internal Server Error",
        ),
        (403, "cannot GET {M}: the server answered 403 Forbidden"),
        (404, "cannot GET {M}: the server answered 404 Not Found"),
        (
            501,
            "cannot GET {M}: the server answered 501 Not Implemented",
        ),
    ];
    for (code, expected) in cases {
        let bench = Bench::with(Fault::Status { code, times: 99 });
        assert_eq!(bench.resolve(), Err(expected.replace("{M}", MANIFEST)));
    }
}

#[test]
fn rate_limits_are_waited_out_as_the_server_asks_or_told() {
    let bench = Bench::with(Fault::RateLimit {
        after: "1".into(),
        times: 1,
    });
    let began = Instant::now();
    assert_eq!(bench.resolve(), Ok(()));
    assert!(began.elapsed() >= Duration::from_secs(1));
    let note = bench.notes().remove(0);
    let expected = format!("s: {MANIFEST}: rate limited by HOST: it asks to come back in 1 s");
    assert!(
        note.starts_with("retrying in 1") && note.ends_with(&expected),
        "{note}"
    );
    for after in ["3600", "Wed, 24 Nov 2100 08:00:00 GMT"] {
        let bench = Bench::with(Fault::RateLimit {
            after: after.into(),
            times: 99,
        });
        let error = bench.resolve().unwrap_err();
        let expected =
            format!("cannot GET {MANIFEST}: rate limited by HOST: it asks to come back in ");
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(bench.registry.requests().len(), 1);
    }
}

#[test]
fn connections_that_break_are_made_anew_or_told() {
    let bench = Bench::with(Fault::Reset { times: 2 });
    assert_eq!(bench.resolve(), Ok(()));
    assert_eq!(bench.notes().len(), 2);
    let bench = Bench::with(Fault::Reset { times: 99 });
    let error = bench.resolve().unwrap_err();
    let expected = format!("cannot GET {MANIFEST} (tried 3 times): the connection broke: ");
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn nobody_at_home_is_told() {
    let bench = bench();
    let name: Reference = "127.0.0.1:1/a".parse().unwrap();
    let error = bench.client.resolve(&name).unwrap_err();
    let text = bench.in_words(&error);
    assert!(
        text.starts_with(
            "cannot GET 127.0.0.1:1/v2/a/manifests/latest (tried 3 times): cannot connect: "
        ) && text.contains("refused"),
        "{text}"
    );
}

#[test]
fn slow_drips_and_silence_end() {
    let began = Instant::now();
    let blob = "HOST/v2/a/b/blobs/BLOB";
    for fault in [
        Fault::SlowBlobs { bytes: 1 },
        Fault::StalledBlobs(Duration::from_secs(5)),
    ] {
        let bench = Bench::with(fault);
        let expected = format!("cannot GET {blob} (tried 3 times): too little came for 0 seconds");
        assert_eq!(bench.read(), Err(expected));
    }
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[test]
fn cancelling_ends_a_transfer_at_once() {
    let bench = Bench::with(Fault::SlowBlobs { bytes: 2000 });
    let canceller = bench.client.canceller();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| bench.read());
        std::thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        canceller.cancel();
        let error = reading.join().unwrap().unwrap_err();
        assert_eq!(error, "the transfer was cancelled");
        assert!(began.elapsed() < Duration::from_millis(100));
    });
}

#[test]
fn wrong_sizes_and_digests_are_told_with_both() {
    let error = Bench::with(Fault::ShortBlobs).read().unwrap_err();
    assert_eq!(
        error,
        "short blob BLOB from HOST: got 87500 of 100000 bytes"
    );
    let error = Bench::with(Fault::LongBlobs).read().unwrap_err();
    assert_eq!(error, "blob BLOB from HOST is longer than its 100000 bytes");
    let bench = Bench::with(Fault::WrongBlobs);
    let wrong: Vec<u8> = bench.content.iter().map(|byte| byte ^ 1).collect();
    let found = digest_of(&wrong);
    let expected = format!("HOST served wrong content for BLOB: it has digest {found}");
    assert_eq!(bench.read(), Err(expected));
    assert_eq!(bench.registry.requests().len(), 1);
}

#[test]
fn missing_blobs_are_named() {
    let bench = bench();
    let absent = Descriptor::of_bytes(LAYER, b"absent");
    let mut reader = bench.client.blob(&bench.name, &absent).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    let text = bench.in_words(&error.downcast().unwrap());
    let digest = &absent.digest;
    let expected =
        format!("cannot GET HOST/v2/a/b/blobs/{digest}: the server answered 404 Not Found");
    assert_eq!(text, expected);
}

#[test]
fn token_servers_that_fail_are_told_and_not_quoted() {
    let page = "<html>a page with a secret</html>".to_owned();
    let huge = format!(r#"{{"token":"{}"}}"#, "x".repeat(2 << 20));
    let cases = [
        (
            500,
            String::new(),
            3,
            "it answered 500 Internal Server Error",
        ),
        (
            401,
            page.clone(),
            1,
            "the credentials were refused (401 Unauthorized)",
        ),
        (200, page, 1, "its answer is no token document"),
        (200, "{}".to_owned(), 1, "its answer holds no token"),
        (200, huge, 1, "the answer is larger than 1048576 bytes"),
    ];
    for (code, body, asked, reason) in cases {
        let bench = Bench::with(Fault::TokenAnswer { code, body });
        bench.registry.set_guard(Guard::Token(password()));
        let expected = format!(
            "cannot GET {MANIFEST}: authentication: token endpoint http://HOST/token: {reason}"
        );
        assert_eq!(bench.resolve(), Err(expected));
        assert_eq!(bench.registry.count("GET", "/token"), asked, "{reason}");
    }
}

#[test]
fn credentials_that_are_no_good_are_told() {
    let bench = bench();
    bench.registry.set_guard(Guard::Basic("other".to_owned()));
    let expected = "unauthorized: the configured credentials were refused";
    assert_eq!(
        bench.resolve(),
        Err(format!("cannot GET {MANIFEST}: {expected}"))
    );
    bench.registry.set_guard(Guard::Nobody);
    let expected = "unauthorized: the registry does not accept the token it asked for";
    assert_eq!(
        bench.resolve(),
        Err(format!("cannot GET {MANIFEST}: {expected}"))
    );
}

#[test]
fn tokens_that_run_out_are_renewed_in_the_middle() {
    let bench = Bench::with(Fault::ShortTokens(2));
    bench.registry.set_guard(Guard::Token(password()));
    for _ in 0..6 {
        assert_eq!(bench.read().as_deref(), Ok(&bench.content[..]));
    }
    assert_eq!(bench.registry.count("GET", "/token"), 3);
}

#[test]
fn parts_are_read_where_the_server_has_them() {
    for (fault, has_parts) in [(Fault::None, true), (Fault::NoRanges, false)] {
        let bench = Bench::with(fault);
        let range = 40_000..60_000;
        let reader = bench.client.blob_part(&bench.name, &bench.blob, range);
        let (mut reader, mut bytes) = (reader.unwrap(), Vec::new());
        assert_eq!(reader.sends_parts(), None);
        reader.read_to_end(&mut bytes).unwrap();
        assert!(bytes == bench.content[40_000..60_000]);
        assert_eq!(reader.sends_parts(), Some(has_parts));
    }
    let (bench, content) = (Bench::with(Fault::NoRanges), vec![7; 5_000_000]);
    let blob = Descriptor::of_bytes(LAYER, &content);
    bench.registry.add_blob("a/b", &content);
    let reader = bench.client.blob_part(&bench.name, &blob, 0..4_000_000);
    let (mut reader, mut bytes) = (reader.unwrap(), vec![0]);
    reader.read_exact(&mut bytes).unwrap();
    reader.go_on_to_end();
    reader.read_to_end(&mut bytes).unwrap();
    assert!(bytes == content);
    assert_eq!(bench.registry.requests().len(), 1);
}

/// More than goes into one request.
fn large() -> Vec<u8> {
    (0..70_000_000u32)
        .map(|number| (number % 251) as u8)
        .collect()
}

#[test]
fn broken_uploads_go_on_where_the_registry_says() {
    let (bench, content) = (Bench::patient_with(Fault::CutUploads { times: 2 }), large());
    assert_eq!(bench.push(&content), Ok(Pushed::Uploaded));
    assert_eq!(bench.registry.count("POST", "/uploads/"), 1);
    let requests = bench.registry.requests().into_iter();
    let lengths = requests.map(|request| request.length);
    let lengths: Vec<_> = lengths.filter(|length| *length > 0).collect();
    // Half of each of the first two arrived.
    let (first, all) = (64 << 20, content.len());
    let second = all - first / 2;
    assert_eq!(lengths, [first, second, second - second / 2]);
    let digest = digest_of(&content);
    assert!(bench.registry.blob("a/b", &digest).unwrap() == content);
}

#[test]
fn forgotten_uploads_begin_anew() {
    let bench = Bench::with(Fault::ForgottenUploads { times: 1 });
    assert_eq!(bench.push(b"content"), Ok(Pushed::Uploaded));
    assert_eq!(bench.registry.count("POST", "/uploads/"), 2);
}

#[test]
fn registries_that_take_no_parts_get_the_whole() {
    let (bench, content) = (Bench::patient_with(Fault::NoUploadsInParts), large());
    assert_eq!(bench.push(&content), Ok(Pushed::Uploaded));
    let counts = ["PATCH", "PUT"].map(|method| bench.registry.count(method, "/uploads/"));
    assert_eq!(counts, [1, 1]);
}

#[test]
fn uploads_that_always_break_are_told() {
    let bench = Bench::with(Fault::CutUploads { times: 99 });
    let error = bench.push(b"content").unwrap_err();
    let expected = "cannot PUT HOST/v2/a/b/blobs/uploads/1 (tried 3 times): the connection broke: ";
    assert!(error.starts_with(expected), "{error}");
    let bench = Bench::with(Fault::RefuseUploads {
        code: 403,
        times: 99,
    });
    let expected = "cannot PUT HOST/v2/a/b/blobs/uploads/1: the server answered 403 Forbidden";
    assert_eq!(bench.push(b"content"), Err(expected.to_owned()));
}
