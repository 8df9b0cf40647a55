//! The mounts of a command: what each of the plan's mounts is on this machine.

use super::agent::{Access, AgentSocket};
use super::cache_mounts::{self, CacheMountsInUse};
use super::content;
use super::step_root::has_mounted_root;
use crate::StepError;
use crate::worker::{BuildWorker, Files, Product};
use kiln_disk::ActiveLayer;
use kiln_layer::copy::Source;
use kiln_layer::tree::Tree;
use kiln_plan::{Exec, Mount, MountKind, VertexId};
use kiln_sandbox::runspec::{self, MountSpec, OverlayScratch, Rung, SecretData};

/// Mounts, and what must be kept while they are used.
#[derive(Default)]
pub(super) struct PreparedMounts {
    pub specifications: Vec<MountSpec>,
    /// Secrets and sockets that the command finds by a variable.
    pub environment: Vec<(String, String)>,
    /// Groups of the command besides those of its user.
    pub groups: Vec<u32>,
    /// Layers that are thrown away after the command.
    _scratch: Vec<ActiveLayer>,
    /// Agents that answer the command.
    _agents: Vec<AgentSocket>,
    caches: CacheMountsInUse,
}

/// Returns the mounts of `exec`; `inputs` are the results that its mounts name, in order.
pub(super) fn prepare(
    worker: &BuildWorker<'_>,
    vertex: VertexId,
    exec: &Exec,
    inputs: &[Product],
) -> Result<PreparedMounts, StepError> {
    let mut prepared = PreparedMounts {
        caches: cache_mounts::enter(worker, vertex, exec, inputs)?,
        ..PreparedMounts::default()
    };
    let mut inputs = inputs.iter();
    for (number, mount) in exec.mounts.iter().enumerate() {
        let preparation = Preparation {
            worker,
            mount,
            number,
        };
        preparation.add(&mut inputs, &mut prepared)?;
    }
    for device in &exec.devices {
        super::device::add(worker, vertex, device, &mut prepared)?;
    }
    Ok(prepared)
}

struct Preparation<'a> {
    worker: &'a BuildWorker<'a>,
    mount: &'a Mount,
    number: usize,
}

