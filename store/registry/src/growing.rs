//! Blobs that are sent while somebody still makes them.

use std::future::Future;
use std::io::{self, Read};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use kiln_oci::Descriptor;

use crate::Pushed;
use crate::error::Result;
use crate::upload::{Extent, LARGEST_REQUEST_BYTES, Session, Upload};

/// A blob in the making. What is there of it stays as it is.
pub trait GrowingBlob: Sync {
    /// Returns how far it is. Errors: it will never be whole.
    fn growth(&self) -> io::Result<Growth>;

    /// Errors: it will never be whole, or is not wanted any more. That ends an upload within
    /// about a second, whatever it waits for.
    fn check(&self) -> io::Result<()>;

    /// Opens it from a position on, up to which it is there.
    fn open(&self, position: u64) -> io::Result<Box<dyn Read + Send>>;
}

/// How far a blob is.
#[derive(Debug, Clone, PartialEq)]
pub enum Growth {
    /// So many bytes are there, and more may come.
    Bytes(u64),
    /// All is there.
    Whole(Box<Descriptor>),
}

/// What is sent at once of a blob that is being made.
const GROWN_REQUEST_BYTES: u64 = 16 << 20;
/// How often is looked whether a blob has grown.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How often is looked whether a blob is still wanted while it is sent.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long a request may still take of a blob that is not wanted any more: many registries let
/// nobody take back an upload whose last request was cut off.
const LONGEST_REST: Duration = Duration::from_secs(1);

impl Upload<'_> {
    /// Sends `blob` while it is made. Where the registry turns out to have it once it is whole,
    /// the rest is not sent.
    pub async fn push_growing(&self, blob: &dyn GrowingBlob) -> Result<(Descriptor, Pushed)> {
        let scopes = [self.endpoint.scope("pull,push")];
        let mut session = None;
        let sent = while_wanted(blob, self.send_growing(blob, &mut session, &scopes)).await;
        let is_complete = matches!(sent, Ok((_, Pushed::Uploaded)));
        if let Some(session) = session.filter(|_| !is_complete) {
            self.give_up(&session, &scopes).await;
        }
        sent
    }

    /// Sends `blob` in an upload that `session` keeps; a small one not before it is whole.
    async fn send_growing(
        &self,
        blob: &dyn GrowingBlob,
        session: &mut Option<Session>,
        scopes: &[String],
    ) -> Result<(Descriptor, Pushed)> {
        let descriptor = match grown_beyond(blob, GROWN_REQUEST_BYTES).await? {
            Some(descriptor) => descriptor,
            None => {
                let session = session.insert(self.begin(scopes).await?);
                self.send_growth(blob, session, scopes).await?
            }
        };
        if self.exists(&descriptor, scopes).await? {
            return Ok((descriptor, Pushed::Existed));
        }
        let session = match session {
            Some(session) => session,
            None => session.insert(self.begin(scopes).await?),
        };
        let whole = Extent::Whole(&descriptor);
        while !self.advance(session, whole, scopes).await? {
            blob.check().map_err(|source| whole.unreadable(source))?;
        }
        Ok((descriptor, Pushed::Uploaded))
    }

    /// Sends what is there of `blob` until it is whole, but for the end: that goes with the
    /// digest.
    async fn send_growth(
        &self,
        blob: &dyn GrowingBlob,
        session: &mut Session,
        scopes: &[String],
    ) -> Result<Descriptor> {
        session.chunk_bytes = session.least_bytes.max(GROWN_REQUEST_BYTES);
        loop {
            // More than one part must be there.
            let end = session.next_end();
            if let Some(descriptor) = grown_beyond(blob, end).await? {
                session.chunk_bytes = session.chunk_bytes.max(LARGEST_REQUEST_BYTES);
                return Ok(descriptor);
            }
            self.advance(session, Extent::Beyond(end), scopes).await?;
        }
    }
}

/// Waits until `blob` has more than `bytes` or is whole; returns its descriptor in that case.
async fn grown_beyond(blob: &dyn GrowingBlob, bytes: u64) -> Result<Option<Descriptor>> {
    loop {
        let growth = blob.growth();
        match growth.map_err(|source| Extent::Beyond(bytes).unreadable(source))? {
            Growth::Whole(descriptor) => return Ok(Some(*descriptor)),
            Growth::Bytes(there) if there > bytes => return Ok(None),
            Growth::Bytes(_) => tokio::time::sleep(LOOK_AGAIN_AFTER).await,
        }
    }
}

/// Returns what `sending` returns; ends it when `blob` is not wanted any more, soon after that.
async fn while_wanted<T>(
    blob: &dyn GrowingBlob,
    sending: impl Future<Output = Result<T>>,
) -> Result<T> {
    let failed = async {
        loop {
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
            if let Err(source) = blob.check() {
                tokio::time::sleep(LONGEST_REST).await;
                return Extent::Beyond(0).unreadable(source);
            }
        }
    };
    let (mut sending, mut failed) = (pin!(sending), pin!(failed));
    std::future::poll_fn(|context| match sending.as_mut().poll(context) {
        Poll::Ready(sent) => Poll::Ready(sent),
        Poll::Pending => failed.as_mut().poll(context).map(Err),
    })
    .await
}
