//! Buffers that are used again.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Buffers that nobody uses now.
pub(super) struct Buffers {
    sender: Sender<Vec<u8>>,
    receiver: Receiver<Vec<u8>>,
}

impl Buffers {
    /// Returns a place for `most` of them; there are none yet.
    pub(super) fn new(most: usize) -> Self {
        let (sender, receiver) = bounded(most);
        Self { sender, receiver }
    }

    /// Returns an empty one, with room if it was used before.
    pub(super) fn take(&self) -> Vec<u8> {
        self.receiver.try_recv().unwrap_or_default()
    }

    /// Takes back one that is not needed any more.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        // Where there are enough it goes.
        let _ = self.sender.try_send(buffer);
    }

    /// Takes one back from the last of those who shared it.
    pub(super) fn give_back_shared(&self, buffer: Arc<Vec<u8>>) {
        if let Some(buffer) = Arc::into_inner(buffer) {
            self.give_back(buffer);
        }
    }
}
