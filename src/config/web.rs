//! The part of a URL that decides where bytes go: scheme and host. Not a general URL parser: what it does not know it refuses,
//! so that no spelling of a foreign host passes for a loopback one.

use std::net::IpAddr;

/// An absolute `http` or `https` URL without user, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl<'a> {
    pub https: bool,
    pub host: &'a str,
}

impl<'a> WebUrl<'a> {
    pub fn parse(s: &'a str) -> Option<WebUrl<'a>> {
        let (https, rest) = match s.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, s.strip_prefix("http://")?),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path_byte = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%".contains(&b);
        if !path.bytes().all(path_byte) {
            return None;
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (address, port) = v6.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                (address, port)
            }
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port_is_good = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok_and(|n| n > 0));
        let host_byte = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
        (port_is_good && !host.is_empty() && host.bytes().all(host_byte)).then_some(WebUrl { https, host })
    }

    /// Whether its bytes stay on this machine: a loopback address, or `localhost` (RFC 6761).
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::WebUrl;

    #[test]
    fn only_this_machine_is_loopback() {
        for url in
            ["http://127.0.0.1:8079", "http://127.9.9.9", "http://[::1]:80/a/b", "http://localhost/", "https://LOCALHOST:1"]
        {
            assert!(WebUrl::parse(url).unwrap().is_loopback(), "{url}");
        }
        for url in ["http://128.0.0.1", "http://localhost.example.com", "http://0.0.0.0", "http://[::]", "http://0177.0.0.1"] {
            assert!(WebUrl::parse(url).is_none_or(|u| !u.is_loopback()), "{url}");
        }
    }

    #[test]
    fn what_could_hide_a_host_is_refused() {
        for url in [
            "http://127.0.0.1@example.com",
            "http://127.0.0.1\\@example.com",
            "http://127.0.0.1#.example.com",
            "http://127.0.0.1?x",
            "http://",
            "http:///x",
            "ftp://127.0.0.1",
            "127.0.0.1:80",
            "http://127.0.0.1:port",
            "http://127.0.0.1:0",
            "http://[::1",
            "http://a b",
            " http://a",
        ] {
            assert_eq!(WebUrl::parse(url), None, "{url}");
        }
    }
}
