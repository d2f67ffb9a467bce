//! Tokens: answering a registry's challenge, once for all threads that need the same answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karman_net::{Client, Request, Url};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::challenge::{self, Challenge};
use crate::credentials::{Credential, CredentialSource};
use crate::endpoint::Endpoint;
use crate::error::RegistryError;

/// The largest answer of a token server, in bytes.
const MAX_TOKEN: u64 = 1024 * 1024;
/// The life of a token whose server does not tell (distribution's token spec).
const DEFAULT_LIFE: u64 = 60;
/// The longest life believed, in seconds.
const MAX_LIFE: u64 = 24 * 3600;
/// Subtracted from a token's life, so that it does not end on the way.
const MARGIN: Duration = Duration::from_secs(10);
/// What we call ourselves to OAuth2 token servers.
const CLIENT_ID: &str = "karman";

/// The value of an `Authorization` header, for as long as it is good.
#[derive(Clone)]
pub(crate) struct Authorization {
    pub(crate) header: String,
    expires: Option<Instant>,
    /// It stands for an account rather than for anybody.
    pub(crate) identified: bool,
}

/// What is shared by all requests with one registry and scope. Holding the lock while a token is
/// fetched makes twenty parallel layers ask for one token, not twenty.
type Slot = Arc<Mutex<Option<Authorization>>>;

/// Every token known.
#[derive(Default)]
pub(crate) struct Tokens {
    slots: Mutex<HashMap<(String, String), Slot>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Tokens {
    /// The authorization to try first, if there is one.
    pub(crate) fn known(&self, endpoint: &Endpoint, scope: &str) -> Option<Authorization> {
        let slot = self.slot(endpoint, scope);
        let held = slot.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone().filter(|a| a.expires.is_none_or(|at| at > Instant::now()))
    }

    /// Answers the challenges of a 401. `refused` is what was sent before; where another thread has
    /// replaced it meanwhile, that newer one is taken.
    pub(crate) fn answer(
        &self,
        client: &Client,
        source: &dyn CredentialSource,
        endpoint: &Endpoint,
        scope: &str,
        challenges: &[String],
        refused: Option<&Authorization>,
    ) -> Result<Authorization, RegistryError> {
        let slot = self.slot(endpoint, scope);
        let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newer) = held.as_ref()
            && refused.is_none_or(|old| old.header != newer.header)
            && newer.expires.is_none_or(|at| at > Instant::now())
        {
            return Ok(newer.clone());
        }
        let host = endpoint.host.clone();
        let credential = source
            .lookup(&endpoint.host, &endpoint.repository)
            .map_err(|source| RegistryError::Credentials { host, source })?;
        let fresh = authorize(client, endpoint, scope, challenges, credential)?;
        *held = Some(fresh.clone());
        Ok(fresh)
    }

    fn slot(&self, endpoint: &Endpoint, scope: &str) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (endpoint.origin.clone(), scope.to_owned());
        Arc::clone(slots.entry(key).or_default())
    }
}

fn authorize(
    client: &Client,
    endpoint: &Endpoint,
    scope: &str,
    challenges: &[String],
    credential: Option<Credential>,
) -> Result<Authorization, RegistryError> {
    let unknown = || RegistryError::UnknownChallenge { host: endpoint.host.clone() };
    let all: Vec<Challenge> = challenges.iter().flat_map(|value| challenge::parse(value)).collect();
    let of = |scheme: &str| all.iter().find(|c| c.scheme == scheme);
    if let Some(bearer) = of("bearer") {
        if let Some(Credential::RegistryToken(token)) = &credential {
            return Ok(permanent(format!("Bearer {token}")));
        }
        return fetch_token(client, endpoint, scope, bearer, credential);
    }
    match (of("basic"), credential) {
        (Some(_), Some(Credential::Basic { user, password })) => {
            Ok(permanent(basic(&user, &password)))
        }
        (Some(_), Some(Credential::RegistryToken(token))) => {
            Ok(permanent(format!("Bearer {token}")))
        }
        // Nothing to answer with: an empty header makes the caller report the refusal itself.
        (Some(_), _) => {
            Ok(Authorization { header: String::new(), expires: None, identified: false })
        }
        (None, _) => Err(unknown()),
    }
}

