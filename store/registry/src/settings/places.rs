//! Where Docker and the containers tools keep what they know of registries.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::de::DeserializeOwned;

use super::RegistrySettings;
use super::docker::DaemonFile;
use super::rules::{RegistryRule, RulesFile};
use crate::{Error, Result};

/// The folders and files of other tools on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The folder of the system's settings: `/etc`.
    pub system: PathBuf,
    /// The folder of the user's settings: `~/.config`.
    pub user: Option<PathBuf>,
    /// The folder of Docker's client: `$DOCKER_CONFIG`, else `~/.docker`.
    pub docker: Option<PathBuf>,
    /// The one file of credentials, if it is named: `$REGISTRY_AUTH_FILE`.
    pub credentials: Option<PathBuf>,
    /// The folder of what lasts until the user logs out: `$XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
    /// The one file of rules, if it is named: `$CONTAINERS_REGISTRIES_CONF`.
    pub rules: Option<PathBuf>,
    /// The one folder of further rules: `$CONTAINERS_REGISTRIES_CONF_DIR`.
    pub rules_folder: Option<PathBuf>,
}

impl Places {
    /// Returns the places of this machine and user, as the environment says.
    pub fn usual() -> Self {
        Self::of(|name| std::env::var_os(name))
    }

    /// Returns the places in an environment.
    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        let home = path("HOME");
        let in_home = |name: &str| home.as_ref().map(|home| home.join(name));
        Self {
            system: PathBuf::from("/etc"),
            user: path("XDG_CONFIG_HOME").or_else(|| in_home(".config")),
            docker: path("DOCKER_CONFIG").or_else(|| in_home(".docker")),
            credentials: path("REGISTRY_AUTH_FILE"),
            runtime: path("XDG_RUNTIME_DIR"),
            rules: path("CONTAINERS_REGISTRIES_CONF"),
            rules_folder: path("CONTAINERS_REGISTRIES_CONF_DIR"),
        }
    }

    /// Returns the files that may hold credentials, the first ones first.
    pub fn credential_files(&self) -> Vec<PathBuf> {
        if let Some(file) = &self.credentials {
            return vec![file.clone()];
        }
        let docker = self.docker.iter().map(|folder| folder.join("config.json"));
        let folders = self.runtime.iter().chain(&self.user);
        let containers = folders.map(|folder| folder.join("containers/auth.json"));
        docker.chain(containers).collect()
    }

    /// Adds what stands in the files to `settings`. Errors: [`Error::Settings`].
    fn add_to(&self, settings: &mut RegistrySettings) -> Result<()> {
        for path in self.rule_files() {
            let Some(file) = read(&path, |text| toml::from_str::<RulesFile>(text))? else {
                continue;
            };
            let rules = file.rules(&path).map_err(|reason| Error::Settings {
                path: path.clone(),
                reason,
            })?;
            let new =
                |rule: &RegistryRule| settings.rules.iter().all(|one| one.prefix != rule.prefix);
            let rules: Vec<_> = rules.into_iter().filter(new).collect();
            settings.rules.extend(rules);
        }
        for path in self.daemon_files() {
            if let Some(file) = read(&path, |text| serde_json::from_str::<DaemonFile>(text))? {
                let (rules, networks) = file.rules(&path);
                let known = &mut settings.rules;
                for rule in rules {
                    // What the containers tools are told of a registry goes before.
                    if known.iter().all(|one| one.prefix != rule.prefix) {
                        known.push(rule);
                    }
                }
                settings.insecure_networks.extend(networks);
            }
        }
        settings
            .certificate_folders
            .extend(self.certificate_folders());
        Ok(())
    }

    /// Returns the files of rules; what stands in the first of two goes before.
    fn rule_files(&self) -> Vec<PathBuf> {
        let folder = |base: &Path| base.join("containers");
        let mut folders: Vec<_> = match &self.rules_folder {
            Some(named) => vec![named.clone()],
            None => {
                let bases = self.user.iter().chain([&self.system]);
                bases
                    .map(|base| folder(base).join("registries.conf.d"))
                    .collect()
            }
        };
        if self.rules.is_some() && self.rules_folder.is_none() {
            folders.clear();
        }
        let mut files = Vec::new();
        for folder in folders {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut found: Vec<_> = entries.map(|entry| entry.path()).collect();
            found.retain(|path| path.extension().is_some_and(|name| name == "conf"));
            // The last one has the last word.
            found.sort_by(|one, other| other.cmp(one));
            files.extend(found);
        }
        let own = self
            .user
            .iter()
            .map(|base| folder(base).join("registries.conf"));
        let own = own.into_iter().find(|path| path.exists());
        let system = || folder(&self.system).join("registries.conf");
        files.push(self.rules.clone().or(own).unwrap_or_else(system));
        files
    }

    fn daemon_files(&self) -> Vec<PathBuf> {
        let bases = self.user.iter().chain([&self.system]);
        bases.map(|base| base.join("docker/daemon.json")).collect()
    }

    fn certificate_folders(&self) -> Vec<PathBuf> {
        let bases = self.user.iter().chain([&self.system]);
        let tools = bases.flat_map(|base| {
            let names = ["containers/certs.d", "docker/certs.d"];
            names.map(|name| base.join(name))
        });
        let docker = self.docker.iter().map(|folder| folder.join("certs.d"));
        tools.chain(docker).collect()
    }
}

