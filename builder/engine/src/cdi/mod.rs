//! Devices of the machine by the names that their vendors give them.
//!
//! A vendor puts a file into a directory; it says which nodes, files and variables a container
//! needs to use a device. Source: Container Device Interface specification 1.0.0.

mod spec;

use spec::{ContainerEdits, DeviceNode, Specification};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Directories in which vendors describe devices, unless others are named.
pub const DEFAULT_DIRECTORIES: [&str; 3] = ["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"];

/// The annotation that makes a device one of a class.
const CLASS_ANNOTATION: &str = "org.mobyproject.buildkit.device.class";

/// Why a device cannot be given to a command.
#[derive(Debug, Error)]
pub enum CdiError {
    /// A file or directory could not be read.
    #[error("cannot read the description of devices {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is no description of devices.
    #[error("the description of devices {} is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing of that name is described.
    #[error("no device `{name}` is described in {directories}")]
    NotFound {
        /// The name.
        name: String,
        /// Where it was looked for.
        directories: String,
    },
    /// The description asks for something that steps of a build don't get.
    #[error("device `{name}` needs {what}, which is not supported")]
    Unsupported {
        /// The device.
        name: String,
        /// What it needs.
        what: &'static str,
    },
    /// A node that is none.
    #[error("{} of device `{name}` is no device node", path.display())]
    NoNode {
        /// The device.
        name: String,
        /// The path on this machine.
        path: PathBuf,
    },
}

/// What a command gets for its devices.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Edits {
    /// Variables, in order.
    pub environment: Vec<(String, String)>,
    /// Device nodes: path in the container, path on this machine.
    pub nodes: Vec<(String, PathBuf)>,
    pub mounts: Vec<BindMount>,
    /// Groups of the command besides its own.
    pub groups: Vec<u32>,
}

/// A file or directory of this machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BindMount {
    pub source: PathBuf,
    pub target: String,
    pub read_only: bool,
}

/// All devices that are described.
pub(crate) struct Devices {
    /// A later directory comes first: it takes the place of an earlier one.
    specifications: Vec<Specification>,
    /// What could not be read: told when a device is missed.
    broken: Vec<CdiError>,
    directories: String,
}

impl Devices {
    /// Reads what lies in `directories`; those that are not there describe nothing.
    pub fn read(directories: &[PathBuf]) -> Self {
        let names = directories.iter().map(|path| path.display().to_string());
        let mut devices = Devices {
            specifications: Vec::new(),
            broken: Vec::new(),
            directories: names.collect::<Vec<_>>().join(", "),
        };
        for directory in directories.iter().rev() {
            match spec::files_in(directory) {
                Ok(paths) => paths.iter().for_each(|path| devices.add(path)),
                Err(error) => devices.broken.push(error),
            }
        }
        devices
    }

    fn add(&mut self, path: &Path) {
        match spec::read(path) {
            Ok(specification) => self.specifications.push(specification),
            Err(error) => self.broken.push(error),
        }
    }

    /// Returns what a command gets that asks for `name`.
    ///
    /// Errors: [`CdiError::NotFound`], or the reason why a description could not be read that
    /// may be that of `name`; [`CdiError::Unsupported`], [`CdiError::NoNode`].
    pub fn edits(mut self, name: &str) -> Result<Edits, CdiError> {
        let found = self.find(name);
        if found.is_empty() {
            return Err(match self.broken.is_empty() {
                false => self.broken.remove(0),
                true => CdiError::NotFound {
                    name: name.to_owned(),
                    directories: self.directories,
                },
            });
        }
        let mut edits = Edits::default();
        for (specification, device) in &found {
            let full_name = format!("{}={}", specification.kind, device.name);
            edits.add(&device.container_edits, &full_name)?;
        }
        let mut kinds: Vec<&Specification> = Vec::new();
        for (specification, _) in &found {
            if !kinds
                .iter()
                .any(|known| std::ptr::eq(*known, *specification))
            {
                kinds.push(specification);
                edits.add(&specification.container_edits, &specification.kind)?;
            }
        }
        Ok(edits)
    }

    /// Returns the devices that `name` means, each with the file that it is described in.
    fn find(&self, name: &str) -> Vec<(&Specification, &spec::Device)> {
        let all = self.specifications.iter().flat_map(|specification| {
            let devices = specification.devices.iter();
            devices.map(move |device| (specification, device))
        });
        let mut found: Vec<(&Specification, &spec::Device)> = Vec::new();
        for (specification, device) in all {
            let is_meant = match name.split_once('=') {
                Some((kind, "*")) => specification.kind == kind,
                Some((kind, wanted)) => specification.kind == kind && device.name == wanted,
                None if name.contains('/') => specification.kind == name,
                None => class_of(specification, device) == Some(name),
            };
            let is_known = found.iter().any(|(known, other)| {
                known.kind == specification.kind && other.name == device.name
            });
            if is_meant && !is_known {
                found.push((specification, device));
            }
        }
        found.sort_by_key(|(specification, device)| (&specification.kind, &device.name));
        if name.contains('/') && !name.contains('=') {
            found.truncate(1);
        }
        found
    }
}

fn class_of<'s>(specification: &'s Specification, device: &'s spec::Device) -> Option<&'s str> {
    let own = device.annotations.get(CLASS_ANNOTATION);
    let class = own.or_else(|| specification.annotations.get(CLASS_ANNOTATION));
    class.map(String::as_str)
}

impl Edits {
    fn add(&mut self, edits: &ContainerEdits, name: &str) -> Result<(), CdiError> {
        for (is_needed, what) in [
            (
                !edits.hooks.is_empty(),
                "a program that runs beside the command (a hook)",
            ),
            (edits.intel_rdt.is_some(), "Intel RDT"),
            (!edits.net_devices.is_empty(), "a network device"),
        ] {
            if is_needed {
                let name = name.to_owned();
                return Err(CdiError::Unsupported { name, what });
            }
        }
        for variable in &edits.env {
            let (key, value) = variable.split_once('=').unwrap_or((variable, ""));
            self.environment.push((key.to_owned(), value.to_owned()));
        }
        for node in &edits.device_nodes {
            self.nodes.push(checked(node, name)?);
        }
        for mount in &edits.mounts {
            self.mounts.push(BindMount {
                source: mount.host_path.clone(),
                target: mount.container_path.clone(),
                read_only: mount.options.iter().any(|option| option == "ro"),
            });
        }
        self.groups.extend(&edits.additional_gids);
        Ok(())
    }
}

/// Returns where a node is seen and where it is; it must be there and be a device.
fn checked(node: &DeviceNode, name: &str) -> Result<(String, PathBuf), CdiError> {
    let path = node
        .host_path
        .clone()
        .unwrap_or_else(|| node.path.clone().into());
    let metadata = std::fs::metadata(&path).map_err(|source| CdiError::Read {
        path: path.clone(),
        source,
    })?;
    let kind = metadata.file_type();
    match kind.is_char_device() || kind.is_block_device() {
        true => Ok((node.path.clone(), path)),
        false => Err(CdiError::NoNode {
            name: name.to_owned(),
            path,
        }),
    }
}

#[cfg(test)]
mod tests;
