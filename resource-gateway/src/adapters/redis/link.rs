//! Connections to Redis: to one server, to the master that sentinels name, or to a cluster.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue,
    IntoConnectionInfo as _, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, aio::MultiplexedConnection,
    cluster::ClusterClient, cluster_async::ClusterConnection,
};

use crate::domain::redis_place::{RedisKind, RedisLogin, RedisNode, RedisPlace};

/// Connections to a server. One carries many calls at once, but is read and written by one task.
const POOL: usize = 2;
/// A connection has this long to stand. Requests do not wait for it: they go on without.
const CONNECT: Duration = Duration::from_secs(1);

/// A connection that many calls share.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Server(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// Connections that were made together.
pub(super) struct Pool {
    connections: Vec<Connection>,
    turn: AtomicUsize,
}

impl Pool {
    pub(super) fn pick(&self) -> RedisResult<Connection> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let connection = self.connections.get(turn % self.connections.len().max(1));
        connection.cloned().ok_or_else(nowhere)
    }
}

/// The way to Redis.
pub struct Link {
    place: RedisPlace,
    /// Certificate authorities to trust beside the system's, as PEM.
    extra_ca: Option<Vec<u8>>,
    /// How long an answer may take.
    patience: Duration,
    pool: ArcSwapOption<Pool>,
    /// Held by whoever makes connections; the others wait for theirs.
    connecting: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.place)
    }
}

impl Link {
    /// Connects when it is first needed. `extra_ca`, as PEM, is for single servers and sentinels: the client of clusters trusts the
    /// system's authorities alone, and the configuration is refused that wants more of it.
    pub fn new(place: RedisPlace, extra_ca: Option<Vec<u8>>, patience: Duration) -> Self {
        Self {
            place,
            extra_ca,
            patience,
            pool: ArcSwapOption::empty(),
            connecting: tokio::sync::Mutex::new(()),
        }
    }

    /// How long whoever asks has to wait at most.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.place.kind, RedisKind::Cluster)
    }

    pub(super) async fn pool(&self) -> RedisResult<Arc<Pool>> {
        match self.pool.load_full() {
            Some(pool) => Ok(pool),
            None => self.replace(None).await,
        }
    }

    /// New connections in place of broken ones. Of many who ask at once one makes them.
    pub(super) async fn replace(&self, broken: Option<&Arc<Pool>>) -> RedisResult<Arc<Pool>> {
        let _connecting = self.connecting.lock().await;
        if let Some(pool) = self.pool.load_full()
            && broken.is_none_or(|broken| !Arc::ptr_eq(broken, &pool))
        {
            return Ok(pool);
        }
        self.pool.store(None);
        let connections = Box::pin(self.connect()).await?;
        let turn = AtomicUsize::new(0);
        let pool = Arc::new(Pool { connections, turn });
        self.pool.store(Some(Arc::clone(&pool)));
        Ok(pool)
    }

    /// The next call begins with new connections.
    pub(super) fn forget(&self) {
        self.pool.store(None);
    }

    async fn connect(&self) -> RedisResult<Vec<Connection>> {
        match &self.place.kind {
            RedisKind::Single => {
                let server = self.place.nodes.first().ok_or_else(nowhere)?;
                self.connect_to(server).await
            }
            RedisKind::Sentinel { master, login } => {
                let server = self.find_master(master, login).await?;
                self.connect_to(&server).await
            }
            RedisKind::Cluster => {
                let nodes = self
                    .place
                    .nodes
                    .iter()
                    .map(|node| self.server(node, &self.place.login, 0));
                let client = ClusterClient::builder(nodes.collect::<RedisResult<Vec<_>>>()?)
                    .connection_timeout(CONNECT)
                    .response_timeout(self.patience)
                    .retries(2)
                    .min_retry_wait(5)
                    .max_retry_wait(20)
                    .build()?;
                let connection = client.get_async_connection().await?;
                Ok(vec![Connection::Cluster(connection)])
            }
        }
    }

    async fn connect_to(&self, server: &RedisNode) -> RedisResult<Vec<Connection>> {
        let client = self.client(server, &self.place.login, self.place.database)?;
        let config = self.config();
        let mut connections = Vec::with_capacity(POOL);
        for _ in 0..POOL {
            let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            connections.push(Connection::Server(connection));
        }
        Ok(connections)
    }

    /// Asks one sentinel after the other who is master, and the master whether it knows: until all sentinels have heard of a
    /// fail-over, some name the one before.
    async fn find_master(&self, name: &str, login: &RedisLogin) -> RedisResult<RedisNode> {
        let mut last = nowhere();
        for sentinel in &self.place.nodes {
            match self.ask_sentinel(sentinel, name, login).await {
                Ok(master) => return Ok(master),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_sentinel(&self, sentinel: &RedisNode, name: &str, login: &RedisLogin) -> RedisResult<RedisNode> {
        let config = self.config();
        let client = self.client(sentinel, login, 0)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(name);
        let answer: Option<(String, u16)> = question.query_async(&mut connection).await?;
        let (host, port) = answer.ok_or_else(|| failure("the sentinels know no master of this name"))?;
        let master = RedisNode { host, port };
        let client = self.client(&master, &self.place.login, self.place.database)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let role: redis::Value = redis::cmd("ROLE").query_async(&mut connection).await?;
        let role = match role {
            redis::Value::Array(facts) => facts.into_iter().next().map(String::from_redis_value),
            _ => None,
        };
        match role {
            Some(Ok(role)) if role == "master" => Ok(master),
            _ => Err(failure("the server that the sentinels name is no master")),
        }
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(self.patience))
            // As many calls as a burst has may wait for the connection's task.
            .set_pipeline_buffer_size(1024)
    }

    fn client(&self, node: &RedisNode, login: &RedisLogin, database: u8) -> RedisResult<Client> {
        let server = self.server(node, login, database)?;
        match &self.extra_ca {
            Some(pem) if self.place.encrypted => {
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(pem.clone()),
                };
                Client::build_with_tls(server, certificates)
            }
            Some(_) | None => Client::open(server),
        }
    }

    fn server(&self, node: &RedisNode, login: &RedisLogin, database: u8) -> RedisResult<ConnectionInfo> {
        let (host, port) = (node.host.clone(), node.port);
        let address = match self.place.encrypted {
            true => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
            false => ConnectionAddr::Tcp(host, port),
        };
        let mut settings = RedisConnectionInfo::default().set_db(database.into());
        if let Some(username) = &login.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = login.password() {
            settings = settings.set_password(password);
        }
        Ok(address.into_connection_info()?.set_redis_settings(settings))
    }
}

fn nowhere() -> RedisError {
    failure("there is no connection")
}

fn failure(what: &'static str) -> RedisError {
    (ErrorKind::Client, what).into()
}