/// Returns what the file says; `None` if there is none, or none that we may read.
fn read<T: DeserializeOwned, E: std::fmt::Display>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>> {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let failure = |reason: String| Error::Settings {
        path: path.to_owned(),
        reason,
    };
    match std::fs::read_to_string(path) {
        Ok(text) => match parse(&text) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(failure(error.to_string().trim_end().to_owned())),
        },
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | PermissionDenied) => {
            Ok(None)
        }
        Err(error) => Err(failure(error.to_string())),
    }
}

/// Settings that are completed by what stands in other tools' files when first needed.
#[derive(Debug)]
pub(crate) struct LazySettings {
    given: RegistrySettings,
    places: Option<Places>,
    complete: OnceLock<Result<RegistrySettings, (PathBuf, String)>>,
}

impl LazySettings {
    pub fn new(given: RegistrySettings, places: Option<Places>) -> Self {
        Self {
            given,
            places,
            complete: OnceLock::new(),
        }
    }

    /// Returns what the user said, without the other tools' files.
    pub fn given(&self) -> &RegistrySettings {
        &self.given
    }

    /// Returns all settings.
    pub fn get(&self) -> Result<&RegistrySettings> {
        let complete = self.complete.get_or_init(|| {
            let mut settings = self.given.clone();
            let added = self
                .places
                .as_ref()
                .map(|places| places.add_to(&mut settings));
            match added {
                Some(Err(Error::Settings { path, reason })) => Err((path, reason)),
                _ => Ok(settings),
            }
        });
        complete.as_ref().map_err(|(path, reason)| Error::Settings {
            path: path.clone(),
            reason: reason.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn places(folder: &Path) -> Places {
        Places {
            system: folder.join("etc"),
            user: Some(folder.join("user")),
            ..Places::default()
        }
    }

    #[test]
    fn later_files_of_rules_have_the_last_word() {
        let folder = tempfile::tempdir().unwrap();
        let rule =
            |location: &str| format!("[[registry]]\nprefix = 'a'\nlocation = '{location}'\n");
        write(
            folder.path(),
            "etc/containers/registries.conf",
            &rule("main"),
        );
        let found = || {
            let mut settings = RegistrySettings::default();
            places(folder.path()).add_to(&mut settings).unwrap();
            assert_eq!(settings.rules.len(), 1);
            settings.rules[0].location.clone().unwrap()
        };
        assert_eq!(found(), "main");
        write(
            folder.path(),
            "user/containers/registries.conf",
            &rule("own"),
        );
        assert_eq!(found(), "own");
        write(
            folder.path(),
            "etc/containers/registries.conf.d/1.conf",
            &rule("one"),
        );
        assert_eq!(found(), "one");
        write(
            folder.path(),
            "etc/containers/registries.conf.d/2.conf",
            &rule("two"),
        );
        assert_eq!(found(), "two");
        write(
            folder.path(),
            "user/containers/registries.conf.d/0.conf",
            &rule("user"),
        );
        assert_eq!(found(), "user");
    }

    #[test]
    fn malformed_files_are_named_when_a_registry_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "etc/docker/daemon.json", "{");
        let settings = LazySettings::new(RegistrySettings::default(), Some(places(folder.path())));
        let text = settings.get().unwrap_err().to_string();
        assert!(text.contains("docker/daemon.json"), "{text}");
        assert_eq!(settings.get().unwrap_err().to_string(), text);
    }

    #[test]
    fn environment_names_the_places() {
        let environment = |name: &str| {
            let value = match name {
                "HOME" => "/home/ann",
                "DOCKER_CONFIG" => "/d",
                "XDG_RUNTIME_DIR" => "/run/user/7",
                _ => return None,
            };
            Some(OsString::from(value))
        };
        let files = Places::of(environment).credential_files();
        let expected = [
            "/d/config.json",
            "/run/user/7/containers/auth.json",
            "/home/ann/.config/containers/auth.json",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
        let named = |name: &str| (name == "REGISTRY_AUTH_FILE").then(|| OsString::from("/a"));
        assert_eq!(Places::of(named).credential_files(), [PathBuf::from("/a")]);
    }
}
