//! `http` and `https` URLs: the part of RFC 3986 a client needs, with credentials kept apart.

use std::fmt;
use std::net::IpAddr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// The longest URL accepted, in bytes. `http::Uri` stops at 65534; nothing real comes near 16 KiB.
const MAX_URL: usize = 16 * 1024;

/// What may not stand raw in a request target. Existing `%` escapes are kept.
const TARGET: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Parts of a query key that mark its value as a secret (signed storage URLs, tokens).
const SECRET_KEYS: &[&str] =
    &["token", "sig", "secret", "password", "credential", "auth", "key", "policy"];

/// A URL that is not usable. Never shows the URL itself, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Too long.
    #[error("URL is longer than {MAX_URL} bytes")]
    TooLong,
    /// Not `http` or `https`.
    #[error("URL scheme is neither `http` nor `https`")]
    Scheme,
    /// No host, or one with characters no host has.
    #[error("URL has no valid host")]
    Host,
    /// The port is not a number up to 65535.
    #[error("URL has no valid port")]
    Port,
    /// A control character.
    #[error("URL holds a control character")]
    Control,
    /// A redirect without `Location`.
    #[error("`Location` is missing")]
    NoLocation,
    /// A proxy scheme that is not supported.
    #[error("proxy scheme is not one of `http`, `https`, `socks4`, `socks4a`, `socks5`, `socks5h`")]
    ProxyScheme,
}

/// A parsed `http` or `https` URL. `Display` leaves out credentials and blanks signed query values.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    https: bool,
    host: String,
    port: Option<u16>,
    userinfo: Option<(String, String)>,
    target: String,
}

