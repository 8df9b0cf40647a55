//! Who we are to each registry: learned from its challenges, remembered per origin.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as SyncMutex};

use kiln_oci::Challenge;
use tokio::sync::Mutex;

use crate::credentials::{self, Credential};
use crate::endpoint::Endpoint;
use crate::error::Cause;
use crate::http::Http;
use crate::retry::Fault;
use crate::token::{Realm, Token};
use crate::{ClientOptions, Login, Observer, Places, RetryPolicy};

/// The credentials and tokens of a client.
pub(crate) struct Authentication {
    files: Vec<PathBuf>,
    login: Option<Login>,
    policy: RetryPolicy,
    observer: Option<Observer>,
    hosts: SyncMutex<HashMap<String, Arc<Mutex<Host>>>>,
}

/// What one origin wants, and what we have for it.
#[derive(Default)]
struct Host {
    scheme: Scheme,
    tokens: HashMap<Vec<String>, Token>,
    /// By repository.
    credentials: HashMap<String, Credential>,
}

#[derive(Default)]
enum Scheme {
    /// It has not challenged us yet.
    #[default]
    Open,
    Basic,
    Bearer(Realm),
}

impl Authentication {
    pub fn new(options: &ClientOptions) -> Self {
        let usual = || {
            let places = options.places.clone();
            places.unwrap_or_else(Places::usual).credential_files()
        };
        let given = options.docker_config.as_ref();
        Self {
            files: given.map_or_else(usual, |folder| vec![folder.join("config.json")]),
            login: options.login.clone(),
            policy: options.retries,
            observer: options.observer.clone(),
            hosts: SyncMutex::default(),
        }
    }

    fn host(&self, endpoint: &Endpoint) -> Arc<Mutex<Host>> {
        let mut hosts = self
            .hosts
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        Arc::clone(hosts.entry(endpoint.base.to_string()).or_default())
    }

    /// Returns the `Authorization` header for a request that needs `scopes`, if one is known
    /// to be needed.
    pub async fn header(
        &self,
        http: &Http,
        endpoint: &Endpoint,
        scopes: &[String],
    ) -> Result<Option<String>, Fault> {
        let host = self.host(endpoint);
        // Held while a token is fetched, so that parallel requests fetch one.
        let mut host = host.lock().await;
        let realm = match &host.scheme {
            Scheme::Open => return Ok(None),
            Scheme::Basic => return Ok(self.credential(&mut host, endpoint)?.basic()),
            Scheme::Bearer(realm) => realm.clone(),
        };
        let known = host.tokens.get(scopes).filter(|token| token.is_fresh());
        if let Some(token) = known {
            return Ok(Some(bearer(token)));
        }
        let credential = self.credential(&mut host, endpoint)?;
        let tell = |line: &str| {
            if let Some(observer) = &self.observer {
                observer(line);
            }
        };
        let token = realm
            .fetch(http, scopes, &credential, &self.policy, &tell)
            .await?;
        let header = bearer(&token);
        host.tokens.insert(scopes.to_vec(), token);
        Ok(Some(header))
    }

    /// Learns from the refusal of a request that was sent with `used`.
    pub async fn learn(
        &self,
        endpoint: &Endpoint,
        scopes: &[String],
        challenge: Challenge,
        used: Option<&str>,
    ) -> Result<(), Fault> {
        let host = self.host(endpoint);
        let mut host = host.lock().await;
        match challenge {
            Challenge::Basic => {
                let Some(header) = self.credential(&mut host, endpoint)?.basic() else {
                    return Err(unauthorized("no credentials are configured for it"));
                };
                if used == Some(&header) {
                    return Err(unauthorized("the configured credentials were refused"));
                }
                host.scheme = Scheme::Basic;
            }
            Challenge::Bearer { realm, service, .. } => {
                host.scheme = Scheme::Bearer(Realm::new(&realm, service, endpoint)?);
                // Unless another request has replaced the refused token by now.
                if host.tokens.get(scopes).map(bearer).as_deref() == used {
                    host.tokens.remove(scopes);
                }
            }
        }
        Ok(())
    }

    fn credential(&self, host: &mut Host, endpoint: &Endpoint) -> Result<Credential, Fault> {
        let repository = &endpoint.repository;
        if let Some(credential) = host.credentials.get(repository) {
            return Ok(credential.clone());
        }
        if let Some(login) = &self.login
            && login.registry == endpoint.registry
        {
            return Ok(Credential::Password {
                user: login.user.clone(),
                password: login.password.clone(),
            });
        }
        let found = credentials::look_up(&endpoint.registry, repository, &self.files);
        let found = found.map_err(|error| unauthorized(&error.to_string()))?;
        host.credentials.insert(repository.clone(), found.clone());
        Ok(found)
    }
}

fn bearer(token: &Token) -> String {
    format!("Bearer {}", token.value)
}

fn unauthorized(reason: &str) -> Fault {
    Fault::never(Cause::Unauthorized {
        reason: reason.to_owned(),
    })
}
