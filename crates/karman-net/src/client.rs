//! Sending: one connection pool, redirects, retries.

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;
use std::thread;

use ureq::http::{self, HeaderName, HeaderValue, Method, Uri};
use ureq::tls::TlsConfig;
use ureq::unversioned::transport::{Connector as _, DefaultConnector};
use ureq::{Agent, AsSendBody, SendBody};

use crate::config::{Config, ConfigError, Retry};
use crate::dial::{Dialler, Later};
use crate::error::{Failure, NetError};
use crate::forward::{ForwardConnector, forward_uri};
use crate::proxy::{HostSet, Proxy, Route, Table};
use crate::request::{self, Body, Request, SECRET_HEADERS};
use crate::resolve::Names;
use crate::response::{Response, drain};
use crate::retry;
use crate::roots;
use crate::url::{Url, UrlError, without_secrets};

/// The longest chain of redirects followed; browsers stop at 20, curl's users rarely see 5.
const MAX_REDIRECTS: u32 = 10;
/// The largest response head in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Idle connections kept, in all and per host.
const MAX_IDLE: (usize, usize) = (64, 16);

/// The HTTP client. Cloning shares the connection pool; use it from as many threads as you like.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    /// Verifying agents: the direct one, then one per proxy.
    verifying: Vec<Agent>,
    /// The same without verification; empty unless insecure hosts are configured.
    trusting: Vec<Agent>,
    /// The same for hosts with rules of their own.
    own: Vec<(HostSet, Vec<Agent>)>,
    /// For requests in absolute form to any of the proxies.
    forwarding: Agent,
    proxies: Table,
    insecure: HostSet,
    retry: Retry,
}

