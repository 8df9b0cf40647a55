//! Certificates of an authority of the tests' own, made by `openssl`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::stdout_of;

/// An authority that nobody trusts unless told to, and what it has signed.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate.
    pub authority: PathBuf,
    /// For a server at 127.0.0.1, `localhost` or `registry.test`.
    pub server: Identity,
    /// For a client.
    pub client: Identity,
}

/// A certificate and its key, as files of PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in `directory`. Needs the program `openssl`.
    pub fn make(directory: &Path) -> Certificates {
        let authority = identity(directory, "authority");
        let mut command = request(&authority, "/CN=kiln tests");
        let constraints = "basicConstraints=critical,CA:TRUE";
        stdout_of(command.args(["-x509", "-addext", constraints]));
        let signed = |name: &str, usage: &str| {
            let identity = identity(directory, name);
            let mut command = request(&identity, &format!("/CN={name}"));
            command.args(["-x509", "-addext", "basicConstraints=critical,CA:FALSE"]);
            command.args([
                "-addext",
                "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.test",
            ]);
            command.args(["-addext", &format!("extendedKeyUsage={usage}")]);
            command.arg("-CA").arg(&authority.certificate);
            command.arg("-CAkey").arg(&authority.key);
            stdout_of(&mut command);
            identity
        };
        Certificates {
            server: signed("server", "serverAuth"),
            client: signed("client", "clientAuth"),
            authority: authority.certificate,
        }
    }
}

fn identity(directory: &Path, name: &str) -> Identity {
    Identity {
        certificate: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
    }
}

fn request(identity: &Identity, subject: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]);
    command.args(["-nodes", "-batch", "-days", "30", "-subj", subject]);
    command.arg("-keyout").arg(&identity.key);
    command.arg("-out").arg(&identity.certificate);
    command
}
