//! Platforms whose programs this machine runs besides its own.

use kiln_dockerfile::EmulatedPlatforms;
use kiln_engine::sandbox::emulation::{is_there, registered_for};
use kiln_engine::sandbox::runspec::emulation::Processor;
use kiln_oci::Platform;

/// The emulators of this machine: registered with the kernel, or some that steps bring along.
/// Looking for one takes a while, so it is looked for when something depends on it; whether it
/// works is found out when a step needs it.
#[derive(Debug)]
pub struct Emulators;

impl EmulatedPlatforms for Emulators {
    fn has(&self, platform: &Platform) -> bool {
        let processor = Processor::named(&platform.architecture);
        let processor = processor.filter(|_| platform.os == "linux");
        processor.is_some_and(|one| registered_for(one).is_some() || is_there(one))
    }
}
