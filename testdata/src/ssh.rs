//! A server of SSH, and an agent with the key that it lets in.

use crate::command::stdout_of;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// `sshd` on a port of the loopback address, and `ssh-agent`; both end with this value.
pub struct SshServer {
    server: Child,
    agent: Child,
    directory: PathBuf,
    port: u16,
}

impl SshServer {
    /// Returns a server that lets root in with the key of the agent; files go to `directory`.
    pub fn start(directory: &Path) -> Self {
        let path = |name: &str| directory.join(name).display().to_string();
        for name in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            stdout_of(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", &path(name)]));
        }
        // What sshd locks itself into before anybody is known.
        fs::create_dir_all("/run/sshd").expect("a directory");
        let port = free_port();
        let settings = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
             PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n",
            path("host"),
            path("user.pub"),
        );
        fs::write(path("sshd_config"), settings).expect("a configuration");
        let mut server = Command::new("/usr/sbin/sshd");
        server.args(["-D", "-f", &path("sshd_config")]);
        let mut agent = Command::new("ssh-agent");
        agent.args(["-D", "-a", &path("agent")]);
        let started = SshServer {
            server: quiet(&mut server),
            agent: quiet(&mut agent),
            directory: directory.to_owned(),
            port,
        };
        started.wait();
        let mut add = Command::new("ssh-add");
        add.env("SSH_AUTH_SOCK", started.agent()).arg(path("user"));
        stdout_of(add.stderr(Stdio::null()));
        started
    }

    fn wait(&self) {
        for _ in 0..500 {
            let answers = TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            if answers && self.agent().exists() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("sshd or ssh-agent does not answer");
    }

    /// Returns the socket of the agent.
    pub fn agent(&self) -> PathBuf {
        self.directory.join("agent")
    }

    /// Returns the address of the repository at `path`.
    pub fn url(&self, path: &Path) -> String {
        format!("ssh://root@127.0.0.1:{}{}", self.port, path.display())
    }

    /// Gives the server another key, as if somebody else answered in its place.
    pub fn change_host_key(&mut self) {
        let key = self.directory.join("host");
        fs::remove_file(&key).expect("removed");
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
        stdout_of(keygen.arg(&key));
        let _ = self.server.kill();
        let _ = self.server.wait();
        let mut server = Command::new("/usr/sbin/sshd");
        let settings = self.directory.join("sshd_config");
        self.server = quiet(server.args(["-D", "-f"]).arg(settings));
        self.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback address");
    listener.local_addr().expect("its address").port()
}

fn quiet(command: &mut Command) -> Child {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

impl Drop for SshServer {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.agent] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
