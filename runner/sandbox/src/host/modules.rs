//! Finds the kernel's security modules.

use std::fs;
use std::path::Path;

use kiln_runspec::SecurityModules;

use crate::syscall;

/// The profile that Docker's engine loads, and what others load for containers.
const PROFILES: [&str; 2] = ["docker-default", "containers-default"];

pub(super) fn probe() -> SecurityModules {
    SecurityModules {
        apparmor: has_apparmor().then(usual_profile),
        selinux: Path::new("/sys/fs/selinux/enforce").exists(),
        landlock: syscall::landlock_version(),
    }
}

fn has_apparmor() -> bool {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text.trim() == "Y")
}

fn usual_profile() -> String {
    let loaded = fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap_or_default();
    choose(&loaded)
}

/// `NAME (MODE)` a line.
fn choose(loaded: &str) -> String {
    let names = loaded.lines().filter_map(|line| line.split(' ').next());
    let names: Vec<&str> = names.collect();
    let find = |wanted: &&str| names.iter().find(|name| name.starts_with(*wanted));
    let found = PROFILES.iter().find_map(find);
    found.map(|name| (*name).to_owned()).unwrap_or_default()
}

pub(super) fn describe(modules: &SecurityModules) -> String {
    let apparmor = modules
        .apparmor
        .as_ref()
        .map(|profile| match profile.as_str() {
            "" => "AppArmor without a profile for containers".to_owned(),
            profile => format!("AppArmor with {profile}"),
        });
    let selinux = modules.selinux.then(|| "SELinux".to_owned());
    let landlock = (modules.landlock > 0).then(|| format!("Landlock {}", modules.landlock));
    let found: Vec<String> = [apparmor, selinux, landlock]
        .into_iter()
        .flatten()
        .collect();
    match found.is_empty() {
        true => "none".to_owned(),
        false => found.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_of_docker_comes_first() {
        let loaded = "/usr/bin/man (enforce)\ncontainers-default-0.50 (enforce)\n";
        assert_eq!(choose(loaded), "containers-default-0.50");
        let loaded = format!("{loaded}docker-default (enforce)\n");
        assert_eq!(choose(&loaded), "docker-default");
        assert_eq!(choose(""), "");
    }
}
