//! Registries behind a forward proxy that asks who asks, with and without TLS, and over HTTP/2.

use std::fs;
use std::path::Path;

use kiln_testdata::certificates::Certificates;
use kiln_testdata::distribution::{Registry, Setup};
use kiln_testdata::needs::{self, Need};
use kiln_testdata::proxy::{Proxy, ProxyUsers};

use crate::harness::{Kiln, Ran};

const NEEDS: &[Need] = &[Need::Program("docker-registry"), Need::Program("openssl")];

/// A name that only the proxy knows.
const HOST: &str = "registry.test";

fn run(kiln: &Kiln, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = kiln.command();
    command.envs(variables.iter().copied()).args(arguments);
    Ran::from(command)
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    fs::write(path, text).expect("a file");
}

/// Pushes and pulls an image called `name`; all must go by the proxy.
fn goes_there_and_back(kiln: &Kiln, variables: &[(&str, &str)], name: &str) {
    let context = kiln.context("FROM scratch\nCOPY data /data\n");
    // More than one connection's window.
    let data: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(context.join("data"), data).expect("a file");
    let context = context.to_str().expect("a path");
    let build = ["build", "--quiet", "--push", "--tag", name, context];
    run(kiln, variables, &build).succeeded();
    for arguments in [&["rmi", name][..], &["prune", "--all", "--force"]] {
        run(kiln, &[], arguments).succeeded();
    }
    let pulled = run(kiln, variables, &["pull", "--quiet", name]).succeeded();
    assert!(pulled.stdout.starts_with("sha256:"), "{}", pulled.stdout);
    run(kiln, &[], &["store", "verify"]).succeeded();
}

#[test]
fn https_is_tunnelled_by_a_proxy_that_asks_for_a_password_and_is_http_2() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    let certificates = Certificates::make(&kiln.path(""));
    let registry = Registry::start_as(&Setup {
        asks_password: true,
        tls: Some(certificates.clone()),
        ..Setup::default()
    });
    let proxy = Proxy::start(&registry.address(), ProxyUsers::WithPassword);
    let authority = fs::read(&certificates.authority).expect("the authority");
    let home = kiln.path("home");
    let directory = format!(".config/containers/certs.d/{HOST}/ca.crt");
    write(&home.join(directory), authority);
    let login = format!(r#"{{"auths": {{"{HOST}": {{"auth": "dXNlcjpzZWNyZXQ="}}}}}}"#);
    write(&home.join(".docker/config.json"), login);
    let name = format!("{HOST}/team/app:1");
    let address = proxy.url("user:secret@");
    goes_there_and_back(&kiln, &[("HTTPS_PROXY", &address)], &name);
    let asked = proxy.take_asked();
    let expected = format!("CONNECT {HOST}:443 HTTP/1.1");
    assert!(!asked.is_empty(), "nothing went by the proxy");
    assert!(asked.iter().all(|line| *line == expected), "{asked:?}");
    let log = registry.log();
    assert!(
        log.contains("PUT /v2/team/app/manifests/1 HTTP/2.0"),
        "{log}"
    );
    assert!(!log.contains("HTTP/1.1"), "{log}");
    // Without the password, and past the proxy.
    let nobody = proxy.url("");
    let refused = run(&kiln, &[("HTTPS_PROXY", &nobody)], &["pull", &name]);
    refused.failed_saying(4, &["cannot connect", "proxy"]);
    proxy.take_asked();
    let past = [("HTTPS_PROXY", address.as_str()), ("NO_PROXY", ".test")];
    let lost = run(&kiln, &past, &["pull", &name]);
    lost.failed_saying(4, &["no address is known for the host"]);
    assert_eq!(proxy.take_asked(), [""; 0]);
}

#[test]
fn plain_http_is_passed_on_by_a_proxy_that_asks_for_a_password() {
    if !needs::met(NEEDS) {
        return;
    }
    let kiln = Kiln::new();
    let registry = Registry::start();
    let proxy = Proxy::start(&registry.address(), ProxyUsers::WithPassword);
    let config = format!("[registry.\"{HOST}:5000\"]\ninsecure = true\n");
    write(&kiln.path("home/.config/kiln/config.toml"), config);
    let name = format!("{HOST}:5000/team/app:1");
    let address = proxy.url("user:secret@");
    goes_there_and_back(&kiln, &[("http_proxy", &address)], &name);
    let asked = proxy.take_asked();
    let expected = format!("PUT http://{HOST}:5000/v2/team/app/manifests/1 HTTP/1.1");
    assert!(asked.contains(&expected), "{asked:?}");
    let nobody = proxy.url("user:wrong@");
    run(&kiln, &[("http_proxy", &nobody)], &["pull", &name]).failed_saying(4, &["407"]);
}
