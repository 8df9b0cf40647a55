//! Running `git`, cut off from everybody's configuration.
//!
//! Nothing that is secret is an argument: credentials are configuration, and configuration is
//! environment, which only the user's own processes can read.

use super::Git;
use super::address::Address;
use super::running::{Ended, Output, Running};
use crate::FetchError;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Variables of this process that the program needs: where programs and certificates are, and
/// how the outside is reached.
const KEPT_VARIABLES: [&str; 13] = [
    "PATH",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "LD_LIBRARY_PATH",
    "GIT_EXEC_PATH",
];

/// Settings that keep the program from doing more than it is asked.
const SETTINGS: [(&str, &str); 16] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.symlinks", "true"),
    ("core.fileMode", "true"),
    ("core.autocrlf", "false"),
    ("core.logAllRefUpdates", "false"),
    ("core.protectHFS", "true"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("init.defaultBranch", "main"),
    ("advice.detachedHead", "false"),
    ("safe.directory", "*"),
    ("safe.bareRepository", "all"),
    ("credential.helper", ""),
    ("submodule.recurse", "false"),
    ("uploadpack.allowAnySHA1InWant", "true"),
];

/// The system's bundles of certificates, of which a machine has one.
const SYSTEM_CERTIFICATES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The program, ready to speak to one remote.
pub(super) struct Program<'a> {
    pub git: &'a Git<'a>,
    pub address: &'a Address,
    environment: Vec<(OsString, OsString)>,
}

impl<'a> Program<'a> {
    pub fn new(git: &'a Git<'a>, address: &'a Address) -> Result<Self, FetchError> {
        let mut settings: Vec<(String, String)> = SETTINGS
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        settings.extend(credentials(git, address));
        if let Some(bundle) = certificates(git)? {
            settings.push(("http.sslCAInfo".to_owned(), bundle));
        }
        let mut environment = fixed_environment(git);
        environment.extend(numbered(&settings));
        Ok(Self {
            git,
            address,
            environment,
        })
    }

    /// Returns a command that works in the repository at `repository`.
    pub fn command(&self, repository: Option<&Path>) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        if let Some(repository) = repository {
            command.env("GIT_DIR", repository);
        }
        command.current_dir(&self.git.scratch);
        command
    }

    /// Runs `command`, which is `action` to people, and returns what it wrote.
    ///
    /// Errors: it failed; what it said tells how.
    pub fn run(&self, action: &'static str, command: &mut Command) -> Result<Vec<u8>, FetchError> {
        self.succeed(action, command, None)
    }

    /// As [`Program::run`], for a command that speaks to the remote: one that says nothing for
    /// too long is ended.
    pub fn ask(&self, action: &'static str, command: &mut Command) -> Result<Vec<u8>, FetchError> {
        self.succeed(action, command, Some(self.git.idle))
    }

    /// Runs `command` and returns what it did, whether it succeeded or not.
    pub fn output(&self, command: &mut Command) -> Result<Output, FetchError> {
        self.finish("use", command, None)
    }

    fn succeed(
        &self,
        action: &'static str,
        command: &mut Command,
        idle: Option<Duration>,
    ) -> Result<Vec<u8>, FetchError> {
        let output = self.finish(action, command, idle)?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(self.failure(action, &output.stderr)),
        }
    }

    fn finish(
        &self,
        action: &'static str,
        command: &mut Command,
        idle: Option<Duration>,
    ) -> Result<Output, FetchError> {
        let running = Running::start(command).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.missing("git"),
            _ => FetchError::file("start", "git")(error),
        })?;
        let ended = running.finish(self.git.is_cancelled, idle);
        match ended.map_err(FetchError::file("wait for", "git"))? {
            Ended::Exited(output) => Ok(output),
            Ended::Cancelled => Err(FetchError::Cancelled),
            Ended::Silent => Err(FetchError::Silent {
                remote: self.address.remote.clone(),
                seconds: self.git.idle.as_secs(),
            }),
            Ended::TooMuch => Err(FetchError::Git {
                action,
                remote: self.address.remote.clone(),
                reason: "it lists too much".to_owned(),
            }),
        }
    }

    /// Returns what a failure means.
    pub fn failure(&self, action: &'static str, stderr: &str) -> FetchError {
        let remote = self.address.remote.clone();
        let reason = reason_of(stderr);
        let says = |texts: &[&str]| texts.iter().any(|text| stderr.contains(text));
        if says(&["cannot run ssh", "ssh: not found", "ssh: No such file"]) {
            return self.missing("ssh");
        }
        if says(&[
            "Host key verification failed",
            "HOST IDENTIFICATION HAS CHANGED",
        ]) {
            return FetchError::HostKey { remote, reason };
        }
        if says(&["unable to update url base from redirection"]) || is_redirect(stderr) {
            return FetchError::Redirected { remote };
        }
        let asks = [
            "could not read Username",
            "could not read Password",
            "Authentication failed",
            "Permission denied (",
            "The requested URL returned error: 401",
            "The requested URL returned error: 403",
        ];
        match says(&asks) {
            true => FetchError::Unauthorized { remote, reason },
            false => FetchError::Git {
                action,
                remote,
                reason,
            },
        }
    }

    fn missing(&self, program: &'static str) -> FetchError {
        FetchError::ProgramMissing {
            program,
            remote: self.address.remote.clone(),
        }
    }
}

