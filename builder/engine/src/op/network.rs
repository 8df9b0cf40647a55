//! The network of a command, and what its files in `/etc` say of it.

use crate::StepError;
use crate::worker::BuildWorker;
use kiln_plan::{Exec, NetworkMode};
use kiln_sandbox::SandboxError;
use kiln_sandbox::runspec::NetworkSpec;
use std::net::{IpAddr, Ipv4Addr};

/// Which network commands have that ask for none in particular.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsualNetwork {
    /// A private one where there are some, else that of the host.
    #[default]
    PrivateIfPossible,
    /// A private one.
    Private,
    /// That of the host.
    Host,
    /// None.
    None,
}

/// What stands for an address by which the host is reached.
pub const HOST_GATEWAY: &str = "host-gateway";

/// The network of one command.
pub(super) struct StepNetwork {
    pub kind: NetworkSpec,
    pub resolv_conf: String,
    host_gateway: Option<IpAddr>,
}

impl StepNetwork {
    /// Returns the network that `exec` has.
    pub fn of(worker: &BuildWorker<'_>, exec: &Exec) -> Result<Self, StepError> {
        match (exec.network, worker.request.network) {
            (NetworkMode::None, _) | (NetworkMode::Default, UsualNetwork::None) => Ok(Self::none()),
            (NetworkMode::Host, _) | (NetworkMode::Default, UsualNetwork::Host) => Ok(Self::host()),
            (NetworkMode::Default, usual) => match (Self::private(worker), usual) {
                (Err(SandboxError::NoPrivateNetwork { .. }), UsualNetwork::PrivateIfPossible) => {
                    Ok(Self::host())
                }
                (private, _) => private.map_err(StepError::Sandbox),
            },
        }
    }

    fn none() -> Self {
        StepNetwork {
            kind: NetworkSpec::None,
            // Nobody can be asked.
            resolv_conf: String::new(),
            host_gateway: Some(Ipv4Addr::LOCALHOST.into()),
        }
    }

    fn host() -> Self {
        StepNetwork {
            kind: NetworkSpec::Host,
            resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
            host_gateway: Some(Ipv4Addr::LOCALHOST.into()),
        }
    }

    fn private(worker: &BuildWorker<'_>) -> Result<Self, SandboxError> {
        let told = worker.sandbox.get()?.private_network()?;
        Ok(StepNetwork {
            kind: NetworkSpec::Private,
            resolv_conf: told.resolv_conf,
            host_gateway: told.host_gateway.map(IpAddr::V4),
        })
    }

    /// Returns what `/etc/hosts` says.
    pub fn hosts(&self, exec: &Exec) -> Result<String, StepError> {
        let mut hosts = format!("127.0.0.1\tlocalhost {}\n", exec.hostname);
        hosts.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
        for (name, address) in &exec.extra_hosts {
            let address = match (address.as_str(), self.host_gateway) {
                (HOST_GATEWAY, Some(gateway)) => gateway.to_string(),
                (HOST_GATEWAY, None) => {
                    return Err(StepError::NoHostGateway { name: name.clone() });
                }
                (address, _) => address.to_owned(),
            };
            hosts.push_str(&format!("{address}\t{name}\n"));
        }
        Ok(hosts)
    }
}
