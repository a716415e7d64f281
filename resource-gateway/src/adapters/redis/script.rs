//! Scripts and how they are called.

use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, Script, ServerErrorKind};

use super::link::Connection;

/// A script of this adapter. Redis knows it by its digest until it is told to forget.
#[derive(Debug)]
pub(super) struct StoredScript {
    text: &'static str,
    digest: String,
}

/// The keys and arguments of a call.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) keys: Vec<String>,
    pub(super) values: Vec<Vec<u8>>,
    /// Executed twice they would let more pass than the limit, so they are not sent again when an answer is lost.
    pub(super) once: bool,
}

impl Arguments {
    pub(super) fn push(&mut self, value: impl ToString) {
        self.values.push(value.to_string().into_bytes());
    }

    pub(super) fn push_bytes(&mut self, value: Vec<u8>) {
        self.values.push(value);
    }

    /// Bytes that go over the wire, nearly.
    pub(super) fn weight(&self) -> usize {
        let keys = self.keys.iter().map(String::len);
        keys.chain(self.values.iter().map(Vec::len)).sum()
    }
}

impl StoredScript {
    pub(super) fn new(text: &'static str) -> Self {
        let digest = Script::new(text).get_hash().to_owned();
        Self { text, digest }
    }

    /// Runs the script by its digest, and with its text where the server does not know it (any more). The text goes to the node
    /// that has the keys, which a load of the script would not.
    pub(super) async fn run<T: FromRedisValue>(&self, on: &mut Connection, arguments: &Arguments) -> RedisResult<T> {
        match on.query(&command("EVALSHA", &self.digest, arguments)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                on.query(&command("EVAL", self.text, arguments)).await
            }
            answer => answer,
        }
    }
}

fn command(name: &str, script: &str, arguments: &Arguments) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(arguments.keys.len());
    for key in &arguments.keys {
        command.arg(key);
    }
    for value in &arguments.values {
        command.arg(value.as_slice());
    }
    command
}