/// Redirects are not followed with credentials: the answer itself is then the failure.
fn is_redirect(stderr: &str) -> bool {
    ["301", "302", "303", "307", "308"]
        .iter()
        .any(|code| stderr.contains(&format!("The requested URL returned error: {code}")))
}

/// Returns the line that says why, printable and short.
fn reason_of(stderr: &str) -> String {
    let lines = || {
        stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("hint:"))
    };
    let starts = ["fatal: ", "ERROR: ", "error: "];
    let told = starts.iter().find_map(|start| {
        let mut found = lines().filter_map(|line| {
            line.strip_prefix("remote: ")
                .unwrap_or(line)
                .strip_prefix(start)
        });
        found.find(|line| !line.starts_with("Could not read from remote repository"))
    });
    let ssh = || {
        lines().find(|line| {
            line.starts_with("ssh: ")
                || line.contains("Permission denied")
                || line.contains("Host key")
        })
    };
    let told = match told {
        Some(line) => Some(line),
        None => ssh().or_else(|| lines().next_back()),
    };
    let told = match told {
        // The end of advice that git gives when it was told nothing.
        Some("and the repository exists.") => {
            Some("the remote ended the connection; there may be no such repository")
        }
        told => told,
    };
    let text: String = told
        .unwrap_or("it failed without a word")
        .chars()
        .map(|sign| if sign.is_control() { ' ' } else { sign })
        .take(300)
        .collect();
    text
}

fn fixed_environment(git: &Git<'_>) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(OsString, OsString)> = KEPT_VARIABLES
        .iter()
        .filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)))
        .collect();
    let mut set = |name: &str, value: &OsStr| variables.push((name.into(), value.into()));
    for (name, value) in [
        ("LC_ALL", "C"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_SYSTEM", "/dev/null"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", ""),
        ("SSH_ASKPASS", ""),
        ("GIT_ALLOW_PROTOCOL", "https:http:ssh:git"),
        ("GIT_PROTOCOL_FROM_USER", "0"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
        ("GIT_LFS_SKIP_SMUDGE", "1"),
        ("GIT_HTTP_LOW_SPEED_LIMIT", "1000"),
        ("GIT_HTTP_LOW_SPEED_TIME", "60"),
        ("GIT_OPTIONAL_LOCKS", "0"),
    ] {
        set(name, OsStr::new(value));
    }
    set("HOME", git.scratch.as_os_str());
    set("XDG_CONFIG_HOME", git.scratch.as_os_str());
    set("GIT_SSH_COMMAND", OsStr::new(&ssh_command(git)));
    if let Some(agent) = &git.access.ssh_agent {
        set("SSH_AUTH_SOCK", agent.as_os_str());
    }
    variables
}

