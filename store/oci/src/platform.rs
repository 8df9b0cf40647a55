//! Platforms: operating system, architecture and variant, in Go's words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::null::null_as_default;

/// What an image runs on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// Processor architecture.
    #[serde(default)]
    pub architecture: String,
    /// Operating system.
    #[serde(default)]
    pub os: String,
    /// Version of the operating system.
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Needed features of the operating system.
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub os_features: Vec<String>,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform {text:?}: {reason}")]
pub struct PlatformError {
    text: String,
    reason: &'static str,
}

impl Platform {
    /// Returns a normalized platform.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            os_version: None,
            os_features: Vec::new(),
            variant: variant.map(str::to_owned),
        }
        .normalized()
    }

    /// Returns the platform this program runs on.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// Returns the platform in the one spelling of each name: `x86_64` is `amd64`, `arm64/v8` is
    /// `arm64`, `arm` is `arm/v7`.
    pub fn normalized(self) -> Self {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let architecture = self.architecture.to_ascii_lowercase();
        let variant = self.variant.unwrap_or_default().to_ascii_lowercase();
        let (architecture, variant) = normalized_architecture(&architecture, &variant);
        let variant = Some(variant).filter(|variant| !variant.is_empty());
        Self {
            architecture,
            os,
            variant,
            ..self
        }
    }

    /// Platforms that images are commonly made for, as they are written.
    pub const COMMON: [&'static str; 12] = [
        "linux/amd64",
        "linux/arm64",
        "linux/arm/v7",
        "linux/arm/v6",
        "linux/386",
        "linux/ppc64le",
        "linux/s390x",
        "linux/riscv64",
        "linux/loong64",
        "windows/amd64",
        "darwin/arm64",
        "freebsd/amd64",
    ];

    /// Returns whether both the system and the architecture are names in use.
    ///
    /// Others are accepted: somebody may have a machine that is not in the list.
    pub fn is_known(&self) -> bool {
        is_known_system(&self.os) && KNOWN_ARCHITECTURES.contains(&self.architecture.as_str())
    }

    /// Returns whether something made for `offered` runs where `self` is wanted.
    pub fn matches(&self, offered: &Platform) -> bool {
        self.rank(offered).is_some()
    }

    /// Returns how far `offered` is from what is wanted, 0 for the same; none if it does not fit.
    pub fn rank(&self, offered: &Platform) -> Option<u32> {
        let (wanted, offered) = (self.clone().normalized(), offered.clone().normalized());
        if wanted.os != offered.os || wanted.architecture != offered.architecture {
            return None;
        }
        wanted.level()?.checked_sub(offered.level()?)
    }

    /// Returns the architecture's level: higher ones run what was made for lower ones.
    fn level(&self) -> Option<u32> {
        let least = match self.architecture.as_str() {
            "arm64" => 8000,
            "amd64" => 1000,
            "arm" => 7000,
            _ => 0,
        };
        match &self.variant {
            None => Some(least),
            Some(variant) => level_of_variant(variant),
        }
    }
}

/// Returns a number that orders variants: `v8.1` is more than `v8` and less than `v9`.
fn level_of_variant(variant: &str) -> Option<u32> {
    let version = variant.strip_prefix('v')?;
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    major.checked_mul(1000)?.checked_add(minor)
}