impl Url {
    /// Parses an absolute URL. The fragment is dropped, raw blanks and non-ASCII are escaped.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = checked(text)?;
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let https = if scheme.eq_ignore_ascii_case("https") {
            true
        } else if scheme.eq_ignore_ascii_case("http") {
            false
        } else {
            return Err(UrlError::Scheme);
        };
        Self::with_scheme(https, rest)
    }

    /// What may be shown of a text that should be a URL: neither credentials nor tokens.
    pub fn show(text: &str) -> String {
        Self::parse(text).map_or_else(|_| without_secrets(text), |url| url.to_string())
    }

    fn with_scheme(https: bool, rest: &str) -> Result<Self, UrlError> {
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (userinfo, host_port) = match authority.rsplit_once('@') {
            Some((info, host_port)) => (Some(decode_userinfo(info)), host_port),
            None => (None, authority),
        };
        let (host, port) = split_host_port(host_port)?;
        Ok(Self { https, host, port, userinfo, target: clean_target(target) })
    }

    /// Resolves a `Location` against this URL (RFC 3986 §5.2).
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = checked(location)?.split('#').next().unwrap_or_default();
        if let Some(rest) = location.strip_prefix("//") {
            return Self::with_scheme(self.https, rest);
        }
        if has_scheme(location) {
            return Self::parse(location);
        }
        let path = self.path();
        let target = if location.is_empty() {
            self.target.clone()
        } else if location.starts_with('/') {
            location.to_owned()
        } else if location.starts_with('?') {
            format!("{path}{location}")
        } else {
            let base = path.rfind('/').map_or("/", |i| &path[..=i]);
            format!("{base}{location}")
        };
        Ok(Self { target: remove_dots(&clean_target(&target)), ..self.clone() })
    }

    /// Whether the scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The host in lower case; an IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, or the scheme's default one.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.https { 443 } else { 80 })
    }

    /// `host` or `host:port`, as it goes into the `Host` header.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// The path, starting with `/`, without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("/")
    }

    /// Path and query as they go onto the wire.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// User and password given inside the URL.
    pub fn credentials(&self) -> Option<(&str, &str)> {
        self.userinfo.as_ref().map(|(u, p)| (u.as_str(), p.as_str()))
    }

    /// Whether scheme, host and port are the same.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.https == other.https && self.host == other.host && self.port() == other.port()
    }

    /// Whether the host is `localhost`, below it, or a loopback address.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// The URL for the wire: no credentials (they travel as a header), query untouched.
    pub fn wire(&self) -> String {
        format!("{}{}", self.origin(), self.target)
    }

    /// `scheme://host[:port]`.
    pub fn origin(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())?;
        let Some((path, query)) = self.target.split_once('?') else {
            return f.write_str(&self.target);
        };
        write!(f, "{path}?")?;
        for (i, pair) in query.split('&').enumerate() {
            let joint = if i == 0 { "" } else { "&" };
            match pair.split_once('=') {
                Some((key, _)) if is_secret(key) => write!(f, "{joint}{key}=***")?,
                _ => write!(f, "{joint}{pair}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// What may be shown of a text that is no URL: nothing before an `@` or after a `?`.
pub(crate) fn without_secrets(text: &str) -> String {
    let text = text.split('?').next().unwrap_or_default();
    let text = text.rsplit('@').next().unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Whether a host name or address (brackets allowed) is the machine itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Splits `host[:port]`, checking both. The host comes back in lower case.
pub(crate) fn split_host_port(text: &str) -> Result<(String, Option<u16>), UrlError> {
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']').ok_or(UrlError::Host)?;
        text[1..end].parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
        (
            &text[..=end],
            text[end + 1..]
                .strip_prefix(':')
                .or(text[end + 1..].is_empty().then_some(""))
                .ok_or(UrlError::Host)?,
        )
    } else {
        let (host, port) = text.split_once(':').unwrap_or((text, ""));
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(valid) {
            return Err(UrlError::Host);
        }
        (host, port)
    };
    let port = match port {
        "" => None,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| UrlError::Port)?)
        }
        _ => return Err(UrlError::Port),
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// Splits and decodes `user:password`.
pub(crate) fn decode_userinfo(info: &str) -> (String, String) {
    let (user, password) = info.split_once(':').unwrap_or((info, ""));
    let decode = |s: &str| percent_decode_str(s).decode_utf8_lossy().into_owned();
    (decode(user), decode(password))
}

fn checked(text: &str) -> Result<&str, UrlError> {
    let text = text.trim_matches(' ');
    if text.len() > MAX_URL {
        return Err(UrlError::TooLong);
    }
    if text.bytes().any(|b| b.is_ascii_control()) {
        return Err(UrlError::Control);
    }
    Ok(text)
}

fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn clean_target(target: &str) -> String {
    let escaped = utf8_percent_encode(target, TARGET).to_string();
    if escaped.starts_with('/') { escaped } else { format!("/{escaped}") }
}

/// RFC 3986 §5.2.4 on the path of a target.
fn remove_dots(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut out: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (i, segment) in segments.iter().enumerate() {
        let last = i + 1 == segments.len();
        match *segment {
            "." | ".." => {
                if *segment == ".." {
                    out.pop();
                }
                if last {
                    out.push("");
                }
            }
            other => out.push(other),
        }
    }
    let path = format!("/{}", out.join("/"));
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_KEYS.iter().any(|part| key.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(base: &str, location: &str) -> String {
        Url::parse(base).unwrap().join(location).unwrap().wire()
    }

    #[test]
    fn splits_a_url() {
        let url = Url::parse("HTTPS://us%40er:p%3Aw@Example.COM:8443/a b?x=ü#frag").unwrap();
        assert!(url.is_https());
        assert_eq!(url.credentials(), Some(("us@er", "p:w")));
        assert_eq!(url.wire(), "https://example.com:8443/a%20b?x=%C3%BC");
        assert_eq!(url.to_string(), url.wire());
    }

    #[test]
    fn secrets_are_not_displayed() {
        let url =
            Url::parse("https://u:geheim@h/x?X-Amz-Signature=abc&n=1&access_token=t").unwrap();
        assert_eq!(url.to_string(), "https://h/x?X-Amz-Signature=***&n=1&access_token=***");
        assert!(!format!("{url:?}").contains("geheim"));
    }

    #[test]
    fn refuses_what_is_no_url() {
        assert_eq!(Url::parse("ftp://h/"), Err(UrlError::Scheme));
        assert_eq!(Url::parse("http:///x"), Err(UrlError::Host));
        assert_eq!(Url::parse("http://a b/"), Err(UrlError::Host));
        assert_eq!(Url::parse("http://h:99999/"), Err(UrlError::Port));
        assert_eq!(Url::parse("http://h/\r\nX: y"), Err(UrlError::Control));
        assert_eq!(Url::parse("http://[::1/"), Err(UrlError::Host));
    }

    #[test]
    fn joins_locations() {
        assert_eq!(join("https://h/a/b?q", "c"), "https://h/a/c");
        assert_eq!(join("https://h/a/b?q", "../c?d"), "https://h/c?d");
        assert_eq!(join("https://h/a/b?q", "?z"), "https://h/a/b?z");
        assert_eq!(join("https://h/a", "//o/x"), "https://o/x");
        assert_eq!(join("https://h/a", "http://o"), "http://o/");
        assert_eq!(join("https://h/a", "/../.."), "https://h/");
    }

    #[test]
    fn knows_loopback() {
        for host in
            ["http://localhost", "http://127.1.2.3:5000", "http://[::1]:5", "http://x.localhost"]
        {
            assert!(Url::parse(host).unwrap().is_loopback(), "{host}");
        }
        assert!(!Url::parse("http://localhost.example").unwrap().is_loopback());
    }
}
