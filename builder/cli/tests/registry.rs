//! Registries as people have them: with passwords, certificates of their own, mirrors, proxies;
//! several processes that want one image, and processes that are killed.
//!
//! Against Debian's registry, and one in this process that can be slow. Without what they
//! need the tests are skipped, but fail where `CI=true`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kiln_testdata::certificates::Certificates;
use kiln_testdata::distribution::{Registry, Setup, own_address};
use kiln_testdata::needs::{self, Need};
use kiln_testdata::registry::{FakeRegistry, Fault, Layer, digest_of};
use tempfile::TempDir;

const PEER: &[Need] = &[Need::Program("docker-registry"), Need::Program("openssl")];

/// `user:secret`, encoded.
const LOGIN: &str = "dXNlcjpzZWNyZXQ=";

/// A home and a store.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("kiln-registry-").tempdir();
        Place(directory.unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file below the home.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn copy(&self, from: &Path, name: &str) {
        fs::copy(from, self.write(name, "")).unwrap();
    }

    fn kiln(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.env_clear().stdin(Stdio::null()).args(arguments);
        command.env("HOME", self.0.path());
        command.env("KILN_ROOT", self.path("store"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran(self.kiln(arguments).output().unwrap())
    }

    /// Builds an image of one file and pushes it as `name`.
    fn push(&self, name: &str) -> Ran {
        self.write("context/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
        let context = self.path("context");
        self.run(&["build", "--push", "--tag", name, context.to_str().unwrap()])
    }

    /// Pulls `name` into a fresh store.
    fn pull(&self, name: &str) -> Ran {
        let _ = fs::remove_dir_all(self.path("store"));
        self.run(&["pull", name])
    }
}

struct Ran(Output);

impl Ran {
    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    #[track_caller]
    fn succeeded(self) -> Self {
        assert!(self.0.status.success(), "{}", self.stderr());
        self
    }

    #[track_caller]
    fn failed_saying(self, parts: &[&str]) {
        let text = self.stderr();
        assert!(!self.0.status.success(), "{text}");
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
    }
}

#[test]
fn passwords_are_found_where_any_tool_keeps_them() {
    if !needs::met(PEER) {
        return;
    }
    let registry = Registry::start_as(&Setup {
        asks_password: true,
        ..Setup::default()
    });
    let (place, address) = (Place::new(), registry.address());
    let name = format!("{address}/team/app:1");
    let expected = "unauthorized: no credentials are configured for it";
    let hint = "hint: log in to the registry";
    place.push(&name).failed_saying(&[expected, hint]);
    let auths = |key: &str| format!(r#"{{"auths":{{"{key}":{{"auth":"{LOGIN}"}}}}}}"#);
    for (file, key) in [
        (".docker/config.json", address.clone()),
        (".config/containers/auth.json", address.clone()),
        (".config/containers/auth.json", format!("{address}/team")),
    ] {
        let path = place.write(file, &auths(&key));
        place.push(&name).succeeded();
        place.pull(&name).succeeded();
        fs::remove_file(path).unwrap();
    }
    place.write(
        ".config/containers/auth.json",
        &auths(&format!("{address}/other")),
    );
    place.pull(&name).failed_saying(&[expected]);
    let wrong = LOGIN.replace("dXNl", "dXNm");
    place.write(
        ".docker/config.json",
        &auths(&address).replace(LOGIN, &wrong),
    );
    let expected = "the configured credentials were refused";
    place.pull(&name).failed_saying(&[expected]);
}

#[test]
fn authorities_and_client_certificates_are_found_where_any_tool_keeps_them() {
    if !needs::met(PEER) {
        return;
    }
    let place = Place::new();
    let certificates = Certificates::make(place.0.path());
    let registry = Registry::start_as(&Setup {
        tls: Some(certificates.clone()),
        asks_certificate: true,
        ..Setup::default()
    });
    let address = registry.address();
    let name = format!("{address}/app:1");
    // Kiln's own configuration.
    let config = |client: bool| {
        let client_lines = format!(
            "client-certificate = {:?}\nclient-key = {:?}\n",
            certificates.client.certificate, certificates.client.key
        );
        let lines = if client { client_lines.as_str() } else { "" };
        let authority = &certificates.authority;
        format!("[registry.\"{address}\"]\ncertificates = [{authority:?}]\n{lines}")
    };
    place.write(".config/kiln/config.toml", &config(false));
    place
        .push(&name)
        .failed_saying(&["cannot HEAD", "ertificate"]);
    let own = place.write(".config/kiln/config.toml", &config(true));
    place.push(&name).succeeded();
    place.pull(&name).succeeded();
    fs::remove_file(own).unwrap();
    // The folders of Docker and of the containers tools.
    for folder in [
        ".config/containers/certs.d",
        ".config/docker/certs.d",
        ".docker/certs.d",
    ] {
        let folder = format!("{folder}/{address}");
        place.copy(&certificates.authority, &format!("{folder}/ca.crt"));
        place.copy(
            &certificates.client.certificate,
            &format!("{folder}/me.cert"),
        );
        let expected = "me.cert has no key";
        place.pull(&name).failed_saying(&[expected]);
        place.copy(&certificates.client.key, &format!("{folder}/me.key"));
        place.pull(&name).succeeded();
        place.push(&name).succeeded();
        fs::remove_dir_all(place.path(&folder)).unwrap();
    }
}

#[test]
fn certificates_of_another_authority_are_refused() {
    if !needs::met(PEER) {
        return;
    }
    let place = Place::new();
    let certificates = Certificates::make(place.0.path());
    let registry = Registry::start_as(&Setup {
        tls: Some(certificates.clone()),
        ..Setup::default()
    });
    let address = registry.address();
    // With an authority that has not signed it, the host has TLS, and is not trusted.
    let other = place.path("other");
    fs::create_dir(&other).unwrap();
    let other = Certificates::make(&other).authority;
    let config = format!("[registry.\"{address}\"]\ncertificates = [{other:?}]\n");
    place.write(".config/kiln/config.toml", &config);
    place
        .pull(&format!("{address}/app"))
        .failed_saying(&["invalid peer certificate", "hint: name the authority"]);
}

#[test]
fn insecure_registries_may_have_any_certificate_or_none() {
    let Some(host) = own_address().filter(|_| needs::met(PEER)) else {
        eprintln!("skipped: no address but loopback");
        return;
    };
    let (place, plain) = (Place::new(), Setup::default());
    let tls = Some(Certificates::make(place.0.path()));
    for (number, setup) in [
        Setup {
            tls,
            ..plain.clone()
        },
        plain,
    ]
    .into_iter()
    .enumerate()
    {
        let registry = Registry::start_as(&Setup {
            host: Some(host),
            ..setup
        });
        let (place, address) = (Place::new(), registry.address());
        let name = format!("{address}/app{number}:1");
        place.push(&name).failed_saying(&["cannot connect"]);
        let config = format!("[registry.\"{address}\"]\ninsecure = true\n");
        let own = place.write(".config/kiln/config.toml", &config);
        place.push(&name).succeeded();
        place.pull(&name).succeeded();
        fs::remove_file(own).unwrap();
        let network = format!(r#"{{"insecure-registries": ["{host}/32"]}}"#);
        place.write(".config/docker/daemon.json", &network);
        place.pull(&name).succeeded();
    }
}

#[test]
fn rules_of_the_containers_tools_move_and_block_names() {
    let (place, registry) = (Place::new(), FakeRegistry::start());
    let address = registry.address();
    let layer = Layer::of_files(&[("file", b"content")]);
    registry.add_image("deep/app", "1", std::slice::from_ref(&layer));
    registry.add_image("deep/other", "1", &[layer]);
    let rules = format!(
        "[[registry]]\nprefix = 'away.example/team'\nlocation = '{address}/deep'\n\
         [[registry]]\nprefix = 'far.example'\n\
         [[registry.mirror]]\nlocation = '{address}/nothing'\n\
         [[registry.mirror]]\nlocation = '{address}/deep'\n\
         [[registry]]\nprefix = 'bad.example'\nblocked = true\n"
    );
    let file = place.write(".config/containers/registries.conf", &rules);
    place.pull("away.example/team/app:1").succeeded();
    place.pull("far.example/other:1").succeeded();
    let expected = format!("bad.example/app is blocked by {}", file.display());
    place.pull("bad.example/app").failed_saying(&[&expected]);
    place.write(
        ".config/kiln/config.toml",
        "[registries]\nother-tools = false\n",
    );
    let asked = registry.requests().len();
    place
        .pull("away.example/team/app:1")
        .failed_saying(&["away.example"]);
    assert_eq!(registry.requests().len(), asked);
}

#[test]
fn mirrors_of_dockers_daemon_serve_the_hub() {
    let (place, registry) = (Place::new(), FakeRegistry::start());
    registry.add_image(
        "library/app",
        "1",
        &[Layer::of_files(&[("file", b"content")])],
    );
    let mirrors = format!(
        r#"{{"registry-mirrors": ["http://{}/"]}}"#,
        registry.address()
    );
    place.write(".config/docker/daemon.json", &mirrors);
    place.pull("app:1").succeeded();
    assert_eq!(registry.count("GET", "/manifests/1"), 1);
}

/// A proxy that lets nobody through; returns its address and what it was asked.
fn closed_proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            notes.lock().unwrap().push(line.trim().to_owned());
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
        }
    });
    (address, asked)
}

#[test]
fn proxies_are_asked_as_the_environment_says() {
    let (place, (proxy, asked)) = (Place::new(), closed_proxy());
    let pull = |variables: &[(&str, &str)]| {
        let mut command = place.kiln(&["pull", "registry.invalid/app"]);
        command.envs(variables.iter().copied());
        Ran(command.output().unwrap()).failed_saying(&["cannot connect"]);
        std::mem::take(&mut *asked.lock().unwrap())
    };
    for name in ["HTTPS_PROXY", "https_proxy", "all_proxy"] {
        let asked = pull(&[(name, &proxy)]);
        let expected = "CONNECT registry.invalid:443 HTTP/1.1";
        assert!(asked.iter().all(|line| line == expected), "{asked:?}");
        assert!(!asked.is_empty(), "{name}");
    }
    let past = pull(&[("HTTPS_PROXY", &proxy), ("NO_PROXY", ".invalid")]);
    assert!(past.is_empty(), "{past:?}");
}

fn large_layer(bytes: u32) -> Layer {
    let words = 0..bytes / 4;
    let content: Vec<u8> = words
        .flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    Layer::of_files(&[("large", &content)])
}

#[test]
fn eight_processes_pull_an_image_once() {
    let (place, registry) = (Place::new(), FakeRegistry::start());
    let layers = [large_layer(3 << 20), Layer::of_files(&[("small", b"x")])];
    registry.add_image("a", "1", &layers);
    registry.set_fault(Fault::SlowBlobs { bytes: 100_000 });
    let name = format!("{}/a:1", registry.address());
    let pulls: Vec<Child> = (0..8)
        .map(|_| {
            let mut command = place.kiln(&["pull", &name]);
            command.stderr(Stdio::piped()).stdout(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    for pull in pulls {
        Ran(pull.wait_with_output().unwrap()).succeeded();
    }
    for layer in layers {
        assert_eq!(registry.count("GET", &digest_of(&layer.archive)), 1);
    }
}

#[test]
fn bases_whose_files_nobody_reads_are_not_downloaded() {
    let registry = FakeRegistry::start();
    let address = registry.address();
    let layer = Layer::of_files(&[("base", b"content")]);
    registry.add_image("a", "1", std::slice::from_ref(&layer));
    let digest = digest_of(&layer.archive);
    // What follows FROM, where it goes, and how often the base comes.
    let cases = [
        ("ENV A=1", "--push", 0),
        ("COPY --link Dockerfile /", "--push", 0),
        ("ENV A=1\nLABEL b=2", "--quiet", 1),
        ("ENV A=2", "--output=type=oci,dest=/dev/null", 1),
        ("COPY Dockerfile /", "--push", 1),
    ];
    for (lines, output, downloads) in cases {
        let place = Place::new();
        let name = format!("{address}/new{}:1", lines.len());
        place.write(
            "context/Dockerfile",
            &format!("FROM {address}/a:1\n{lines}\n"),
        );
        let context = place.path("context");
        let arguments = ["build", output, "--tag", &name, context.to_str().unwrap()];
        let before = registry.count("GET", &digest);
        place.run(&arguments).succeeded();
        assert_eq!(
            registry.count("GET", &digest) - before,
            downloads,
            "{lines}"
        );
        place.run(&arguments).succeeded();
        assert_eq!(
            registry.count("GET", &digest) - before,
            downloads,
            "{lines}"
        );
        if output == "--push" {
            assert!(registry.blob(name_of(&name), &digest).is_some());
            Place::new().pull(&name).succeeded();
        }
    }
}

fn name_of(name: &str) -> &str {
    let (_, repository) = name.split_once('/').unwrap();
    repository.split(':').next().unwrap()
}

#[test]
fn builds_tell_why_they_wait() {
    let (place, registry) = (Place::new(), FakeRegistry::start());
    registry.add_image("a", "1", &[Layer::of_files(&[("file", b"content")])]);
    let address = registry.address();
    place.write(
        "context/Dockerfile",
        &format!("FROM {address}/a:1\nCOPY . /\n"),
    );
    let context = place.path("context");
    for mode in ["plain", "tty", "rawjson", "quiet"] {
        let _ = fs::remove_dir_all(place.path("store"));
        registry.set_fault(Fault::CutBlobs { times: 1 });
        let progress = format!("--progress={mode}");
        let ran = place.run(&["build", &progress, context.to_str().unwrap()]);
        let text = ran.succeeded().stderr();
        let expected = format!("s: {address}/v2/a/blobs/sha256:");
        assert!(
            text.contains("retrying in ") && text.contains(&expected),
            "{text}"
        );
    }
}

/// Waits until what has come of a blob has so many bytes.
fn wait_for_partial(place: &Place, bytes: u64) {
    let began = Instant::now();
    let come = || {
        let entries = fs::read_dir(place.path("store/partial"))
            .into_iter()
            .flatten();
        let sizes = entries.flatten().filter_map(|entry| entry.metadata().ok());
        sizes.map(|metadata| metadata.len()).max().unwrap_or(0)
    };
    while come() < bytes {
        assert!(began.elapsed() < Duration::from_secs(20), "nothing comes");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn second_pull_takes_over_from_one_that_is_killed() {
    let (place, registry) = (Place::new(), FakeRegistry::start());
    let layer = large_layer(12 << 20);
    registry.add_image("a", "1", std::slice::from_ref(&layer));
    registry.set_fault(Fault::SlowBlobs { bytes: 50_000 });
    let name = format!("{}/a:1", registry.address());
    let spawn = || {
        let mut command = place.kiln(&["pull", &name]);
        command.stderr(Stdio::piped()).stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let mut first = spawn();
    wait_for_partial(&place, 6 << 20);
    let second = spawn();
    std::thread::sleep(Duration::from_millis(300));
    registry.set_fault(Fault::None);
    first.kill().unwrap();
    let killed = Instant::now();
    first.wait().unwrap();
    Ran(second.wait_with_output().unwrap()).succeeded();
    assert!(
        killed.elapsed() < Duration::from_secs(2),
        "{:?}",
        killed.elapsed()
    );
    let requests = registry.requests();
    let digest = digest_of(&layer.archive);
    let of_blob = |request: &&kiln_testdata::registry::Request| request.path.contains(&digest);
    let ranges: Vec<_> = requests
        .iter()
        .filter(of_blob)
        .map(|one| one.range.clone())
        .collect();
    let [None, Some(rest)] = ranges.as_slice() else {
        panic!("{ranges:?}");
    };
    let from: u64 = rest["bytes=".len()..]
        .trim_end_matches('-')
        .parse()
        .unwrap();
    assert!(from >= 6 << 20, "{rest}");
}

#[test]
fn layers_are_sent_while_they_are_compressed() {
    assert_sent_while_compressed(|place, name, context| {
        place.run(&["build", "--tag", name, context]).succeeded();
        place.run(&["push", name]).succeeded();
    });
}

#[test]
fn builds_send_layers_while_they_are_compressed() {
    assert_sent_while_compressed(|place, name, context| {
        let ran = place.run(&["build", "--push", "--tag", name, context]);
        let text = ran.succeeded().stderr();
        // Of the layer and the configuration.
        assert_eq!(text.matches(" pushed sha256:").count(), 2, "{text}");
    });
}

/// Checks that what `push` pushes is on its way before its digest is known.
fn assert_sent_while_compressed(push: impl Fn(&Place, &str, &str)) {
    let place = Place::new();
    let context = place.path("context");
    place.write("context/Dockerfile", "FROM scratch\nCOPY noise /\n");
    // On a busy machine all may be compressed before anything could be sent.
    for seed in 1..=5 {
        let (registry, noise) = (FakeRegistry::start(), noise(seed, 40 << 20));
        fs::write(place.path("context/noise"), &noise).unwrap();
        let name = format!("{}/noise:1", registry.address());
        push(&place, &name, context.to_str().unwrap());
        let requests = registry.requests().into_iter();
        let mut methods = requests.map(|request| request.method);
        // The digest is asked for as soon as it is known.
        let first = methods.find(|method| method == "PATCH" || method == "HEAD");
        if first.as_deref() == Some("PATCH") {
            assert_eq!(exported(&place, &name, "noise"), noise);
            return;
        }
    }
    panic!("nothing was sent before all was compressed");
}

/// Returns bytes that no compression makes fewer.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut number = seed;
    let next = || {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (number >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// Pulls the image `name` into a fresh store and returns what `file` holds there.
fn exported(place: &Place, name: &str, file: &str) -> Vec<u8> {
    place.pull(name).succeeded();
    let (again, files) = (place.path("again"), place.path("files"));
    place.write("again/Dockerfile", &format!("FROM {name}\n"));
    let output = format!("type=local,dest={}", files.display());
    place
        .run(&["build", "--output", &output, again.to_str().unwrap()])
        .succeeded();
    fs::read(files.join(file)).unwrap()
}

#[test]
fn killed_push_is_repeated_and_leaves_no_image_before() {
    if !needs::met(PEER) {
        return;
    }
    let (place, registry) = (Place::new(), Registry::start());
    let name = format!("{}/app:1", registry.address());
    let content: Vec<u8> = (0..24u32 << 20)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::create_dir_all(place.path("context")).unwrap();
    fs::write(place.path("context/large"), content).unwrap();
    let context = place.path("context");
    place.write("context/Dockerfile", "FROM scratch\nCOPY large /\n");
    place
        .run(&["build", "--tag", &name, context.to_str().unwrap()])
        .succeeded();
    for milliseconds in [30, 120, 300] {
        let mut command = place.kiln(&["push", &name]);
        command.stderr(Stdio::null()).stdout(Stdio::null());
        let mut push = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        push.kill().unwrap();
        push.wait().unwrap();
        // Either all of it is there, or nothing is.
        let fresh = Place::new();
        let ran = fresh.pull(&name);
        let is_absent = ran.stderr().contains("404 Not Found");
        assert!(ran.0.status.success() || is_absent, "{}", ran.stderr());
    }
    place.run(&["push", &name]).succeeded();
    Place::new().pull(&name).succeeded();
}
