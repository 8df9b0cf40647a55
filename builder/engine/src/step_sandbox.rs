//! The sandbox that steps run in, made when the first one needs it: what the machine can do is
//! found out by trying, and most builds run nothing.

use kiln_sandbox::runspec::{Host, Limits};
use kiln_sandbox::{Sandbox, SandboxError};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A sandbox that is made when it is asked for.
pub(crate) struct StepSandbox {
    probe: fn() -> Host,
    made: OnceLock<Sandbox>,
    making: Mutex<()>,
}

impl StepSandbox {
    /// Returns the sandbox of the host that `probe` finds. `limits` are put on this process at
    /// once.
    ///
    /// Errors: nothing can enforce them.
    pub fn new(probe: fn() -> Host, limits: &Limits) -> Result<Self, SandboxError> {
        let made = OnceLock::new();
        if !limits.is_unlimited() {
            let _ = made.set(Sandbox::limited(probe(), limits)?);
        }
        Ok(StepSandbox {
            probe,
            made,
            making: Mutex::new(()),
        })
    }

    /// Returns the sandbox if a command has needed it.
    pub fn made(&self) -> Option<&Sandbox> {
        self.made.get()
    }

    /// Returns the sandbox. Errors: it cannot be made.
    pub fn get(&self) -> Result<&Sandbox, SandboxError> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        // The others wait for it.
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let made = Sandbox::new((self.probe)())?;
        Ok(self.made.get_or_init(|| made))
    }
}