impl Preparation<'_> {
    fn add<'p>(
        &self,
        inputs: &mut impl Iterator<Item = &'p Product>,
        prepared: &mut PreparedMounts,
    ) -> Result<(), StepError> {
        let kind = match &self.mount.kind {
            MountKind::Bind {
                source, writable, ..
            } => self.bind(inputs.next(), source, *writable, prepared)?,
            MountKind::Cache {
                from, read_only, ..
            } => {
                from.and_then(|_| inputs.next());
                let source = prepared.caches.path(self.number).to_owned();
                match *read_only && is_placed(self.worker)? {
                    true => {
                        let files = Files::Result(Tree::host(&source)?);
                        self.copy(&files, ".", None, true, prepared)?
                    }
                    false => runspec::MountKind::Bind {
                        source,
                        subpath: String::new(),
                        read_only: *read_only,
                    },
                }
            }
            MountKind::Tmpfs { size_bytes } => runspec::MountKind::Tmpfs {
                size_bytes: *size_bytes,
            },
            MountKind::File { data, mode } => runspec::MountKind::File {
                data: data.clone(),
                mode: *mode,
            },
            MountKind::Secret { .. } => return self.secret(prepared),
            MountKind::Ssh { .. } => return self.ssh(prepared),
        };
        self.push(kind, prepared);
        Ok(())
    }

    fn push(&self, kind: runspec::MountKind, prepared: &mut PreparedMounts) {
        let target = self.mount.target.clone();
        prepared.specifications.push(MountSpec { target, kind });
    }

    /// Files of a result; those of a directory of this machine are copied first, so that the
    /// command sees neither what is ignored nor the directory itself.
    fn bind(
        &self,
        input: Option<&Product>,
        source: &str,
        writable: bool,
        prepared: &mut PreparedMounts,
    ) -> Result<runspec::MountKind, StepError> {
        if !has_mounted_root(self.worker)? {
            let Some(product) = input else {
                return self.empty(!writable, prepared);
            };
            let owner = self.worker.default_owner(product);
            let files = self.worker.files(product)?;
            return self.copy(&files, source, owner, !writable, prepared);
        }
        let lowers = match input {
            Some(Product::Stack(stack)) => self.worker.paths(stack)?,
            Some(product @ Product::Directory(name)) => {
                let layer = self.worker.store.layers().begin()?;
                let scan = self.worker.directory(name)?;
                let owner = self.worker.default_owner(product);
                let whiteouts = self.worker.whiteouts;
                let files = Source::Scan(&scan);
                content::copy_everything(files, source, &layer.upper(), whiteouts, owner)?;
                let upper = layer.upper();
                prepared._scratch.push(layer);
                vec![upper]
            }
            None => Vec::new(),
        };
        let scratch = if writable {
            Some(self.scratch(prepared)?)
        } else {
            None
        };
        let subpath = if source == "." {
            String::new()
        } else {
            source.to_owned()
        };
        Ok(runspec::MountKind::Overlay {
            lowers,
            subpath,
            scratch,
        })
    }

    /// Copies what cannot be mounted; the copy is put in its place, and thrown away afterwards.
    fn copy(
        &self,
        files: &Files,
        source: &str,
        owner: Option<(u32, u32)>,
        read_only: bool,
        prepared: &mut PreparedMounts,
    ) -> Result<runspec::MountKind, StepError> {
        let layer = self.worker.store.layers().begin()?;
        let upper = layer.upper();
        content::copy_everything(files.source(), source, &upper, self.worker.whiteouts, owner)?;
        prepared._scratch.push(layer);
        Ok(runspec::MountKind::Bind {
            source: upper,
            subpath: source.to_owned(),
            read_only,
        })
    }

    fn empty(
        &self,
        read_only: bool,
        prepared: &mut PreparedMounts,
    ) -> Result<runspec::MountKind, StepError> {
        let layer = self.worker.store.layers().begin()?;
        let source = layer.upper();
        prepared._scratch.push(layer);
        Ok(runspec::MountKind::Bind {
            source,
            subpath: String::new(),
            read_only,
        })
    }

    fn scratch(&self, prepared: &mut PreparedMounts) -> Result<OverlayScratch, StepError> {
        let layer = self.worker.store.layers().begin()?;
        let scratch = OverlayScratch {
            upper: layer.upper(),
            work: layer.work(),
        };
        prepared._scratch.push(layer);
        Ok(scratch)
    }

    fn secret(&self, prepared: &mut PreparedMounts) -> Result<(), StepError> {
        let MountKind::Secret {
            id,
            required,
            mode,
            uid,
            gid,
            environment,
        } = &self.mount.kind
        else {
            unreachable!("called for secrets");
        };
        let Some(data) = self.worker.request.secrets.value(id)? else {
            return self.missing("secret", id, *required);
        };
        if let Some(variable) = environment {
            let value = String::from_utf8_lossy(&data).into_owned();
            prepared.environment.push((variable.clone(), value));
        }
        if !self.mount.target.is_empty() {
            let data = SecretData(data);
            let (mode, uid, gid) = (*mode, *uid, *gid);
            self.push(
                runspec::MountKind::SecretFile {
                    data,
                    mode,
                    uid,
                    gid,
                },
                prepared,
            );
        }
        Ok(())
    }

    fn ssh(&self, prepared: &mut PreparedMounts) -> Result<(), StepError> {
        let MountKind::Ssh {
            id,
            required,
            mode,
            uid,
            gid,
        } = &self.mount.kind
        else {
            unreachable!("called for agents");
        };
        let Some(socket) = self.worker.request.ssh_agents.get(id) else {
            return self.missing("SSH agent", id, *required);
        };
        let target = self.mount.target.clone();
        if self.number == 0 || !has_agent(prepared) {
            prepared
                .environment
                .push((AGENT_VARIABLE.to_owned(), target));
        }
        let access = Access {
            mode: *mode,
            uid: *uid,
            gid: *gid,
        };
        let directory = self.worker.store.layers().begin()?;
        let answering = AgentSocket::start(socket, directory, access)?;
        let source = answering.path().to_owned();
        prepared._agents.push(answering);
        self.push(runspec::MountKind::Socket { source }, prepared);
        Ok(())
    }

    fn missing(&self, what: &'static str, id: &str, required: bool) -> Result<(), StepError> {
        match required {
            true => Err(StepError::NotGiven {
                what,
                name: id.to_owned(),
            }),
            false => Ok(()),
        }
    }
}

/// Whether mounts are stood in for by what is put in their place.
pub(super) fn is_placed(worker: &BuildWorker<'_>) -> Result<bool, StepError> {
    Ok(worker.sandbox()?.host().rung == Rung::Chroot)
}

const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

fn has_agent(prepared: &PreparedMounts) -> bool {
    prepared
        .environment
        .iter()
        .any(|(name, _)| name == AGENT_VARIABLE)
}
