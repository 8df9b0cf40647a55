//! Platforms whose programs this machine runs besides its own.

use kiln_engine::sandbox::emulation::{is_there, registered};
use kiln_engine::sandbox::runspec::emulation::Processor;
use kiln_oci::Platform;

/// Returns the platforms that there is an emulator for: registered with the kernel, or one that
/// steps bring along. Whether it works is found out when a step needs it.
pub fn platforms() -> Vec<Platform> {
    let registered = registered();
    let is_registered = |processor: &Processor| {
        let mut fitting = registered.iter().filter(|one| one.is_enabled);
        fitting.any(|one| one.is_for(processor))
    };
    let processors = Processor::all().iter();
    let emulated = processors.filter(|one| is_registered(one) || is_there(one));
    emulated
        .map(|processor| Platform::new("linux", processor.name, None))
        .collect()
}