impl Client {
    /// Makes a client: reads the CA bundles and understands the proxies.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        if HeaderValue::from_str(&config.user_agent).is_err() {
            return Err(ConfigError::UserAgent { value: config.user_agent });
        }
        let proxies = Table::new(&config.proxies)?;
        let insecure = HostSet::new(&config.insecure_hosts);
        let tls = TlsConfig::builder()
            .root_certs(roots::load(&config)?)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let verified = tls.build();
        let names = Names::new();
        let verifying = agents(&config, &proxies, &verified, &names)?;
        let forwarding = Agent::with_parts(
            agent_config(&config, None, &verified),
            Dialler::new(DefaultConnector::new().chain(ForwardConnector), &names),
            Later,
        );
        let trusting = if insecure.is_empty() {
            Vec::new()
        } else {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let open = TlsConfig::builder()
                .disable_verification(true)
                .unversioned_rustls_crypto_provider(provider);
            agents(&config, &proxies, &open.build(), &names)?
        };
        let mut own = Vec::new();
        for host in &config.host_tls {
            let tls = roots::host(&config, host)?;
            let set = HostSet::new(std::slice::from_ref(&host.host));
            own.push((set, agents(&config, &proxies, &tls, &names)?));
        }
        let retry = config.retry;
        let inner = Inner { verifying, trusting, own, forwarding, proxies, insecure, retry };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// `GET`, whatever the status. See [`Client::send`].
    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response, NetError> {
        self.send(&Request::get(url).headers(headers))
    }

    /// `HEAD`, whatever the status. See [`Client::send`].
    pub fn head(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response, NetError> {
        self.send(&Request::head(url).headers(headers))
    }

    /// `POST` of a form, whatever the status. See [`Client::send`].
    pub fn post_form(&self, url: &str, fields: &[(&str, &str)]) -> Result<Response, NetError> {
        self.send(&Request::post_form(url, fields))
    }

    /// Sends a request, follows redirects, and tries again after passing trouble.
    ///
    /// Any final status is a response; turn it into an error with [`Response::error_for_status`].
    /// `GET`, `HEAD` and [`Request::safe`] requests are repeated after broken connections and after 408,
    /// 425, 429 and 5xx; others only where the server cannot have acted.
    pub fn send(&self, request: &Request) -> Result<Response, NetError> {
        let url = Url::parse(&request.url).map_err(|source| {
            NetError::new(without_secrets(&request.url), 1, Failure::BadUrl { source })
        })?;
        let last = if request.retry { self.inner.retry.max_attempts.max(1) } else { 1 };
        let safe = request.safe || matches!(request.method, Method::GET | Method::HEAD);
        let mut attempt = 1;
        loop {
            let result = self.follow(request, &url, attempt);
            let (again, wanted) = match &result {
                Ok(response) => {
                    let status = response.status();
                    let again =
                        if safe { retry::is_retryable(status) } else { retry::is_refusal(status) };
                    (again, response.retry_after())
                }
                Err(error) => {
                    let failure = &error.failure;
                    (failure.is_unsent() || (safe && failure.is_transient()), None)
                }
            };
            if !again || attempt >= last {
                return result;
            }
            let Some(pause) = self.pause(attempt, wanted) else {
                return result;
            };
            drop(result);
            thread::sleep(pause);
            attempt += 1;
        }
    }

    /// How often and how patiently requests are repeated.
    pub fn retry(&self) -> &Retry {
        &self.inner.retry
    }

    /// The pause after the `attempt`th failure in a row (counted from 1), of which the server wants
    /// `wanted`; `None` when it wants more patience than is allowed.
    pub fn pause(
        &self,
        attempt: u32,
        wanted: Option<std::time::Duration>,
    ) -> Option<std::time::Duration> {
        retry::pause(&self.inner.retry, attempt, wanted)
    }

    /// One attempt, redirects included.
    fn follow(&self, request: &Request, start: &Url, attempt: u32) -> Result<Response, NetError> {
        let fail = |failure| NetError::new(start.to_string(), attempt, failure);
        let mut hop = Hop::new(request, start);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.exchange(&hop).map_err(fail)?;
            let (head, body) = response.into_parts();
            let status = head.status.as_u16();
            if !request.redirects || !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Ok(Response {
                    status,
                    headers: head.headers,
                    url: hop.url,
                    asked: start.to_string(),
                    attempts: attempt,
                    body: body.into_reader(),
                });
            }
            drain(&head.headers, &mut body.into_reader());
            let location = head.headers.get("location").map(HeaderValue::as_bytes);
            hop.redirect(status, location).map_err(fail)?;
        }
        Err(fail(Failure::TooManyRedirects { limit: MAX_REDIRECTS }))
    }

    fn exchange(&self, hop: &Hop) -> Result<http::Response<ureq::Body>, Failure> {
        let route = self.inner.proxies.route(&hop.url);
        let (uri, proxy) = match route {
            Route::Direct => (direct_uri(&hop.url)?, None),
            Route::Tunnel(i) => (direct_uri(&hop.url)?, Some(&self.inner.proxies.proxies()[i])),
            Route::Forward(i) => {
                let proxy = &self.inner.proxies.proxies()[i];
                (forward_uri(&hop.url, proxy)?, Some(proxy))
            }
        };
        let mut headers = hop.headers()?;
        if let (Route::Forward(_), Some(proxy)) = (route, proxy) {
            headers.push(("host".to_owned(), hop.url.authority()));
            if let Some((user, password)) = &proxy.credentials {
                headers.push(("proxy-authorization".to_owned(), request::basic(user, password)));
            }
        }
        let agent = self.agent(route, &hop.url);
        let sent = match &hop.body {
            Body::Empty => run(agent, &hop.method, uri, &headers, ())?,
            Body::Bytes(bytes) => run(agent, &hop.method, uri, &headers, bytes.as_slice())?,
            Body::Stream(stream) => {
                let reader = (stream.open)().map_err(|source| Failure::Source { source })?;
                headers.push(("content-length".to_owned(), stream.size.to_string()));
                let body = SendBody::from_owned_reader(reader.take(stream.size));
                run(agent, &hop.method, uri, &headers, body)?
            }
        };
        sent.map_err(|error| {
            let dialled = proxy.map_or(hop.url.authority(), Proxy::authority);
            Failure::of_ureq(error, &dialled, proxy.map(Proxy::authority).as_deref())
        })
    }

    fn agent(&self, route: Route, url: &Url) -> &Agent {
        let open = url.is_https() && self.inner.insecure.contains(url);
        let own = self.inner.own.iter().find(|(hosts, _)| url.is_https() && hosts.contains(url));
        let agents = match own {
            _ if open => &self.inner.trusting,
            Some((_, agents)) => agents,
            None => &self.inner.verifying,
        };
        match route {
            Route::Direct => &agents[0],
            Route::Forward(_) => &self.inner.forwarding,
            Route::Tunnel(i) => &agents[i + 1],
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// The request as it is at one point of a chain of redirects.
struct Hop {
    method: Method,
    url: Url,
    headers: Vec<(String, String)>,
    /// Headers for the first origin only.
    private: Vec<(String, String)>,
    body: Body,
    /// The caller gave credentials at the start, so no later hop may be unencrypted by surprise.
    authenticated: bool,
}

impl Hop {
    fn new(request: &Request, url: &Url) -> Self {
        let secret = request.headers.iter().any(|(name, _)| is_secret(name));
        Self {
            method: request.method.clone(),
            url: url.clone(),
            headers: request.headers.clone(),
            private: request.private.clone(),
            body: request.body.clone(),
            authenticated: secret || !request.private.is_empty() || url.credentials().is_some(),
        }
    }

    /// The headers for the wire; credentials inside the URL become a header.
    fn headers(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut headers = [self.headers.as_slice(), &self.private].concat();
        let given = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        if let (false, Some((user, password))) = (given, self.url.credentials()) {
            headers.push(("authorization".to_owned(), request::basic(user, password)));
        }
        for (name, value) in &headers {
            if HeaderName::try_from(name.as_str()).is_err() || HeaderValue::from_str(value).is_err()
            {
                return Err(Failure::BadHeader { name: name.clone() });
            }
        }
        Ok(headers)
    }

    fn redirect(&mut self, status: u16, location: Option<&[u8]>) -> Result<(), Failure> {
        let bad = |source| Failure::BadRedirect { source };
        let location = location.ok_or(bad(UrlError::NoLocation))?;
        let mut next = self.url.join(&String::from_utf8_lossy(location)).map_err(bad)?;
        if self.authenticated && self.url.is_https() && !next.is_https() {
            return Err(Failure::InsecureRedirect { target: next.to_string() });
        }
        if !next.same_origin(&self.url) {
            self.headers.retain(|(name, _)| !is_secret(name));
            self.private.clear();
        }
        let see_other =
            status == 303 || (matches!(status, 301 | 302) && self.method == Method::POST);
        if see_other && self.method != Method::HEAD {
            self.method = Method::GET;
            self.body = Body::Empty;
            self.headers.retain(|(name, _)| !name.to_ascii_lowercase().starts_with("content-"));
        }
        std::mem::swap(&mut self.url, &mut next);
        Ok(())
    }
}

fn is_secret(name: &str) -> bool {
    SECRET_HEADERS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

fn run(
    agent: &Agent,
    method: &Method,
    uri: Uri,
    headers: &[(String, String)],
    body: impl AsSendBody,
) -> Result<Result<http::Response<ureq::Body>, ureq::Error>, Failure> {
    let mut builder = http::Request::builder().method(method.clone()).uri(uri);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    let request = builder
        .body(body)
        .map_err(|error| Failure::Protocol { source: std::io::Error::other(error) })?;
    Ok(agent.run(request))
}

fn direct_uri(url: &Url) -> Result<Uri, Failure> {
    url.wire().parse().map_err(|_| Failure::BadUrl { source: UrlError::Host })
}

/// The direct agent and one per proxy.
fn agents(
    config: &Config,
    table: &Table,
    tls: &TlsConfig,
    names: &Names,
) -> Result<Vec<Agent>, ConfigError> {
    let agent = |proxy| {
        let connector = Dialler::new(DefaultConnector::new(), names);
        Agent::with_parts(agent_config(config, proxy, tls), connector, Later)
    };
    let mut agents = vec![agent(None)];
    for proxy in table.proxies() {
        agents.push(agent(Some(tunnel(proxy)?)));
    }
    Ok(agents)
}

fn tunnel(proxy: &Proxy) -> Result<ureq::Proxy, ConfigError> {
    let bad = |_| ConfigError::Proxy { variable: "https_proxy", source: UrlError::ProxyScheme };
    let protocol = proxy.scheme.as_str().try_into().map_err(bad)?;
    let mut builder = ureq::Proxy::builder(protocol).host(&proxy.host);
    if let Some(port) = proxy.port {
        builder = builder.port(port);
    }
    if let Some((user, password)) = &proxy.credentials {
        builder = builder.username(user).password(password);
    }
    builder.build().map_err(bad)
}

fn agent_config(
    config: &Config,
    proxy: Option<ureq::Proxy>,
    tls: &TlsConfig,
) -> ureq::config::Config {
    Agent::config_builder()
        .proxy(proxy)
        .tls_config(tls.clone())
        .http_status_as_error(false)
        .max_redirects(0)
        // Bodies are verified and stored as sent, so nothing may be decoded on the way.
        .accept_encoding("identity")
        .user_agent(config.user_agent.as_str())
        .max_response_header_size(MAX_HEAD)
        .max_idle_connections(MAX_IDLE.0)
        .max_idle_connections_per_host(MAX_IDLE.1)
        .timeout_resolve(Some(config.connect_timeout))
        .timeout_connect(Some(config.connect_timeout))
        .timeout_recv_response(Some(config.read_timeout))
        .timeout_per_read(Some(config.read_timeout))
        .timeout_per_write(Some(config.read_timeout))
        .build()
}