/// Only the agent that was given proves who asks. A host that nobody has met is believed the
/// first time, and must be the same from then on.
fn ssh_command(git: &Git<'_>) -> String {
    let mut command = "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none \
         -o StrictHostKeyChecking=accept-new -o ClearAllForwardings=yes -o ForwardAgent=no \
         -o PermitLocalCommand=no -o ConnectTimeout=15 -o ServerAliveInterval=15 \
         -o ServerAliveCountMax=4"
        .to_owned();
    if let Some(known) = &git.access.known_hosts {
        // The file of the store comes first: new keys are written to the first.
        let files = format!("{} ~/.ssh/known_hosts", quoted_for_ssh(known));
        command.push_str(&format!(
            " -o {}",
            quoted_for_shell(&format!("UserKnownHostsFile={files}"))
        ));
    }
    command
}

fn quoted_for_ssh(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

fn quoted_for_shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Returns the settings that show who asks to the remote's host alone.
fn credentials(git: &Git<'_>, address: &Address) -> Vec<(String, String)> {
    let Some(origin) = &address.origin else {
        return Vec::new();
    };
    let given = git
        .access
        .of_host(&address.host)
        .map(|given| given.for_git());
    let Some(header) = given.or_else(|| address.authorization.clone()) else {
        return Vec::new();
    };
    let header = header.replace(['\r', '\n'], "");
    vec![
        (
            format!("http.{origin}/.extraHeader"),
            format!("Authorization: {header}"),
        ),
        // The header would go wherever the host sends us.
        ("http.followRedirects".to_owned(), "false".to_owned()),
    ]
}

/// Returns a bundle of the system's certificates and the given ones, if any are given.
fn certificates(git: &Git<'_>) -> Result<Option<String>, FetchError> {
    if git.access.certificate_files.is_empty() {
        return Ok(None);
    }
    let mut bundle = Vec::new();
    let system = SYSTEM_CERTIFICATES
        .iter()
        .find_map(|path| std::fs::read(path).ok());
    bundle.extend(system.unwrap_or_default());
    for path in &git.access.certificate_files {
        bundle.push(b'\n');
        bundle.extend(std::fs::read(path).map_err(FetchError::file("read", path))?);
    }
    let path = git.scratch.join("certificates.pem");
    std::fs::write(&path, bundle).map_err(FetchError::file("write", &path))?;
    Ok(Some(path.display().to_string()))
}

/// Returns `settings` as the variables that git reads configuration from.
fn numbered(settings: &[(String, String)]) -> Vec<(OsString, OsString)> {
    let mut variables = vec![("GIT_CONFIG_COUNT".into(), settings.len().to_string().into())];
    for (number, (key, value)) in settings.iter().enumerate() {
        variables.push((format!("GIT_CONFIG_KEY_{number}").into(), key.into()));
        variables.push((format!("GIT_CONFIG_VALUE_{number}").into(), value.into()));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_why_is_found() {
        for (stderr, expected) in [
            (
                "remote: Repository not found.\nfatal: repository 'https://x/' not found\n",
                "repository 'https://x/' not found",
            ),
            (
                "git@x: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\nPlease make sure",
                "git@x: Permission denied (publickey).",
            ),
            ("", "it failed without a word"),
            (
                "fatal: Could not read from remote repository.\n\nPlease make sure you have the \
                 correct access rights\nand the repository exists.\n",
                "the remote ended the connection; there may be no such repository",
            ),
            ("fatal: a\x1b[31mb\n", "a [31mb"),
        ] {
            assert_eq!(reason_of(stderr), expected);
        }
    }
}
