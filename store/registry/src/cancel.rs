//! Giving up every transfer of a client at once, from another thread.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use tokio::sync::watch;

use crate::{Error, Result};

/// Ends all transfers of its client, those that run and those to come.
#[derive(Debug, Clone)]
pub struct Canceller {
    sender: watch::Sender<bool>,
}

impl Canceller {
    pub(crate) fn new() -> Self {
        Self {
            sender: watch::Sender::new(false),
        }
    }

    /// Makes every running and later transfer fail with [`Error::Cancelled`].
    pub fn cancel(&self) {
        self.sender.send_replace(true);
    }

    /// Returns what `future` returns, unless the client is cancelled first.
    pub(crate) async fn race<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        let mut receiver = self.sender.subscribe();
        let mut cancelled = pin!(receiver.wait_for(|cancelled| *cancelled));
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            if cancelled.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Error::Cancelled));
            }
            future.as_mut().poll(context)
        })
        .await
    }
}
