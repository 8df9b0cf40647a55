//! What to run in a sandbox, as data, and the ordered steps that set it up.
//!
//! A [`RunSpec`] says what is wanted, a [`Host`] says what the machine can do,
//! [`steps`] joins them to the exact order in which a sandbox comes about.
//! Nothing here touches the system, so the order, which is the hard part of a
//! sandbox, is tested by comparing lists.

mod assemble;
pub mod capability;
mod confinement;
pub mod defaults;
pub mod emulation;
pub mod filter;
mod host;
mod rung;
mod spec;
mod step;

pub use assemble::{GroupPlan, RunGroup, SpecError, device_group, group_plan, limit_plan, steps};
pub use confinement::{
    Confinement, Landlock, LandlockRules, Profile, SecurityModules, SystemCalls, Users,
};
pub use host::{ControlGroups, Host, OwnedNetworks, ProcessorArchitecture};
pub use rung::{NextRung, Rung};
pub use spec::{
    IoKind, IoLimit, Limits, MountKind, MountSpec, NetworkSpec, OverlayScratch, ResolvedUser,
    ResourceLimit, Root, RunSpec, SecretData, SecurityMode,
};
pub use step::{
    DeviceSource, MountAttributes, MountSource, Namespace, OverlayMount, RootMount, SetupStep,
    Stub, Target,
};
