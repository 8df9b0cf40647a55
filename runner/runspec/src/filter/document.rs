//! Docker's format of profiles.

use std::borrow::Cow;

use serde::Deserialize;
use thiserror::Error;

use super::abi::{self, Abi};
use super::profile::{Action, Comparison, Condition, Modes, Profile, Requirement, Rule, Width};
use crate::capability;

/// Why a profile cannot be used.
#[derive(Debug, Error)]
pub enum InvalidProfile {
    /// It is no JSON, or not of this shape.
    #[error("the profile cannot be read")]
    Document(#[source] serde_json::Error),
    /// A word means nothing, or something that is not supported.
    #[error("{what} `{word}` is not supported")]
    Word {
        /// What the word stands for.
        what: &'static str,
        /// The word.
        word: String,
    },
    /// A call that shall not be made and that no processor is known to have.
    #[error("the profile denies `{name}`, which is no system call known here")]
    UnknownCall {
        /// Its name.
        name: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchitectureEntry>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<RuleEntry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureEntry {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleEntry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<ArgumentEntry>>,
    #[serde(default)]
    includes: Option<RequirementEntry>,
    #[serde(default)]
    excludes: Option<RequirementEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArgumentEntry {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequirementEntry {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Returns the profile that `text` is, as Docker's engine and buildah take it.
///
/// Names of calls that are not known here are passed over where the profile only allows them, as
/// libseccomp does. Errors: [`InvalidProfile`].
pub fn parse(text: &str) -> Result<Profile, InvalidProfile> {
    let document: Document = serde_json::from_str(text).map_err(InvalidProfile::Document)?;
    if let Some(path) = document.listener_path.filter(|path| !path.is_empty()) {
        return Err(unsupported("listenerPath", &path));
    }
    // How filters of several threads are joined: there is one thread.
    let harmless = "SECCOMP_FILTER_FLAG_TSYNC";
    let mut flags = document.flags.iter().flatten();
    if let Some(flag) = flags.find(|flag| *flag != harmless) {
        return Err(unsupported("the flag", flag));
    }
    let errno = document.default_errno_ret.unwrap_or(super::EPERM);
    let default_action = action(&document.default_action, errno)?;
    let modes = modes(document.architectures, document.arch_map);
    let entries = document.syscalls.into_iter().flatten();
    let rules: Vec<Rule> = entries.map(rule).collect::<Result<_, _>>()?;
    for rule in &rules {
        refuse_unknown_denials(rule, default_action)?;
    }
    Ok(Profile {
        default_action,
        rules,
        modes,
    })
}

/// Modes that are not known are those of other processors.
fn modes(list: Option<Vec<String>>, map: Option<Vec<ArchitectureEntry>>) -> Modes {
    let entries = map.into_iter().flatten();
    let mut names = list.unwrap_or_default();
    for entry in entries {
        names.push(entry.architecture);
        names.extend(entry.sub_architectures.into_iter().flatten());
    }
    Modes::These(names.iter().filter_map(|name| Abi::named(name)).collect())
}

fn rule(entry: RuleEntry) -> Result<Rule, InvalidProfile> {
    let names = entry
        .name
        .into_iter()
        .chain(entry.names.into_iter().flatten());
    let conditions = entry.args.into_iter().flatten().map(condition);
    Ok(Rule {
        action: action(&entry.action, entry.errno_ret.unwrap_or(super::EPERM))?,
        names: names.map(Cow::Owned).collect(),
        conditions: conditions.collect::<Result<_, _>>()?,
        includes: requirement(entry.includes.unwrap_or_default())?,
        excludes: requirement(entry.excludes.unwrap_or_default())?,
    })
}

fn action(word: &str, errno: u16) -> Result<Action, InvalidProfile> {
    match word {
        "SCMP_ACT_ALLOW" => Ok(Action::Allow),
        "SCMP_ACT_LOG" => Ok(Action::Log),
        "SCMP_ACT_ERRNO" => Ok(Action::Fail(errno)),
        "SCMP_ACT_TRAP" => Ok(Action::Trap),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(Action::KillThread),
        "SCMP_ACT_KILL_PROCESS" => Ok(Action::Kill),
        word => Err(unsupported("the action", word)),
    }
}

fn condition(entry: ArgumentEntry) -> Result<Condition, InvalidProfile> {
    let value = entry.value;
    let comparison = match entry.op.as_str() {
        "SCMP_CMP_EQ" => Comparison::Equal(value),
        "SCMP_CMP_NE" => Comparison::Unequal(value),
        "SCMP_CMP_LT" => Comparison::Less(value),
        "SCMP_CMP_LE" => Comparison::AtMost(value),
        "SCMP_CMP_GT" => Comparison::Greater(value),
        "SCMP_CMP_GE" => Comparison::AtLeast(value),
        "SCMP_CMP_MASKED_EQ" => Comparison::Masked {
            mask: value,
            value: entry.value_two,
        },
        word => return Err(unsupported("the comparison", word)),
    };
    if entry.index > 5 {
        return Err(unsupported("an argument number", &entry.index.to_string()));
    }
    Ok(Condition {
        argument: entry.index,
        width: Width::Full,
        comparison,
    })
}

fn requirement(entry: RequirementEntry) -> Result<Requirement, InvalidProfile> {
    let number = |name: String| {
        let found = capability::number(&name);
        found.ok_or_else(|| unsupported("the capability", &name))
    };
    let capabilities = entry.caps.into_iter().flatten().map(number);
    let processors = entry.arches.into_iter().flatten();
    Ok(Requirement {
        capabilities: capabilities.collect::<Result<_, _>>()?,
        processors: processors.map(Cow::Owned).collect(),
        minimum_kernel: match entry.min_kernel.filter(|text| !text.is_empty()) {
            Some(text) => Some(kernel_version(&text)?),
            None => None,
        },
    })
}

fn kernel_version(text: &str) -> Result<(u32, u32), InvalidProfile> {
    let parsed = text
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parsed.ok_or_else(|| unsupported("the kernel version", text))
}

/// A call that a profile denies, unlike others, must not pass for want of its number.
fn refuse_unknown_denials(rule: &Rule, default: Action) -> Result<(), InvalidProfile> {
    let passes = |action| matches!(action, Action::Allow | Action::Log);
    if !passes(default) || passes(rule.action) {
        return Ok(());
    }
    match rule.names.iter().find(|name| !abi::is_known(name)) {
        Some(name) => Err(InvalidProfile::UnknownCall {
            name: name.to_string(),
        }),
        None => Ok(()),
    }
}

fn unsupported(what: &'static str, word: &str) -> InvalidProfile {
    InvalidProfile::Word {
        what,
        word: word.to_owned(),
    }
}
