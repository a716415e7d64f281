//! Where Redis is, as its URL says.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

/// A Redis, whichever way it is kept alive.
#[derive(Debug, Clone)]
pub struct RedisPlace {
    pub kind: RedisKind,
    /// Never empty: the server, the sentinels, or some of the cluster's nodes.
    pub nodes: Vec<RedisNode>,
    pub encrypted: bool,
    pub login: RedisLogin,
    pub database: u8,
}

/// How a Redis is kept alive.
#[derive(Debug, Clone)]
pub enum RedisKind {
    Single,
    /// The nodes are sentinels, who know where the master of this name is.
    Sentinel {
        master: String,
        login: RedisLogin,
    },
    Cluster,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisNode {
    pub host: String,
    pub port: u16,
}

/// Name and password, as far as they are needed.
#[derive(Debug, Clone, Default)]
pub struct RedisLogin {
    pub username: Option<String>,
    pub password: Option<SecretString>,
}

impl RedisLogin {
    pub fn password(&self) -> Option<&str> {
        self.password.as_ref().map(SecretString::expose_secret)
    }
}

/// The text is no URL of a Redis. Repeats nothing of it, since it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedisUrl {
    #[error("must begin with redis://, redis+sentinel:// or redis+cluster:// (rediss… for TLS)")]
    Scheme,
    #[error("must name hosts, each with a port from 1 to 65535 or without one")]
    Host,
    #[error("names more than one host; use redis+sentinel:// or redis+cluster://")]
    ManyHosts,
    #[error("must name the master behind the sentinels: redis+sentinel://host:26379/master")]
    NoMaster,
    #[error("must name a database from 0 to 255 by its number")]
    Database,
    #[error("a cluster has no databases and no path")]
    ClusterPath,
    #[error(
        "has parameters that are not known; known are sentinel_username and sentinel_password, behind redis+sentinel://"
    )]
    Parameter,
    #[error("has a % that is not followed by two hexadecimal digits")]
    Escape,
}

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

impl RedisPlace {
    pub fn is_encrypted_cluster(&self) -> bool {
        self.encrypted && matches!(self.kind, RedisKind::Cluster)
    }

    /// Reads `redis://[user[:password]@]host[:port][/database]`, `redis+sentinel://[…@]host[:port][,host…]/master[/database]` and
    /// `redis+cluster://[…@]host[:port][,host…]`.
    ///
    /// # Errors
    /// [`InvalidRedisUrl`].
    pub fn parse(url: &str) -> Result<Self, InvalidRedisUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(InvalidRedisUrl::Scheme)?;
        let (encrypted, way) = match scheme.split_once('+') {
            None => (scheme, "single"),
            Some((scheme, way)) => (scheme, way),
        };
        let encrypted = match encrypted {
            "redis" => false,
            "rediss" => true,
            _ => return Err(InvalidRedisUrl::Scheme),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // A password may hold an @ that nobody escaped; a host cannot.
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (login_of(login)?, hosts),
            None => (RedisLogin::default(), authority),
        };
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let (kind, default_port) = match way {
            "single" => (RedisKind::Single, REDIS_PORT),
            "cluster" => (RedisKind::Cluster, REDIS_PORT),
            "sentinel" => {
                let master = unescaped(parts.next().ok_or(InvalidRedisUrl::NoMaster)?)?;
                let login = sentinel_login(query)?;
                (RedisKind::Sentinel { master, login }, SENTINEL_PORT)
            }
            _ => return Err(InvalidRedisUrl::Scheme),
        };
        if !query.is_empty() && !matches!(kind, RedisKind::Sentinel { .. }) {
            return Err(InvalidRedisUrl::Parameter);
        }
        let nodes: Vec<_> = hosts
            .split(',')
            .map(|host| node(host, default_port))
            .collect::<Result<_, _>>()?;
        if matches!(kind, RedisKind::Single) && nodes.len() > 1 {
            return Err(InvalidRedisUrl::ManyHosts);
        }
        let database = match parts.next() {
            None => 0,
            Some(_) if matches!(kind, RedisKind::Cluster) => return Err(InvalidRedisUrl::ClusterPath),
            Some(number) => number.parse().map_err(|_| InvalidRedisUrl::Database)?,
        };
        if parts.next().is_some() {
            return Err(InvalidRedisUrl::Database);
        }
        Ok(Self {
            kind,
            nodes,
            encrypted,
            login,
            database,
        })
    }
}

/// Without any secret: for logs and `doctor`.
impl fmt::Display for RedisPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RedisKind::Single => f.write_str("Redis at ")?,
            RedisKind::Sentinel { master, .. } => write!(f, "Redis {master:?} behind the sentinels at ")?,
            RedisKind::Cluster => f.write_str("the Redis cluster at ")?,
        }
        for (at, node) in self.nodes.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{}:{}", node.host, node.port)?;
        }
        Ok(())
    }
}

