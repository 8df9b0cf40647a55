//! What every command works with: the store and the registries.

use crate::arguments::GlobalArguments;
use crate::configuration;
use crate::error::{Class, Failure};
use kiln_engine::Remotes;
use kiln_engine::disk::Store;
use kiln_engine::registry::{Client, ClientOptions};
use kiln_engine::sandbox::user_namespace::Entered;
use kiln_oci::{Platform, Reference};
use std::path::PathBuf;
use std::sync::Arc;

/// The store and the registries.
pub struct Session {
    pub store: Store,
    pub client: Client,
    /// What was found out about remotes: it holds for the whole command.
    pub remotes: Remotes,
}

impl Session {
    /// Opens what `arguments` name.
    pub fn open(arguments: &GlobalArguments) -> Result<Self, Failure> {
        let options = client_options(arguments)?;
        let store = Store::open(&root(arguments)?)?;
        store.set_limits(configuration::layer_limits(arguments)?);
        Ok(Session {
            store,
            client: Client::new(options)?,
            remotes: Remotes::default(),
        })
    }
}

/// Returns how registries are reached.
pub fn client_options(arguments: &GlobalArguments) -> Result<ClientOptions, Failure> {
    let observer: kiln_engine::registry::Observer = Arc::new(crate::output::notice);
    Ok(ClientOptions {
        registries: configuration::registry_settings(arguments)?,
        places: configuration::other_tools(arguments)?,
        observer: Some(observer),
        ..ClientOptions::default()
    })
}

/// Returns the store's directory: as asked, else the usual one of root or of the user.
pub fn root(arguments: &GlobalArguments) -> Result<PathBuf, Failure> {
    if let Some(root) = &arguments.root {
        return Ok(root.clone());
    }
    if is_really_root() {
        return Ok("/var/lib/kiln".into());
    }
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or(home);
    data.map(|data| data.join("kiln")).ok_or_else(|| {
        Failure::new(
            Class::Store,
            "no place for the store: neither HOME nor XDG_DATA_HOME is set",
        )
        .with_hint("name a directory with --root or KILN_ROOT")
    })
}

/// In a user namespace of its own every user is 0; then the store is the user's.
fn is_really_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_initial = map.split_whitespace().eq(["0", "0", "4294967295"]);
    rustix::process::geteuid().is_root() && is_initial
}

/// Tells a user what does not work for want of ids.
pub fn warn_about(entered: &Entered) {
    if let Entered::SingleId { reason } = entered {
        crate::output::tell!(
            "warning: only one user id is available, so steps have other users by name only, and work with \
             their files is slower: {reason}\n  \
             hint: give yourself subordinate ids: sudo usermod --add-subuids 100000-165535 \
             --add-subgids 100000-165535 $USER, and install uidmap"
        );
    }
}

/// Returns the image name that `text` means.
pub fn parse_reference(text: &str) -> Result<Reference, Failure> {
    text.parse()
        .map_err(|error| invalid_reference(text, &error))
}

/// What a user is told whose `text` is no image name.
pub fn invalid_reference(text: &str, error: &kiln_oci::ReferenceError) -> Failure {
    let transport = text.split_once(':').map(|(transport, _)| transport);
    let hint = match transport {
        Some("docker" | "docker-daemon" | "http" | "https") => {
            "a name begins with the registry: registry.example/team/app:1.0"
        }
        Some("oci" | "oci-archive" | "docker-archive" | "dir") => {
            "layouts and archives are brought in by `kiln load -i PATH`, and `kiln copy` takes them"
        }
        _ => "names are lower case: registry.example/team/app:1.0",
    };
    Failure::caused(Class::Usage, format!("invalid image name `{text}`"), error).with_hint(hint)
}

/// Returns the platform that `text` means.
pub fn parse_platform(text: &str) -> Result<Platform, Failure> {
    if text == "local" {
        return Ok(Platform::host());
    }
    text.parse().map_err(|error: kiln_oci::PlatformError| {
        Failure::caused(Class::Usage, format!("invalid platform `{text}`"), &error)
            .with_hint("write it as linux/amd64 or linux/arm/v7")
    })
}

/// Returns the platform that `text` means, if anything is said.
pub fn optional_platform(text: Option<&str>) -> Result<Option<Platform>, Failure> {
    text.map(parse_platform).transpose()
}
