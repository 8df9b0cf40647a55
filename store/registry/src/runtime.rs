//! The asynchronous runtime behind the façade.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use crate::{Canceller, Error, Result};

/// Runs futures of this crate on behalf of blocking callers.
#[derive(Debug, Clone)]
pub(crate) struct Driver {
    runtime: Arc<Runtime>,
    canceller: Canceller,
}

impl Driver {
    pub fn new() -> Result<Self> {
        // Callers block on their own futures; the workers only move bytes and keep time.
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("registry")
            .enable_all()
            .build()
            .map_err(|error| Error::Setup {
                reason: format!("cannot start threads: {error}"),
            })?;
        Ok(Self {
            runtime: Arc::new(runtime),
            canceller: Canceller::new(),
        })
    }

    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Blocks until `future` is done or the client is cancelled.
    pub fn run<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(self.canceller.race(future))
    }
}
