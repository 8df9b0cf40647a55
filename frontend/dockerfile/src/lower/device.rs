//! RUN --device: devices of the machine, by the names that CDI gives them.
//!
//! Source: Container Device Interface specification 1.0.0, "Kind" and "Device name".

use super::arguments::parse_flag;
use super::{Lowered, Lowering, code};
use crate::compile::{Privilege, Privileges};
use crate::diagnostic::{Diagnostic, with_suggestion};
use crate::syntax::Word;
use kiln_plan::Device;

impl Lowering<'_> {
    /// Lowers the devices of a RUN, in order.
    pub(super) fn devices(&self, words: &[Word]) -> Lowered<Vec<Device>> {
        let mut devices = Vec::new();
        for word in words {
            let device = parse(word)?;
            self.check_device(&device, word)?;
            devices.push(device);
        }
        Ok(devices)
    }

    fn check_device(&self, device: &Device, word: &Word) -> Lowered<()> {
        let Privileges::Listed(allowed) = &self.request.options.privileges else {
            return Ok(());
        };
        let is_allowed = allowed.iter().any(|privilege| match privilege {
            Privilege::AllDevices => true,
            Privilege::Device(name) => covers(name, &device.name),
            Privilege::HostNetwork | Privilege::Insecure => false,
        });
        if is_allowed {
            return Ok(());
        }
        let message = format!("RUN --device asks for the device `{}`", device.name);
        let help = format!("allow it with `--allow device={}`", device.name);
        Err(Diagnostic::error(code::NOT_ALLOWED, word.span, message).with_help(help))
    }
}

/// Returns whether who allows `allowed` allows `asked_for`: the same name, or one of a kind
/// that is allowed as a whole.
fn covers(allowed: &str, asked_for: &str) -> bool {
    let kind = |name: &str| name.split('=').next().unwrap_or_default().to_owned();
    let is_whole_kind = !allowed.contains('=') || allowed.ends_with("=*");
    allowed == asked_for || is_whole_kind && kind(allowed) == kind(asked_for)
}

/// Returns the device of `name[,required[=true|false]]`.
fn parse(word: &Word) -> Lowered<Device> {
    let mut name = None;
    let mut required = false;
    for field in word.text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key {
            "required" if value.is_empty() => required = true,
            "required" => {
                required = parse_flag(value)
                    .ok_or_else(|| invalid(word, format!("`{value}` is neither true nor false")))?;
            }
            "name" if !value.is_empty() && name.is_none() => name = Some(value),
            _ if name.is_none() => name = Some(field),
            _ => {
                let error = invalid(word, format!("unknown option `{key}` of a device"));
                return Err(with_suggestion(error, key, "", &["required", "name"]));
            }
        }
    }
    let name = name.unwrap_or_default();
    match is_name(name) {
        true => Ok(Device {
            name: name.to_owned(),
            required,
        }),
        false => {
            let error = invalid(word, format!("`{name}` is no name of a device"));
            Err(error.with_help("a device is named vendor.com/class=device, or by its class"))
        }
    }
}

fn invalid(word: &Word, message: String) -> Diagnostic {
    Diagnostic::error(code::INVALID_VALUE, word.span, message)
}

fn is_name(name: &str) -> bool {
    let (kind, device) = match name.split_once('=') {
        Some((kind, device)) => (kind, Some(device)),
        None => (name, None),
    };
    let (vendor, class) = match kind.split_once('/') {
        Some((vendor, class)) => (Some(vendor), class),
        None => (None, kind),
    };
    // A device is one of a vendor's.
    (device.is_none() || vendor.is_some())
        && vendor.is_none_or(is_component)
        && is_component(class)
        && device.is_none_or(|device| device == "*" || is_device(device))
}

fn is_component(text: &str) -> bool {
    let is_part = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.chars().all(is_part)
}

fn is_device(text: &str) -> bool {
    let is_part = |character: char| character.is_ascii_alphanumeric() || "-_.:".contains(character);
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::Span;

    #[test]
    fn devices_follow_the_table() {
        for (text, expected) in [
            ("vendor.com/gpu=0", Some(("vendor.com/gpu=0", false))),
            (
                "vendor.com/gpu=*,required",
                Some(("vendor.com/gpu=*", true)),
            ),
            ("vendor.com/gpu", Some(("vendor.com/gpu", false))),
            ("gpu,required=false", Some(("gpu", false))),
            ("required,name=v/c=a", Some(("v/c=a", true))),
            ("", None),
            ("gpu=0", None),
            ("v/c=", None),
            ("/c=a", None),
            ("v/c=a,needed", None),
            ("v/c=a,required=perhaps", None),
            ("v/../c=a", None),
        ] {
            let found = parse(&Word::new(text, Span::default())).ok();
            let found = found.map(|device| (device.name, device.required));
            let expected = expected.map(|(name, required)| (name.to_owned(), required));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn permission_for_a_kind_is_one_for_its_devices() {
        for (allowed, asked_for, expected) in [
            ("v/c=a", "v/c=a", true),
            ("v/c=a", "v/c=b", false),
            ("v/c", "v/c=b", true),
            ("v/c=*", "v/c=b", true),
            ("v/c=a", "v/c=*", false),
            ("c", "c", true),
            ("c", "v/c=a", false),
            ("v/c", "w/c=a", false),
            ("v/c=a", "c", false),
        ] {
            assert_eq!(
                covers(allowed, asked_for),
                expected,
                "{allowed} {asked_for}"
            );
        }
    }
}
