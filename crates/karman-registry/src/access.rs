//! One operation on one endpoint: authorised requests, and the answers to challenges.

use karman_net::{Downloaded, Expect, Failure, NetError, Request, Response, Sink};
use karman_oci::Reference;

use crate::auth::Authorization;
use crate::endpoint::Endpoint;
use crate::error::{Direction, RegistryError};
use crate::pull::{Inner, Registry};

/// How often a 401 is answered in one operation: once at the start, once for a token that ended, and
/// once more for one that ended during a long transfer.
const MAX_CHALLENGES: u32 = 3;

/// What was sent as authorization, and how often we were challenged.
pub(crate) struct Access<'a> {
    registry: &'a Inner,
    endpoint: &'a Endpoint,
    reference: &'a Reference,
    direction: Direction,
    scope: String,
    sent: Option<Authorization>,
    challenges: u32,
}

impl<'a> Access<'a> {
    /// To read.
    pub(crate) fn pulling(
        registry: &'a Registry,
        endpoint: &'a Endpoint,
        reference: &'a Reference,
    ) -> Self {
        Self::new(registry, endpoint, reference, Direction::Pull, endpoint.pull_scope())
    }

    /// To write, and to read from other repositories of the same registry (for mounts).
    pub(crate) fn pushing(
        registry: &'a Registry,
        endpoint: &'a Endpoint,
        reference: &'a Reference,
        reading: Option<&str>,
    ) -> Self {
        let mut scope = format!("repository:{}:pull,push", endpoint.repository);
        if let Some(other) = reading {
            scope.push_str(&format!(" repository:{other}:pull"));
        }
        Self::new(registry, endpoint, reference, Direction::Push, scope)
    }

    /// To see whether we are let in at all.
    pub(crate) fn login(
        registry: &'a Registry,
        endpoint: &'a Endpoint,
        reference: &'a Reference,
    ) -> Self {
        Self::new(registry, endpoint, reference, Direction::Pull, String::new())
    }

    fn new(
        registry: &'a Registry,
        endpoint: &'a Endpoint,
        reference: &'a Reference,
        direction: Direction,
        scope: String,
    ) -> Self {
        let registry = &*registry.inner;
        let sent = registry.tokens.known(endpoint, &scope);
        Self { registry, endpoint, reference, direction, scope, sent, challenges: 0 }
    }

    /// Sends what `make` makes, whatever the status but 401, which is answered and tried again.
    pub(crate) fn try_send(
        &mut self,
        make: &dyn Fn() -> Request,
    ) -> Result<Response, RegistryError> {
        loop {
            let response = match self.registry.client.send(&self.authorized(make())) {
                Ok(response) if response.status() != 401 => return Ok(response),
                other => other.and_then(Response::error_for_status),
            };
            match response {
                Ok(response) => return Ok(response),
                Err(error) if self.renew(&error)? => {}
                Err(error) => return Err(self.error(error)),
            }
        }
    }

    /// Sends what `make` makes; a status of 400 and above is an error.
    pub(crate) fn send(&mut self, make: &dyn Fn() -> Request) -> Result<Response, RegistryError> {
        let response = self.try_send(make)?;
        response.error_for_status().map_err(|error| self.error(error))
    }

    /// Sends what `make` makes and reads the answer, again where it breaks off. Gives its type too.
    pub(crate) fn read(
        &mut self,
        make: &dyn Fn() -> Request,
        limit: u64,
    ) -> Result<(Option<String>, Vec<u8>), RegistryError> {
        let mut attempt = 1;
        loop {
            let response = self.send(make)?;
            let declared = response.content_type();
            let error = match response.read_to_limit(limit) {
                Ok(bytes) => return Ok((declared, bytes)),
                Err(error) => error,
            };
            let last = attempt >= self.retry().max_attempts || !error.failure.is_transient();
            match self.registry.client.pause(attempt, None).filter(|_| !last) {
                Some(pause) => std::thread::sleep(pause),
                None => return Err(self.error(error)),
            }
            attempt += 1;
        }
    }

    /// Downloads `url` into `sink`, resuming and renewing tokens on the way.
    pub(crate) fn download(
        mut self,
        url: &str,
        sink: &mut dyn Sink,
        expect: &Expect,
    ) -> Result<Downloaded, RegistryError> {
        let request = self.authorized(Request::get(url));
        let client = self.registry.client.clone();
        let mut refused = None;
        let result = client.download_renewing(&request, sink, expect, &mut |error| match self
            .renew(error)
        {
            Ok(true) => Some(self.authorized(Request::get(url))),
            Ok(false) => None,
            Err(error) => {
                refused = Some(error);
                None
            }
        });
        match refused {
            Some(error) => Err(error),
            None => result.map_err(|error| self.error(error)),
        }
    }

    /// Adds the authorization, unless the registry sends us elsewhere: a location of an upload may name
    /// another host, which has no business with the credentials of this one.
    fn authorized(&self, mut request: Request) -> Request {
        if !self.endpoint.is_origin_of(request.url()) {
            return request;
        }
        for (name, value) in &self.endpoint.headers {
            request = request.private_header(name, value);
        }
        match &self.sent {
            Some(authorization) if !authorization.header.is_empty() => {
                request.header("authorization", authorization.header.clone())
            }
            _ => request,
        }
    }

    /// Whether a refusal was answered with something new to send.
    fn renew(&mut self, error: &NetError) -> Result<bool, RegistryError> {
        let Failure::Auth { status: 401, challenges } = &*error.failure else {
            return Ok(false);
        };
        self.challenges += 1;
        if challenges.is_empty() || self.challenges > MAX_CHALLENGES {
            return Ok(false);
        }
        let Inner { client, config, tokens, .. } = self.registry;
        let source = &*config.credentials;
        let fresh = tokens.answer(
            client,
            source,
            self.endpoint,
            &self.scope,
            challenges,
            self.sent.as_ref(),
        )?;
        // The same answer again would meet the same refusal.
        let before = self.sent.as_ref().map_or("", |a| a.header.as_str());
        let changed = fresh.header != before;
        self.sent = Some(fresh);
        Ok(changed)
    }

    /// Sorts a failed exchange of this operation.
    pub(crate) fn error(&self, source: NetError) -> RegistryError {
        let identified = self.sent.as_ref().is_some_and(|a| a.identified);
        RegistryError::of_net(self.reference.to_string(), self.direction, identified, source)
    }

    /// How often and how patiently to try again.
    pub(crate) fn retry(&self) -> &karman_net::Retry {
        self.registry.client.retry()
    }
}
