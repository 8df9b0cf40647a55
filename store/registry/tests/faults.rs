//! The client against a registry that does everything wrong.

use std::io::{self, Cursor, Read};
use std::time::Duration;

use base64::Engine as _;
use kiln_oci::{Descriptor, Digest, Manifest, MediaFamily, MediaType, Reference};
use kiln_registry::{Cause, Client, ClientOptions, Error, Pushed, RegistrySettings, RetryPolicy};
use kiln_testdata::registry::{FakeRegistry, Fault, Guard, Layer};
use tempfile::TempDir;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A registry with a blob of a megabyte and an image, and a client that has its password.
struct Bench {
    registry: FakeRegistry,
    client: Client,
    repository: Reference,
    blob: Descriptor,
    content: Vec<u8>,
    _config: TempDir,
}

fn password() -> String {
    base64::engine::general_purpose::STANDARD.encode("user:secret")
}

fn client_with(registries: RegistrySettings, config: &TempDir) -> Client {
    let retries = RetryPolicy {
        longest_wait: Duration::from_secs(1),
        attempts: 4,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(5),
    };
    let docker_config = Some(config.path().to_owned());
    Client::new(ClientOptions {
        registries,
        docker_config,
        retries,
        ..Default::default()
    })
    .unwrap()
}

fn bench() -> Bench {
    let registry = FakeRegistry::start();
    let config = tempfile::tempdir().unwrap();
    let auths = format!(
        r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#,
        registry.address(),
        password()
    );
    std::fs::write(config.path().join("config.json"), auths).unwrap();
    let content: Vec<u8> = (0..1_000_000u32)
        .map(|number| (number % 251) as u8)
        .collect();
    registry.add_blob("a/b", &content);
    registry.add_image("a/b", "1", &[Layer::of_files(&[("x", b"y")])]);
    Bench {
        client: client_with(RegistrySettings::default(), &config),
        repository: format!("{}/a/b:1", registry.address()).parse().unwrap(),
        blob: Descriptor::of_bytes(LAYER, &content),
        registry,
        content,
        _config: config,
    }
}