fn node(text: &str, default_port: u16) -> Result<RedisNode, InvalidRedisUrl> {
    // RFC 3986 §3.2.2: the colons of an IPv6 address stand in brackets.
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or(InvalidRedisUrl::Host)?)),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => default_port,
        Some(port) => port.parse().map_err(|_| InvalidRedisUrl::Host)?,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(plain) || port == 0 {
        return Err(InvalidRedisUrl::Host);
    }
    Ok(RedisNode {
        host: host.to_owned(),
        port,
    })
}

/// `user:password`, `:password` or `user`.
fn login_of(text: &str) -> Result<RedisLogin, InvalidRedisUrl> {
    let (username, password) = match text.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (text, None),
    };
    let username = unescaped(username)?;
    Ok(RedisLogin {
        username: Some(username).filter(|name| !name.is_empty()),
        password: password.map(unescaped).transpose()?.map(SecretString::from),
    })
}

fn sentinel_login(query: &str) -> Result<RedisLogin, InvalidRedisUrl> {
    let mut login = RedisLogin::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sentinel_username", name)) => login.username = Some(unescaped(name)?),
            Some(("sentinel_password", word)) => login.password = Some(unescaped(word)?.into()),
            _ => return Err(InvalidRedisUrl::Parameter),
        }
    }
    Ok(login)
}

/// RFC 3986 §2.1.
fn unescaped(text: &str) -> Result<String, InvalidRedisUrl> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let code = piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.ok_or(InvalidRedisUrl::Escape)?);
        bytes.extend_from_slice(piece.get(2..).unwrap_or_default().as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| InvalidRedisUrl::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> Result<String, InvalidRedisUrl> {
        let place = RedisPlace::parse(url)?;
        let RedisLogin { username, .. } = &place.login;
        let secret = place.login.password();
        let of = |word: Option<&str>| word.unwrap_or("-").to_owned();
        let (username, secret) = (of(username.as_deref()), of(secret));
        Ok(format!(
            "{place} tls={} db={} {username} {secret}",
            place.encrypted, place.database
        ))
    }

    #[test]
    fn every_way_of_keeping_redis_alive_has_its_url() {
        for (url, wanted) in [
            ("redis://localhost", "Redis at localhost:6379 tls=false db=0 - -"),
            (
                "redis://:s%40ft@10.0.0.1:7000/3",
                "Redis at 10.0.0.1:7000 tls=false db=3 - s@ft",
            ),
            ("rediss://u:p@w@[::1]:7000/", "Redis at ::1:7000 tls=true db=0 u p@w"),
            (
                "redis+sentinel://a,b:26380/mymaster/2",
                "Redis \"mymaster\" behind the sentinels at a:26379, b:26380 tls=false db=2 - -",
            ),
            (
                "rediss+cluster://u:p@a:7000,b:7001",
                "the Redis cluster at a:7000, b:7001 tls=true db=0 u p",
            ),
        ] {
            assert_eq!(shown(url).as_deref(), Ok(wanted), "{url}");
        }
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_repeating_it() {
        use InvalidRedisUrl as Bad;
        for (url, wanted) in [
            ("localhost:6379", Bad::Scheme),
            ("http://localhost", Bad::Scheme),
            ("redis+unix://x", Bad::Scheme),
            ("redis://", Bad::Host),
            ("redis://a:0", Bad::Host),
            ("redis://a:x", Bad::Host),
            ("redis://a b", Bad::Host),
            ("redis://a,b", Bad::ManyHosts),
            ("redis://a/x", Bad::Database),
            ("redis://a/0/1", Bad::Database),
            ("redis://a?timeout=1", Bad::Parameter),
            ("redis://:%zz@a", Bad::Escape),
            ("redis+sentinel://a", Bad::NoMaster),
            ("redis+sentinel://a/m?x=1", Bad::Parameter),
            ("redis+cluster://a/0", Bad::ClusterPath),
        ] {
            assert_eq!(RedisPlace::parse(url).map(|_| ()), Err(wanted), "{url}");
            assert!(!wanted.to_string().contains("%zz"));
        }
    }

    #[test]
    fn sentinels_may_have_a_login_of_their_own() {
        let url = "redis+sentinel://:inner@a/m?sentinel_username=s&sentinel_password=o%26ter";
        let place = RedisPlace::parse(url).unwrap();
        let RedisKind::Sentinel { login, .. } = &place.kind else {
            panic!()
        };
        assert_eq!(
            (login.username.as_deref(), login.password()),
            (Some("s"), Some("o&ter"))
        );
        assert_eq!(place.login.password(), Some("inner"));
        assert!(!format!("{place:?}").contains("inner"));
    }
}
