//! A client of the distribution protocol behind a blocking façade.
//!
//! Moves manifests and blobs between a registry and a `Read`; knows no store. Everything
//! that comes in is checked against its size and digest, bounded in bytes and in time, and
//! tried again when the fault may pass. Credentials belong to one origin (scheme, host,
//! port): no redirect, upload location or token realm elsewhere sees them.
//! Plain files of the web are fetched by the same rules, connections and certificates.
//! Specification: OCI distribution-spec; Docker's "Token Authentication Specification".

mod authentication;
mod body;
mod cancel;
mod chunks;
mod client;
mod credentials;
mod download;
mod endpoint;
mod error;
mod faults;
mod growing;
mod http;
mod listing;
mod logins;
mod options;
mod retry;
mod runtime;
mod settings;
mod stream;
mod token;
mod transport;
mod upload;
mod web;

pub use cancel::Canceller;
pub use chunks::skipping;
pub use client::{Client, FetchedDocument};
pub use download::BlobReader;
pub use error::{Cause, Error, Result};
pub use growing::{GrowingBlob, Growth};
pub use logins::{KeptIn, Login, LoginFile};
pub use options::{ClientOptions, Observer, RetryPolicy, Timeouts};
pub use settings::{
    HostCertificates, MirrorUse, Places, RegistryMirror, RegistryRule, RegistrySettings,
};
pub use upload::Pushed;
pub use web::{WebAnswer, WebFile, WebRequest};
