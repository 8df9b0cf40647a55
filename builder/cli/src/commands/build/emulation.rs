//! Platforms whose programs this machine runs besides its own.

use kiln_oci::Platform;
use std::path::Path;

/// Where the kernel lists the interpreters of foreign programs.
const INTERPRETERS: &str = "/proc/sys/fs/binfmt_misc";

/// Returns the platforms that the kernel has an emulator for.
pub fn platforms() -> Vec<Platform> {
    registered_in(Path::new(INTERPRETERS))
}

fn registered_in(folder: &Path) -> Vec<Platform> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut platforms = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let architecture = name.strip_prefix("qemu-").map(architecture_of);
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        if let (Some(architecture), true) = (architecture, text.starts_with("enabled")) {
            platforms.push(Platform::new("linux", architecture, None));
        }
    }
    platforms.sort();
    platforms
}

/// Returns the architecture that QEMU calls `name` in the words of images.
fn architecture_of(name: &str) -> &str {
    match name {
        "mips64el" => "mips64le",
        "mipsel" => "mipsle",
        "loongarch64" => "loong64",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enabled_emulators_are_platforms() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            (
                "qemu-aarch64",
                "enabled\ninterpreter /usr/bin/qemu-aarch64\n",
            ),
            ("qemu-mips64el", "enabled\n"),
            ("qemu-s390x", "disabled\n"),
            ("python3", "enabled\n"),
            ("status", "enabled\n"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let names = registered_in(folder.path());
        let names: Vec<String> = names.iter().map(Platform::to_string).collect();
        assert_eq!(names, ["linux/arm64", "linux/mips64le"]);
        assert_eq!(registered_in(Path::new("/does/not/exist")), []);
    }
}
