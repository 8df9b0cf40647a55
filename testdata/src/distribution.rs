//! Debian's `docker-registry` on a loopback port of its own.

use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::certificates::Certificates;
use crate::command::stdout_of;
use crate::keeper::{Service, free_port};
use crate::needs::find_program;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How a registry lets clients in.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Whether the user `user` with the password `secret` is asked for.
    pub asks_password: bool,
    /// The certificates it shows; plain HTTP without any.
    pub tls: Option<Certificates>,
    /// Whether clients must show a certificate of the same authority.
    pub asks_certificate: bool,
    /// Where it listens, if not on loopback.
    pub host: Option<IpAddr>,
}

/// Returns an address of this machine that is not loopback, if it has one.
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    // Nothing is sent; the address is one that documentation has.
    socket.connect(("192.0.2.77", 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// `user:secret`, as bcrypt.
const PASSWORDS: &str = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// A running registry, empty at first; gone when dropped or when the test process ends.
#[derive(Debug)]
pub struct Registry {
    service: Service,
    host: IpAddr,
    port: u16,
}

impl Registry {
    /// Starts a registry over plain HTTP that lets everybody in.
    pub fn start() -> Registry {
        Self::start_as(&Setup::default())
    }

    /// Starts a registry as `setup` says.
    pub fn start_as(setup: &Setup) -> Registry {
        Self::start_in(&std::env::temp_dir(), setup)
    }

    /// As [`Registry::start_as`], with its data below `parent`.
    pub fn start_in(parent: &Path, setup: &Setup) -> Registry {
        let (host, port) = (setup.host.unwrap_or(LOOPBACK), free_port());
        let service = Service::start_in(
            parent,
            "registry",
            |directory| serve(directory, host, port, setup),
            |_| TcpStream::connect((host, port)).is_ok(),
        );
        Registry {
            service,
            host,
            port,
        }
    }

    /// The registry's host and port, as it stands in an image's name.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Returns what it has said so far, a line for each request among it.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.service.directory().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Where it keeps its data.
    pub fn data(&self) -> PathBuf {
        self.service.directory().join("data")
    }

    /// The value of `--registry-mirror` that makes Docker Hub's names come from here.
    pub fn as_hub_mirror(&self) -> String {
        format!("docker.io=http://{}", self.address())
    }

    /// Copies the image `image` of the OCI layout `layout` to `name` in this registry.
    pub fn copy_in(&self, layout: &Path, image: &str, name: &str) {
        stdout_of(
            Command::new("skopeo")
                .args(["copy", "--quiet", "--dest-tls-verify=false"])
                .arg(format!("oci:{}:{image}", layout.display()))
                .arg(format!("docker://{}/{name}", self.address())),
        );
    }

    /// Copies `name` of this registry to the image `image` of the OCI layout `layout`.
    pub fn copy_out(&self, name: &str, layout: &Path, image: &str) {
        stdout_of(
            Command::new("skopeo")
                .args(["copy", "--quiet", "--src-tls-verify=false"])
                .arg(format!("docker://{}/{name}", self.address()))
                .arg(format!("oci:{}:{image}", layout.display())),
        );
    }
}

fn serve(directory: &Path, host: IpAddr, port: u16, setup: &Setup) -> Command {
    let config = directory.join("config.yml");
    let mut content = format!(
        "version: 0.1\n\
         log:\n  level: warn\n\
         storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n",
        directory.join("data").display()
    );
    if setup.asks_password {
        let passwords = directory.join("passwords");
        std::fs::write(&passwords, PASSWORDS).expect("the passwords");
        let path = passwords.display();
        content += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {path}\n");
    }
    content += &format!("http:\n  addr: {host}:{port}\n");
    if let Some(Certificates {
        authority, server, ..
    }) = &setup.tls
    {
        let (certificate, key) = (server.certificate.display(), server.key.display());
        content += &format!("  tls:\n    certificate: {certificate}\n    key: {key}\n");
        if setup.asks_certificate {
            content += &format!("    clientcas:\n      - {}\n", authority.display());
        }
    }
    std::fs::write(&config, content).expect("the registry's configuration");
    let mut command = Command::new(find_program("docker-registry").expect("docker-registry"));
    command.arg("serve").arg(config);
    command
}