impl Bench {
    fn read_blob(&self) -> Result<Vec<u8>, Box<Error>> {
        let mut bytes = Vec::new();
        let mut reader = self.client.blob(&self.repository, &self.blob)?;
        match reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(Box::new(error.downcast().expect("an error of the client"))),
        }
    }

    fn resolve_cause(&self) -> Cause {
        match self.client.resolve(&self.repository) {
            Err(Error::Request { cause, .. }) => cause,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn broken_transfers_are_resumed_where_they_broke() {
    let bench = bench();
    bench.registry.set_fault(Fault::CutBlobs { times: 3 });
    assert_eq!(bench.read_blob().unwrap(), bench.content);
    let ranges: Vec<_> = bench
        .registry
        .requests()
        .into_iter()
        .map(|one| one.range)
        .collect();
    let expected = [None, Some(500_000), Some(750_000), Some(875_000)];
    assert_eq!(
        ranges,
        expected.map(|start| start.map(|start: u32| format!("bytes={start}-")))
    );
}

#[test]
fn transfers_that_always_break_end_with_a_short_blob() {
    for fault in [Fault::CutBlobs { times: 1000 }, Fault::ShortBlobs] {
        let bench = bench();
        bench.registry.set_fault(fault);
        let error = bench.read_blob().unwrap_err();
        assert!(
            matches!(
                *error,
                Error::ShortBlob {
                    expected: 1_000_000,
                    ..
                }
            ),
            "{error}"
        );
        assert!(bench.registry.requests().len() <= 4);
    }
}

#[test]
fn long_and_wrong_blobs_are_refused_at_once() {
    let bench = bench();
    bench.registry.set_fault(Fault::LongBlobs);
    assert!(matches!(
        *bench.read_blob().unwrap_err(),
        Error::LongBlob { .. }
    ));
    bench.registry.set_fault(Fault::WrongBlobs);
    let error = bench.read_blob().unwrap_err();
    let Error::WrongDigest {
        expected, found, ..
    } = *error
    else {
        panic!("{error}")
    };
    assert!(expected == bench.blob.digest && found != expected);
    assert_eq!(bench.registry.requests().len(), 2);
}

#[test]
fn passing_faults_are_waited_out_and_lasting_ones_told() {
    for code in [429, 500, 503] {
        let bench = bench();
        bench.registry.set_fault(Fault::Status { code, times: 3 });
        assert!(bench.client.resolve(&bench.repository).is_ok(), "{code}");
        bench
            .registry
            .set_fault(Fault::Status { code, times: 1000 });
        let text = bench.resolve_cause().to_string();
        let expected = if code == 429 {
            "rate limited by 127.0.0.1"
        } else {
            "the server answered 50"
        };
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(bench.registry.requests().len(), 8);
    }
}

#[test]
fn faults_that_stay_are_not_tried_again() {
    for code in [400, 404, 501] {
        let bench = bench();
        bench
            .registry
            .set_fault(Fault::Status { code, times: 1000 });
        assert!(
            matches!(bench.resolve_cause(), Cause::Status { code: found, .. } if found == code)
        );
        assert_eq!(bench.registry.requests().len(), 1);
    }
}

#[test]
fn tokens_are_fetched_once_and_kept() {
    let bench = bench();
    bench.registry.set_guard(Guard::Token(password()));
    bench.client.resolve(&bench.repository).unwrap();
    bench.read_blob().unwrap();
    let token_requests = bench.registry.count("GET", "/token");
    assert_eq!((token_requests, bench.registry.requests().len()), (1, 4));
}

#[test]
fn passwords_are_sent_when_asked_for() {
    let bench = bench();
    bench.registry.set_guard(Guard::Basic(password()));
    bench.client.resolve(&bench.repository).unwrap();
    let given: Vec<_> = bench
        .registry
        .requests()
        .into_iter()
        .map(|one| one.authorization)
        .collect();
    assert_eq!(given, [None, Some(format!("Basic {}", password()))]);
}

#[test]
fn registries_that_accept_no_token_are_given_up() {
    let bench = bench();
    bench.registry.set_guard(Guard::Nobody);
    assert!(matches!(bench.resolve_cause(), Cause::Unauthorized { .. }));
    assert!(bench.registry.requests().len() <= 6);
}

#[test]
fn credentials_are_not_sent_to_a_foreign_realm() {
    let bench = bench();
    bench
        .registry
        .set_guard(Guard::Realm("http://registry.invalid/token".to_owned()));
    assert!(matches!(bench.resolve_cause(), Cause::Token { .. }));
}

#[test]
fn redirects_elsewhere_lose_the_credentials() {
    let (bench, other) = (bench(), FakeRegistry::start());
    other.add_blob("a/b", &bench.content);
    bench.registry.set_guard(Guard::Token(password()));
    bench
        .registry
        .set_fault(Fault::RedirectBlobs(format!("http://{}", other.address())));
    assert_eq!(bench.read_blob().unwrap(), bench.content);
    let seen: Vec<_> = other
        .requests()
        .into_iter()
        .map(|one| one.authorization)
        .collect();
    assert_eq!(seen, [None]);
}

#[test]
fn redirect_loops_end() {
    let bench = bench();
    // Where clouds tell machines their secrets.
    for address in [
        "http://169.254.169.254/latest",
        "http://[fe80::1]/",
        "file:///etc/passwd",
    ] {
        bench
            .registry
            .set_fault(Fault::RedirectBlobs(address.to_owned()));
        let error = bench.read_blob().unwrap_err();
        let refused = matches!(
            &*error,
            Error::Request {
                cause: Cause::Redirect(_),
                ..
            }
        );
        assert!(refused, "{address}: {error}");
    }
    let before = bench.registry.requests().len();
    bench.registry.set_fault(Fault::RedirectLoop);
    assert!(matches!(bench.resolve_cause(), Cause::Redirect(_)));
    assert_eq!(bench.registry.requests().len() - before, 11);
}

#[test]
fn endless_and_mistyped_manifests_are_refused() {
    let bench = bench();
    bench.registry.set_fault(Fault::EndlessManifests);
    assert!(matches!(
        bench.resolve_cause(),
        Cause::TooLarge { limit: 4_194_304 }
    ));
    let index = "application/vnd.oci.image.index.v1+json";
    bench
        .registry
        .set_fault(Fault::ManifestType(index.to_owned()));
    assert!(matches!(
        bench.client.resolve(&bench.repository),
        Err(Error::Document { .. })
    ));
}

#[test]
fn mirrors_are_asked_first_and_may_fail() {
    let (bench, mirror) = (bench(), FakeRegistry::start());
    let registries = RegistrySettings {
        mirrors: vec![(
            bench.registry.address(),
            format!("http://{}", mirror.address()),
        )],
        ..Default::default()
    };
    let client = client_with(registries, &bench._config);
    client.resolve(&bench.repository).unwrap();
    assert_eq!(
        (mirror.requests().len(), bench.registry.requests().len()),
        (1, 1)
    );
    let digest = mirror.add_image("a/b", "1", &[Layer::of_files(&[("x", b"z")])]);
    assert_eq!(
        client
            .resolve(&bench.repository)
            .unwrap()
            .descriptor
            .digest
            .to_string(),
        digest
    );
    assert_eq!(bench.registry.requests().len(), 1);
    let mut bytes = Vec::new();
    client
        .blob(&bench.repository, &bench.blob)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert_eq!(bytes, bench.content);
}

#[test]
fn blobs_are_sent_only_if_they_are_nowhere() {
    let bench = bench();
    let target: Reference = format!("{}/c", bench.registry.address()).parse().unwrap();
    let content = bench.content.clone();
    let push = |blob: &Descriptor, content: &[u8], from: Option<&Reference>| {
        let open = |_| Ok(Box::new(Cursor::new(content.to_vec())) as Box<dyn Read + Send>);
        bench.client.push_blob(&target, blob, open, from).unwrap()
    };
    assert_eq!(
        push(&bench.blob, &content, Some(&bench.repository)),
        Pushed::Mounted
    );
    assert_eq!(push(&bench.blob, &content, None), Pushed::Existed);
    assert_eq!(bench.registry.count("PUT", ""), 0);
    let other = Descriptor::of_bytes(LAYER, b"other");
    bench.registry.set_fault(Fault::RefuseUploads {
        code: 503,
        times: 2,
    });
    assert_eq!(
        push(&other, b"other", Some(&bench.repository)),
        Pushed::Uploaded
    );
    assert_eq!(
        bench.registry.blob("c", &other.digest.to_string()).unwrap(),
        b"other"
    );
}

#[test]
fn manifests_go_under_the_tag() {
    let bench = bench();
    let target: Reference = format!("{}/c:2", bench.registry.address()).parse().unwrap();
    let media_type = MediaType::from(MediaType::OCI_MANIFEST);
    let pushed = bench
        .client
        .push_manifest(&target, &media_type, b"{}")
        .unwrap();
    assert_eq!(bench.registry.manifest("c", "2").unwrap(), b"{}");
    assert_eq!(
        bench
            .registry
            .manifest("c", &pushed.digest.to_string())
            .unwrap(),
        b"{}"
    );
}

#[test]
fn sources_that_cannot_be_read_are_told_from_connections_that_break() {
    let bench = bench();
    let target: Reference = format!("{}/c", bench.registry.address()).parse().unwrap();
    let open = |_| Err(io::Error::other("disk on fire"));
    let error = bench
        .client
        .push_blob(&target, &bench.blob, open, None)
        .unwrap_err();
    assert!(matches!(&error, Error::Source { source, .. } if source.to_string() == "disk on fire"));
    let expected = format!("cannot read blob {} to push it", bench.blob.digest);
    assert_eq!(error.to_string(), expected);
}

#[test]
fn cancelled_clients_transfer_nothing_more() {
    let bench = bench();
    bench.client.canceller().cancel();
    assert!(matches!(
        bench.client.resolve(&bench.repository),
        Err(Error::Cancelled)
    ));
    assert!(matches!(*bench.read_blob().unwrap_err(), Error::Cancelled));
}

#[test]
fn tags_come_page_by_page() {
    let bench = bench();
    for tag in ["2", "3", "4", "5"] {
        let layer = Layer::of_files(&[("x", tag.as_bytes())]);
        bench.registry.add_image("a/b", tag, &[layer]);
    }
    let tags = bench.client.tags(&bench.repository).unwrap();
    assert_eq!(tags, ["1", "2", "3", "4", "5"]);
    assert_eq!(bench.registry.count("GET", "/tags/list"), 3);
}

#[test]
fn lists_that_never_end_or_hold_what_is_no_tag_are_refused() {
    let bench = bench();
    let lists = |body: &str, next: &str| {
        let (body, next) = (body.to_owned(), next.to_owned());
        bench.registry.set_fault(Fault::Lists { body, next });
    };
    let said = |error: Error| match error {
        Error::Request { cause, .. } => cause.to_string(),
        other => panic!("{other:?}"),
    };
    let tags = || said(bench.client.tags(&bench.repository).unwrap_err());
    lists(r#"{"tags":["1"]}"#, "/v2/a/b/tags/list?last=1");
    assert!(tags().contains("leads back to a page"), "{}", tags());
    // What lies elsewhere is asked for here.
    lists(
        r#"{"tags":["1"]}"#,
        "http://elsewhere.test/v2/a/b/tags/list",
    );
    assert!(tags().contains("leads back to a page"), "{}", tags());
    lists(
        r#"{"tags":["1","a\u001b[31m"]}"#,
        "/v2/a/b/tags/list?last=1",
    );
    assert!(tags().contains("which is no tag"), "{}", tags());
    let digest = Digest::sha256(b"subject");
    let path = format!("/v2/a/b/referrers/{digest}?page=2");
    lists(r#"{"schemaVersion":2,"manifests":[]}"#, &path);
    let referrers = bench.client.referrers(&bench.repository, &digest);
    let found = said(referrers.unwrap_err());
    assert!(found.contains("leads back to a page"), "{found}");
}

#[test]
fn artifacts_are_listed_under_their_subject_where_the_registry_does_not() {
    let bench = bench();
    let subject = bench.client.resolve(&bench.repository).unwrap().descriptor;
    let none = bench.client.referrers(&bench.repository, &subject.digest);
    assert_eq!(none.unwrap(), []);
    let artifact = |kind: &str| {
        let config = Descriptor::of_bytes("application/vnd.oci.empty.v1+json", b"{}");
        let mut manifest = Manifest::new(MediaFamily::Oci, config, Vec::new());
        manifest.artifact_type = Some(kind.to_owned());
        manifest.subject = Some(subject.clone());
        let bytes = manifest.to_bytes();
        let name = bench.repository.with_digest(Digest::sha256(&bytes));
        let pushed = bench
            .client
            .push_manifest(&name, &manifest.media_type, &bytes);
        pushed.unwrap()
    };
    let kinds = ["application/x.one", "application/x.two"];
    let pushed = [artifact(kinds[0]), artifact(kinds[1])];
    artifact(kinds[0]);
    let referrers = bench.client.referrers(&bench.repository, &subject.digest);
    let found: Vec<_> = referrers
        .unwrap()
        .into_iter()
        .map(|one| (one.digest, one.artifact_type.unwrap()))
        .collect();
    let expected = [0, 1].map(|index| (pushed[index].digest.clone(), kinds[index].to_owned()));
    assert_eq!(found, expected);
}
