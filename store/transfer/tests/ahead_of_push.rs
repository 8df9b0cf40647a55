//! Layers that are sent before the image that has them is pushed.

mod fixture;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use fixture::Fixture;
use kiln_layer::compress::Compression;
use kiln_oci::{Descriptor, Reference};
use kiln_registry::{Client, ClientOptions, Pushed, RetryPolicy};
use kiln_testdata::registry::{FakeRegistry, Fault};
use kiln_transfer::growing::GrowingLayer;
use kiln_transfer::layers::{self, Watch};
use kiln_transfer::pack::Packing;
use kiln_transfer::push::{Ahead, Naming, PushEvent, PushTarget, push};

/// An image of two layers, and where it goes.
struct Bench {
    fixture: Fixture,
    registry: FakeRegistry,
    client: Client,
    name: Reference,
}

fn bench(name: &str, pause: Duration) -> Bench {
    let retries = RetryPolicy {
        attempts: 3,
        first_pause: pause,
        longest_pause: pause,
        longest_wait: Duration::from_secs(10),
    };
    let client = Client::new(ClientOptions {
        retries,
        docker_config: Some(Path::new("/nonexistent").to_owned()),
        ..ClientOptions::default()
    });
    let registry = FakeRegistry::start();
    Bench {
        fixture: Fixture::new(name),
        client: client.unwrap(),
        name: format!("{}/a/b:1", registry.address()).parse().unwrap(),
        registry,
    }
}

impl Bench {
    fn ahead(&self) -> Ahead<'_> {
        Ahead::new(&self.client, self.name.clone(), || false)
    }

    /// Compresses the layers, and offers them to `ahead`.
    fn offered(&self, ahead: &Ahead<'_>) -> Vec<GrowingLayer> {
        let begun = Mutex::new(Vec::new());
        let watch = Watch {
            is_stopped: &|| false,
            begun: &|compression, layer| {
                assert_eq!(compression, Compression::GZIP);
                ahead.offer(&layer);
                begun.lock().unwrap().push(layer);
            },
        };
        for layer in self.fixture.stack() {
            let store = &self.fixture.store;
            layers::prepare(store, &layer, None, &[Compression::GZIP], watch).unwrap();
        }
        begun.into_inner().unwrap()
    }

    /// Pushes the image; returns the blobs with how they came to be there.
    fn push(&self, ahead: &Ahead<'_>) -> kiln_transfer::Result<Vec<(Descriptor, Pushed)>> {
        let blobs = Mutex::new(Vec::new());
        let target = PushTarget {
            name: &self.name,
            naming: Naming::Reference,
            packing: &Packing {
                compression: Compression::GZIP,
                ..Packing::standard()
            },
            ahead: Some(ahead),
        };
        let images = [self.fixture.image()];
        let observe = |event| {
            if let PushEvent::Blob { blob, outcome } = event {
                blobs.lock().unwrap().push((blob, outcome));
            }
        };
        push(&self.fixture.store, &self.client, &images, target, &observe)?;
        assert!(self.registry.manifest("a/b", "1").is_some());
        Ok(blobs.into_inner().unwrap())
    }

    fn uploads(&self) -> usize {
        self.registry.count("POST", "/uploads/")
    }
}

fn soon(name: &str) -> Bench {
    bench(name, Duration::from_millis(1))
}

/// Two layers and a configuration.
fn assert_all_sent(blobs: &[(Descriptor, Pushed)]) {
    let outcomes: Vec<Pushed> = blobs.iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(outcomes, [Pushed::Uploaded; 3]);
}

#[test]
fn layers_that_were_sent_are_not_sent_again() {
    let bench = soon("sent");
    let ahead = bench.ahead();
    for layer in bench.offered(&ahead) {
        ahead.send(&layer);
    }
    assert_eq!(bench.uploads(), 2);
    assert_all_sent(&bench.push(&ahead).unwrap());
    assert_eq!(bench.uploads(), 3);
    // Each was asked for once.
    assert_eq!(bench.registry.count("HEAD", "/blobs/"), 3);
}

#[test]
fn layers_that_still_wait_are_sent_by_the_push() {
    let bench = soon("waiting");
    let ahead = bench.ahead();
    let layers = bench.offered(&ahead);
    assert_all_sent(&bench.push(&ahead).unwrap());
    let requests = bench.registry.requests().len();
    ahead.send(&layers[0]);
    assert_eq!(bench.registry.requests().len(), requests);
}

#[test]
fn pushes_wait_for_what_is_on_its_way() {
    let bench = bench("waits", Duration::from_millis(300));
    bench.registry.set_fault(Fault::Status {
        code: 503,
        times: 1,
    });
    let ahead = bench.ahead();
    let layers = bench.offered(&ahead);
    std::thread::scope(|scope| {
        scope.spawn(|| ahead.send(&layers[0]));
        while bench.registry.requests().is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_all_sent(&bench.push(&ahead).unwrap());
    });
    assert_eq!(bench.uploads(), 3);
}

#[test]
fn what_could_not_be_sent_is_sent_by_the_push_which_tells_why_it_fails() {
    let bench = soon("fails");
    let ahead = bench.ahead();
    let layers = bench.offered(&ahead);
    bench.registry.set_fault(Fault::RefuseUploads {
        code: 507,
        times: u32::MAX,
    });
    for layer in &layers {
        ahead.send(layer);
    }
    assert_eq!(bench.registry.count("DELETE", "/uploads/"), 2);
    let error = bench.push(&ahead).unwrap_err();
    let name = bench.name.familiar();
    assert!(
        error.to_string().contains(&format!("cannot push {name}")),
        "{error}"
    );
    assert_eq!(bench.registry.manifest("a/b", "1"), None);
    bench.registry.set_fault(Fault::None);
    assert_all_sent(&bench.push(&ahead).unwrap());
}

#[test]
fn nothing_is_sent_for_an_image_that_is_not_wanted_any_more() {
    let bench = soon("unwanted");
    let ahead = Ahead::new(&bench.client, bench.name.clone(), || true);
    for layer in bench.offered(&ahead) {
        ahead.send(&layer);
    }
    assert_eq!(bench.registry.requests().len(), 0);
}

#[test]
fn what_goes_to_one_repository_is_not_counted_for_another() {
    let bench = soon("places");
    let ahead = bench.ahead();
    let registry = bench.registry.address();
    let name = |rest: &str| format!("{registry}/{rest}").parse().unwrap();
    assert!(ahead.goes_to(&name("a/b:2")));
    assert!(!ahead.goes_to(&name("a/c:1")));
    assert!(!ahead.goes_to(&"elsewhere.example/a/b:1".parse().unwrap()));
}
