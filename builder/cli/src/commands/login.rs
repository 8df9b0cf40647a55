//! `kiln login` and `kiln logout`: credentials in the files that Docker and the containers tools
//! share.

use crate::arguments::{GlobalArguments, LoginArguments, LogoutArguments};
use crate::error::{Class, Failure};
use crate::session;
use kiln_engine::registry::{Client, ClientOptions, KeptIn, Login, LoginFile, Places};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Read};
use std::path::PathBuf;

const HUB: &str = "docker.io";
/// The most bytes of a password.
const LONGEST_PASSWORD_BYTES: u64 = 64 << 10;

/// Logs in: what the registry refuses is not kept.
pub fn log_in(global: &GlobalArguments, arguments: &LoginArguments) -> Result<(), Failure> {
    let registry = registry(arguments.registry.as_deref())?;
    let file = match &arguments.authfile {
        Some(path) => path.clone(),
        None => usual_file()?,
    };
    let login = ask(arguments, &registry)?;
    let options = ClientOptions {
        login: Some(login.clone()),
        ..session::client_options(global)?
    };
    Client::new(options)?
        .check_login(&registry)
        .map_err(|error| {
            Failure::caused(Class::Image, format!("cannot log in to {registry}"), &error)
                .with_hint("check the name of the registry, the user name and the password")
        })?;
    let file = LoginFile::new(file);
    let kept = file.keep(&login)?;
    match kept {
        KeptIn::Helper(name) => crate::output::tell!("kept by the credential helper `{name}`"),
        KeptIn::File => crate::output::tell!(
            "note: the password is kept unencrypted in {}; a credential helper would keep it better",
            file.path().display()
        ),
    }
    crate::output::say!("Login Succeeded");
    Ok(())
}

/// Forgets the login for a registry.
pub fn log_out(arguments: &LogoutArguments) -> Result<(), Failure> {
    let registry = registry(arguments.registry.as_deref())?;
    let files = match &arguments.authfile {
        Some(path) => vec![path.clone()],
        None => Places::usual().credential_files(),
    };
    let mut found = false;
    for file in files {
        found |= LoginFile::new(file).forget(&registry)?;
    }
    match found {
        true => crate::output::say!("Removing login credentials for {registry}"),
        false => crate::output::say!("Not logged in to {registry}"),
    }
    Ok(())
}

/// Returns the host of what the user named: a registry, its address, or a repository in it.
fn registry(text: Option<&str>) -> Result<String, Failure> {
    let text = text.unwrap_or(HUB);
    let host = text
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or_default();
    let host = host.to_ascii_lowercase();
    if matches!(host.as_str(), "index.docker.io" | "registry-1.docker.io") {
        return Ok(HUB.to_owned());
    }
    // Only what may stand in an image's name can be asked for credentials later.
    let is_registry = |name: &str| {
        let named = name.parse::<kiln_oci::Reference>();
        named.is_ok_and(|reference| reference.registry() == host)
    };
    match is_registry(&format!("{host}/image")) {
        true => Ok(host),
        false => Err(Failure::usage(format!("`{text}` is no registry"))
            .with_hint("write its host, with its port if it has one: registry.example:5000")),
    }
}

fn usual_file() -> Result<PathBuf, Failure> {
    let places = Places::usual();
    let docker = places.docker.map(|folder| folder.join("config.json"));
    places.credentials.or(docker).ok_or_else(|| {
        Failure::new(Class::Store, "no place for the login: HOME is not set")
            .with_hint("name a file with --authfile or REGISTRY_AUTH_FILE")
    })
}

fn ask(arguments: &LoginArguments, registry: &str) -> Result<Login, Failure> {
    let user = match &arguments.username {
        Some(user) => user.clone(),
        None if arguments.password_stdin => {
            return Err(Failure::usage("--password-stdin needs a user name")
                .with_hint("name the user with --username"));
        }
        None => line("Username: ", Echo::Shown)?,
    };
    let password = match &arguments.password {
        Some(password) => {
            crate::output::tell!(
                "warning: a password on the command line is seen by others: use --password-stdin"
            );
            password.clone()
        }
        None if arguments.password_stdin => password_from_pipe()?,
        None => line("Password: ", Echo::Hidden)?,
    };
    if user.is_empty() || password.is_empty() {
        return Err(Failure::usage(
            "the user name and the password may not be empty",
        ));
    }
    if user.contains(':') {
        return Err(Failure::usage("a user name has no `:`"));
    }
    Ok(Login {
        registry: registry.to_owned(),
        user,
        password,
    })
}

fn password_from_pipe() -> Result<String, Failure> {
    let mut text = String::new();
    let mut input = std::io::stdin().lock().take(LONGEST_PASSWORD_BYTES);
    input.read_to_string(&mut text).map_err(cannot_read)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn cannot_read(error: std::io::Error) -> Failure {
    Failure::caused(Class::Usage, "cannot read standard input", &error)
}

/// Whether what is typed is seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Echo {
    Shown,
    Hidden,
}

fn line(prompt: &str, echo: Echo) -> Result<String, Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(
            Failure::usage("the password cannot be asked for without a terminal")
                .with_hint("use --username and --password-stdin"),
        );
    }
    crate::output::write_message(prompt);
    let hidden = (echo == Echo::Hidden).then(Hidden::start);
    let mut text = String::new();
    let read = input.lock().read_line(&mut text);
    drop(hidden);
    if echo == Echo::Hidden {
        crate::output::write_message("\n");
    }
    read.map_err(cannot_read)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Hidden(Option<Termios>);

impl Hidden {
    fn start() -> Self {
        let input = std::io::stdin();
        let before = tcgetattr(&input).ok();
        if let Some(mut modes) = before.clone() {
            modes.local_modes.remove(LocalModes::ECHO);
            // On a terminal that cannot hide, the password is seen.
            let _ = tcsetattr(&input, OptionalActions::Flush, &modes);
        }
        Hidden(before)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::registry;

    #[test]
    fn registries_are_hosts_however_they_are_written() {
        let table = [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("Reg.example:5000"), "reg.example:5000"),
            (Some("https://reg.example/v2/"), "reg.example"),
            (Some("localhost:5000/team"), "localhost:5000"),
        ];
        for (text, expected) in table {
            assert_eq!(registry(text).unwrap(), expected, "{text:?}");
        }
        for text in ["", "not a host", "team"] {
            assert!(registry(Some(text)).is_err(), "{text}");
        }
    }
}