/// Asks the token server (distribution's `token.md` and `oauth.md`).
fn fetch_token(
    client: &Client,
    endpoint: &Endpoint,
    scope: &str,
    bearer: &Challenge,
    credential: Option<Credential>,
) -> Result<Authorization, RegistryError> {
    let host = || endpoint.host.clone();
    let realm = bearer.get("realm").unwrap_or_default();
    let url = Url::parse(realm).map_err(|_| RegistryError::UnknownChallenge { host: host() })?;
    if !url.is_https() && !may_be_plain(&url, endpoint) {
        return Err(RegistryError::Unencrypted { host: host(), realm: url.to_string() });
    }
    let service = bearer.get("service").unwrap_or_default();
    let scope = &united(scope, bearer.get("scope").unwrap_or_default());
    let identified = credential.is_some();
    let request = token_request(&url, service, scope, credential);
    let asked = Instant::now();
    let token = |source| RegistryError::Token { host: host(), source };
    let response =
        client.send(&request).and_then(karman_net::Response::error_for_status).map_err(token)?;
    if response.status() != 200 {
        return Err(RegistryError::MalformedToken { host: host(), source: None });
    }
    let bytes = response.read_to_limit(MAX_TOKEN).map_err(token)?;
    let answer: TokenAnswer = serde_json::from_slice(&bytes)
        .map_err(|source| RegistryError::MalformedToken { host: host(), source: Some(source) })?;
    let value = answer.token.or(answer.access_token).filter(|t| is_token(t));
    let value = value.ok_or(RegistryError::MalformedToken { host: host(), source: None })?;
    let life = Duration::from_secs(answer.expires_in.unwrap_or(DEFAULT_LIFE).min(MAX_LIFE));
    let expires = asked.checked_add(life.saturating_sub(MARGIN.min(life / 2)));
    Ok(Authorization { header: format!("Bearer {value}"), expires, identified })
}

/// Our scopes and those that the registry asks for, each once. A registry names the repository that is
/// written to, but not always the one that a blob is mounted from.
fn united(ours: &str, theirs: &str) -> String {
    let mut all: Vec<&str> = Vec::new();
    for scope in theirs.split(' ').chain(ours.split(' ')).filter(|s| !s.is_empty()) {
        if !all.contains(&scope) {
            all.push(scope);
        }
    }
    all.join(" ")
}

/// Whether a token server may be spoken to without encryption: only where the registry itself is, and
/// only on the same machine as the registry or on this one.
fn may_be_plain(realm: &Url, endpoint: &Endpoint) -> bool {
    let same = Url::parse(&endpoint.origin).is_ok_and(|origin| origin.host() == realm.host());
    endpoint.plain && (same || realm.is_loopback())
}

fn token_request(url: &Url, service: &str, scope: &str, credential: Option<Credential>) -> Request {
    if let Some(Credential::IdentityToken(refresh)) = &credential {
        let fields = [
            ("grant_type", "refresh_token"),
            ("service", service),
            ("client_id", CLIENT_ID),
            ("scope", scope),
            ("refresh_token", refresh.as_str()),
        ];
        // The body is the secret, and a redirect would carry it elsewhere.
        return Request::post_form(url.wire(), &fields).no_redirects();
    }
    let mut query: Vec<(&str, &str)> = Vec::new();
    if !service.is_empty() {
        query.push(("service", service));
    }
    // One parameter for each of several scopes.
    query.extend(scope.split(' ').filter(|s| !s.is_empty()).map(|s| ("scope", s)));
    let pairs: Vec<String> = query
        .iter()
        .map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    let joint = if url.target().contains('?') { '&' } else { '?' };
    let request = Request::get(format!("{}{joint}{}", url.wire(), pairs.join("&")));
    match credential {
        Some(Credential::Basic { user, password }) => request.basic(&user, &password),
        _ => request,
    }
}

fn permanent(header: String) -> Authorization {
    Authorization { header, expires: None, identified: true }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// What may stand in a header (RFC 6750 §2.1 `b64token`, kept a little wider).
fn is_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic())
}