fn normalized_architecture(architecture: &str, variant: &str) -> (String, String) {
    let variant = match variant.as_bytes().first() {
        Some(b'0'..=b'9') => format!("v{variant}"),
        _ => variant.to_owned(),
    };
    let (architecture, variant) = match (architecture, variant.as_str()) {
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "v8") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", ""),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "") => ("arm", "v7"),
        ("powerpc64le", variant) => ("ppc64le", variant),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

const KNOWN_SYSTEMS: [&str; 6] = ["linux", "windows", "darwin", "macos", "freebsd", "wasip1"];

/// Architectures after their names are made one.
const KNOWN_ARCHITECTURES: [&str; 13] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64le",
    "riscv64", "s390x", "wasm",
];

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let refuse = |reason| PlatformError {
            text: text.to_owned(),
            reason,
        };
        let (rest, version) = without_version(text).ok_or_else(|| refuse(VERSION_IS_MALFORMED))?;
        let parts: Vec<&str> = rest.split('/').collect();
        if !parts.iter().all(|part| is_component(part)) {
            return Err(refuse("components are letters, digits, `.`, `_` and `-`"));
        }
        let platform = match *parts.as_slice() {
            [os] if is_known_system(os) => Self::new(os, std::env::consts::ARCH, None),
            [architecture] => Self::new("linux", architecture, None),
            [os, architecture] => Self::new(os, architecture, None),
            [os, architecture, variant] => Self::new(os, architecture, Some(variant)),
            _ => {
                let reason = "expected os/architecture or os/architecture/variant";
                return Err(refuse(reason));
            }
        };
        if parts.len() == 1 && !platform.is_known() {
            return Err(refuse("it is no operating system and no architecture"));
        }
        Ok(Self {
            os_version: version.map(str::to_owned),
            ..platform
        })
    }
}

const VERSION_IS_MALFORMED: &str = "the version of the system stands as in windows(10.0)/amd64";

/// Returns `text` without the version in brackets behind the system, and that version.
fn without_version(text: &str) -> Option<(String, Option<&str>)> {
    let Some((os, rest)) = text.split_once('(') else {
        return Some((text.to_owned(), None));
    };
    let (version, rest) = rest.split_once(')')?;
    is_component(version).then(|| (format!("{os}{rest}"), Some(version)))
}

fn is_component(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !text.is_empty() && text.bytes().all(plain)
}

fn is_known_system(os: &str) -> bool {
    KNOWN_SYSTEMS.contains(&os.to_ascii_lowercase().as_str())
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_platform_becomes_one() {
        let cases = [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v2", "linux/amd64/v2"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("Linux/ARM64", "linux/arm64"),
            ("amd64", "linux/amd64"),
        ];
        for (text, expected) in cases {
            assert_eq!(
                text.parse::<Platform>().unwrap().to_string(),
                expected,
                "{text}"
            );
        }
        for text in [
            "",
            "linux/",
            "/amd64",
            "a/b/c/d",
            "linux/a b",
            "x",
            "linus",
            "windows(10/amd64",
            "windows()/amd64",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        let versioned: Platform = "windows(10.0.17763)/amd64".parse().unwrap();
        assert_eq!(versioned.os_version.as_deref(), Some("10.0.17763"));
        assert_eq!(versioned.to_string(), "windows/amd64");
    }

    #[test]
    fn names_that_nobody_uses_are_told_apart() {
        for (text, expected) in [
            ("linux/amd64", true),
            ("linux/x86-64", true),
            ("linux/amd46", false),
            ("lniux/amd64", false),
        ] {
            let platform: Platform = text.parse().unwrap();
            assert_eq!(platform.is_known(), expected, "{text}");
        }
        for text in Platform::COMMON {
            assert!(text.parse::<Platform>().unwrap().is_known(), "{text}");
        }
    }

    #[test]
    fn higher_variants_run_lower_ones_but_not_the_reverse() {
        let rank = |wanted: &str, offered: &str| {
            wanted
                .parse::<Platform>()
                .unwrap()
                .rank(&offered.parse().unwrap())
        };
        assert_eq!(rank("linux/arm/v7", "linux/arm/v6"), Some(1000));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/arm64", "linux/arm64/v8"), Some(0));
        assert_eq!(rank("linux/amd64", "linux/amd64/v2"), None);
        assert_eq!(rank("linux/amd64", "linux/arm64"), None);
        assert_eq!(rank("linux/riscv64", "linux/riscv64"), Some(0));
    }
}
