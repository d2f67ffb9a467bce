//! Which way a URL is reached: directly, forwarded by a proxy, or through a tunnel.

use std::net::IpAddr;

use crate::config::{ConfigError, Proxies};
use crate::url::{Url, UrlError, decode_userinfo, split_host_port};

/// The proxies of a client, parsed.
pub(crate) struct Table {
    proxies: Vec<Proxy>,
    http: Option<usize>,
    https: Option<usize>,
    no_proxy: Vec<Exception>,
}

/// One proxy.
pub(crate) struct Proxy {
    /// `http`, `https` or a `socks` scheme.
    pub(crate) scheme: String,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) credentials: Option<(String, String)>,
}

/// The way to a URL. The number is an index into [`Table::proxies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// No proxy.
    Direct,
    /// The proxy fetches: absolute-form request (RFC 9112 §3.2.2).
    Forward(usize),
    /// The proxy connects: `CONNECT` or SOCKS.
    Tunnel(usize),
}

impl Table {
    pub(crate) fn new(config: &Proxies) -> Result<Self, ConfigError> {
        let mut proxies = Vec::new();
        let mut add = |specific: &Option<String>, variable: &'static str| {
            let (text, variable) = match (non_empty(specific), non_empty(&config.all)) {
                (Some(text), _) => (text, variable),
                (None, Some(text)) => (text, "all_proxy"),
                (None, None) => return Ok(None),
            };
            let proxy =
                Proxy::parse(text).map_err(|source| ConfigError::Proxy { variable, source })?;
            proxies.push(proxy);
            Ok(Some(proxies.len() - 1))
        };
        let http = add(&config.http, "http_proxy")?;
        let https = add(&config.https, "https_proxy")?;
        let list = config.no_proxy.as_deref().unwrap_or_default();
        let no_proxy = list.split([',', ' ']).filter_map(Exception::parse).collect();
        Ok(Self { proxies, http, https, no_proxy })
    }

    pub(crate) fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    pub(crate) fn route(&self, url: &Url) -> Route {
        let chosen = if url.is_https() { self.https } else { self.http };
        let Some(index) = chosen else {
            return Route::Direct;
        };
        if url.is_loopback() || self.no_proxy.iter().any(|e| e.matches(url)) {
            return Route::Direct;
        }
        if url.is_https() || self.proxies[index].is_socks() {
            Route::Tunnel(index)
        } else {
            Route::Forward(index)
        }
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(
            scheme.as_str(),
            "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h"
        ) {
            return Err(UrlError::ProxyScheme);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (credentials, host_port) = match authority.rsplit_once('@') {
            Some((info, host_port)) => (Some(decode_userinfo(info)), host_port),
            None => (None, authority),
        };
        let (host, port) = split_host_port(host_port)?;
        Ok(Self { scheme, host, port, credentials })
    }

    pub(crate) fn is_socks(&self) -> bool {
        self.scheme.starts_with("socks")
    }

    /// `host` or `host:port`.
    pub(crate) fn authority(&self) -> String {
        self.port.map_or(self.host.clone(), |port| format!("{}:{port}", self.host))
    }
}

/// One entry of `no_proxy`.
enum Exception {
    All,
    Block(IpAddr, u8),
    Suffix(String, Option<u16>),
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Self::All);
        }
        let (address, bits) = text.split_once('/').unwrap_or((text, ""));
        if let Ok(ip) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
            let width = if ip.is_ipv4() { 32 } else { 128 };
            let bits =
                if bits.is_empty() { width } else { bits.parse().ok().filter(|b| *b <= width)? };
            return Some(Self::Block(ip, bits));
        }
        let bare = text.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
        let (host, port) = split_host_port(bare).ok()?;
        Some(Self::Suffix(host, port))
    }

    fn matches(&self, url: &Url) -> bool {
        let host = url.host().trim_end_matches('.');
        match self {
            Self::All => true,
            Self::Block(net, bits) => {
                host.trim_matches(['[', ']']).parse().is_ok_and(|ip| in_block(ip, *net, *bits))
            }
            Self::Suffix(suffix, port) => {
                port.is_none_or(|port| port == url.port())
                    && host
                        .strip_suffix(suffix.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
        }
    }
}

fn in_block(ip: IpAddr, net: IpAddr, bits: u8) -> bool {
    match (ip, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) => {
            (ip.to_bits() ^ net.to_bits()).checked_shr(32 - u32::from(bits)).unwrap_or(0) == 0
        }
        (IpAddr::V6(ip), IpAddr::V6(net)) => {
            (ip.to_bits() ^ net.to_bits()).checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

fn non_empty(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|t| !t.is_empty())
}

/// The set of hosts (`host` or `host:port`) a rule speaks of.
pub(crate) struct HostSet(Vec<(String, Option<u16>)>);

impl HostSet {
    pub(crate) fn new(hosts: &[String]) -> Self {
        Self(hosts.iter().filter_map(|h| split_host_port(h).ok()).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, url: &Url) -> bool {
        self.0
            .iter()
            .any(|(host, port)| host == url.host() && port.is_none_or(|port| port == url.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(no_proxy: &str, url: &str) -> Route {
        let table = Table::new(&Proxies {
            http: Some("http://p:3128".to_owned()),
            https: Some("u:geheim@q:3129".to_owned()),
            all: None,
            no_proxy: Some(no_proxy.to_owned()),
        })
        .unwrap();
        table.route(&Url::parse(url).unwrap())
    }

    #[test]
    fn plain_is_forwarded_and_tls_is_tunnelled() {
        assert_eq!(route("", "http://h/"), Route::Forward(0));
        assert_eq!(route("", "https://h/"), Route::Tunnel(1));
        assert_eq!(route("", "http://localhost:5000/"), Route::Direct);
    }

    #[test]
    fn exceptions_match_on_label_boundaries() {
        let list = "example.com, .intern *.lab,10.0.0.0/8,host:8080,fd00::/8";
        for url in [
            "http://example.com/",
            "http://a.example.com/",
            "http://x.intern/",
            "http://b.lab",
            "http://10.9.8.7/",
            "http://host:8080/",
            "http://[fd00::1]/",
        ] {
            assert_eq!(route(list, url), Route::Direct, "{url}");
        }
        for url in [
            "http://notexample.com/",
            "http://11.0.0.1/",
            "http://host/",
            "http://example.com.evil/",
        ] {
            assert_eq!(route(list, url), Route::Forward(0), "{url}");
        }
        assert_eq!(route("*", "https://h/"), Route::Direct);
        assert_eq!(route("0.0.0.0/0", "http://8.8.8.8/"), Route::Direct);
    }

    #[test]
    fn an_unusable_proxy_is_named_without_its_password() {
        let config = Proxies { http: Some("ftp://u:geheim@p".to_owned()), ..Proxies::default() };
        let error = Table::new(&config).err().unwrap();
        assert_eq!(error.to_string(), "proxy for `http_proxy` is not understood");
    }
}
