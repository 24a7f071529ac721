//! The addresses that the client accepts: `http://` and `https://` of RFC 3986, and nothing that could smuggle a header.

use std::fmt;

/// How the server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain, by this client.
    Http,
    /// By the host's curl.
    Https,
}

/// A parsed address. Userinfo is kept apart so that it is never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Scheme.
    pub scheme: Scheme,
    /// Name or numeric address, without the brackets of IPv6.
    pub host: String,
    /// The port, the scheme's default where none is written.
    pub port: u16,
    /// Path and query, beginning with `/`, without the fragment.
    pub target: String,
    /// What stands before `@`: `user:password`.
    pub userinfo: Option<String>,
}

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `http://` nor `https://`.
    #[error("the address begins with neither http:// nor https://")]
    Scheme,
    /// No host, or an IPv6 address without its closing bracket.
    #[error("the address names no host")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("the port {0:?} is no number from 1 to 65535")]
    Port(String),
    /// A space or a control character (RFC 3986 has it percent-encoded).
    #[error("the address holds a space or a control character at offset {0}; write it percent-encoded")]
    Character(usize),
}

impl Url {
    /// Parses an absolute address.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if let Some(at) = text.find(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::Character(at));
        }
        let (scheme, rest) = split_scheme(text).ok_or(UrlError::Scheme)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (userinfo, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, authority),
        };
        let (host, port) = split_port(place)?;
        if host.is_empty() {
            return Err(UrlError::Host);
        }
        let default = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let port = match port {
            None | Some("") => default,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|port| *port > 0 && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| UrlError::Port(digits.to_owned()))?,
        };
        let tail = tail.split('#').next().unwrap_or_default();
        let target = if tail.starts_with('/') { tail.to_owned() } else { format!("/{tail}") };
        Ok(Self { scheme, host: host.to_owned(), port, target, userinfo })
    }

    /// The `Host` header's value (RFC 9110, 7.2).
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// The address that a `Location` header means, seen from this one (RFC 3986, 5.2, without dot segments).
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        if split_scheme(location).is_some() {
            return Self::parse(location);
        }
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        let path = self.target.split('?').next().unwrap_or("/");
        let target = match location.chars().next() {
            Some('/') => location.to_owned(),
            Some('?') => format!("{path}{location}"),
            _ => format!("{}{location}", path.rfind('/').map_or("/", |at| &path[..=at])),
        };
        Self::parse(&format!("{scheme}://{}{target}", self.authority()))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.target)
    }
}

fn split_scheme(text: &str) -> Option<(Scheme, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    if scheme.eq_ignore_ascii_case("http") {
        Some((Scheme::Http, rest))
    } else if scheme.eq_ignore_ascii_case("https") {
        Some((Scheme::Https, rest))
    } else {
        None
    }
}

fn split_port(place: &str) -> Result<(&str, Option<&str>), UrlError> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(UrlError::Host)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(UrlError::Host),
        };
    }
    match place.split_once(':') {
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((place, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_are_found() {
        let url = Url::parse("http://user:pw@example.org:8000/health?full=1#top").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.target.as_str()), ("example.org", 8000, "/health?full=1"));
        assert_eq!(url.userinfo.as_deref(), Some("user:pw"));
        assert_eq!(url.to_string(), "http://example.org:8000/health?full=1", "a password is never shown");
        assert_eq!(Url::parse("https://[::1]?a").unwrap().target, "/?a");
        assert_eq!(Url::parse("http://[fe80::1]:81").unwrap().authority(), "[fe80::1]:81");
    }

    #[test]
    fn bad_addresses_are_named() {
        assert_eq!(Url::parse("ftp://x"), Err(UrlError::Scheme));
        assert_eq!(Url::parse("http:///x"), Err(UrlError::Host));
        assert_eq!(Url::parse("http://[::1/x"), Err(UrlError::Host));
        assert_eq!(Url::parse("http://x:0/"), Err(UrlError::Port("0".into())));
        assert_eq!(Url::parse("http://x:+8/"), Err(UrlError::Port("+8".into())));
        assert_eq!(Url::parse("http://x/a b"), Err(UrlError::Character(10)));
        assert!(Url::parse("http://x/\r\nHost: y").is_err());
    }

    #[test]
    fn locations_are_resolved() {
        let base = Url::parse("http://h:81/a/b?c").unwrap();
        assert_eq!(base.join("/x").unwrap().to_string(), "http://h:81/x");
        assert_eq!(base.join("x?y").unwrap().to_string(), "http://h:81/a/x?y");
        assert_eq!(base.join("?z").unwrap().to_string(), "http://h:81/a/b?z");
        assert_eq!(base.join("//o/p").unwrap().to_string(), "http://o/p");
        assert_eq!(base.join("https://o/p").unwrap().scheme, Scheme::Https);
    }

    proptest! {
        #[test]
        fn no_text_panics_or_reaches_the_request_with_a_line_break(text in "\\PC*|http://[ -~\\r\\n]{0,40}") {
            if let Ok(url) = Url::parse(&text) {
                prop_assert!(!url.target.contains(['\r', '\n', ' ']));
                prop_assert!(!url.authority().contains(['\r', '\n', ' ']));
            }
        }
    }
}
