//! Devices of the machine for a command.

use super::mounts::{PreparedMounts, is_placed};
use crate::cdi::{CdiError, Devices, Edits};
use crate::worker::BuildWorker;
use crate::{StepChange, StepError};
use kiln_plan::{Device, VertexId};
use kiln_sandbox::runspec::{MountKind, MountSpec};

/// Adds what `device` needs. One that is not required and not there is left out, and that told.
pub(super) fn add(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    device: &Device,
    prepared: &mut PreparedMounts,
) -> Result<(), StepError> {
    let devices = Devices::read(&worker.request.device_directories);
    match devices.edits(&device.name) {
        Ok(edits) => {
            if !edits.mounts.is_empty() && is_placed(worker)? {
                let name = &device.name;
                return Err(StepError::Unsupported(format!(
                    "device `{name}` asks for files of the machine, which takes mounts"
                )));
            }
            add_edits(edits, prepared);
            Ok(())
        }
        Err(CdiError::NotFound { name, .. }) if !device.required => {
            let note = format!("there is no device `{name}`: the step runs without it");
            worker.tell(vertex, StepChange::Note(note));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn add_edits(edits: Edits, prepared: &mut PreparedMounts) {
    let nodes = edits.nodes.into_iter().map(|(target, source)| MountSpec {
        target,
        kind: MountKind::Device { source },
    });
    let mounts = edits.mounts.into_iter().map(|mount| MountSpec {
        target: mount.target,
        kind: MountKind::Bind {
            source: mount.source,
            subpath: String::new(),
            read_only: mount.read_only,
        },
    });
    prepared.specifications.extend(nodes.chain(mounts));
    prepared.environment.extend(edits.environment);
    prepared.groups.extend(edits.groups);
}
