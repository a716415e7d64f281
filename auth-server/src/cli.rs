//! The command line.

use std::{
    io::{IsTerminal as _, Read as _, Write as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::{reference, telemetry};

use crate::{
    application::{operate::Operate, register::operate::InitialTokens},
    bootstrap::{self, Ambient, Foundation, SYNC_INTERVAL},
    config::Config,
    domain::{
        client::ClientStatus,
        directory::DEFAULT_TENANT,
        ids::{ClientId, TenantId},
        user::UserStatus,
    },
};

/// OAuth 2.1 / OpenID Connect provider.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Configuration file (TOML). Environment variables AUTH__… win over it.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGINT or SIGTERM. Migrates the database first.
    Serve {
        /// Write the bound addresses here, as JSON, once requests are accepted.
        #[arg(long)]
        ready_file: Option<PathBuf>,
    },
    /// Bring the database schema up to this version.
    Migrate,
    /// Apply documents: each is validated whole, then written in one transaction.
    Apply {
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Signing keys.
    #[command(subcommand)]
    Keys(Keys),
    /// People.
    User(UserArguments),
    /// Clients.
    #[command(subcommand)]
    Client(ClientCommand),
    /// Check configuration, master key, database and signing keys.
    Doctor,
    /// Print the reference of every configuration key (Markdown).
    ConfigReference,
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// List the keys and their stages.
    List,
    /// Let the next key of every algorithm sign, keep the current one published, publish a new next one.
    Rotate,
}

#[derive(Debug, Args)]
struct UserArguments {
    /// The tenant that the account belongs to.
    #[arg(long, default_value = DEFAULT_TENANT)]
    tenant: String,
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// List accounts.
    List,
    /// Lock an account: its sessions and tokens end at once.
    Lock { username: String },
    /// Unlock an account.
    Unlock { username: String },
    /// Delete an account: its name becomes free, its sub never.
    Delete { username: String },
    /// Sign somebody out everywhere: sessions and tokens end at once, the account stays as it is.
    SignOut { username: String },
    /// Read a new password from standard input; sessions and tokens end at once.
    SetPassword { username: String },
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// List clients.
    List,
    /// Disable a client: its tokens end at once.
    Disable { client_id: String },
    /// Enable a client.
    Enable { client_id: String },
    /// Give a client a new secret and print it, once.
    RotateSecret {
        client_id: String,
        /// Hours that the secret before keeps working.
        #[arg(long, default_value_t = 24)]
        overlap_hours: u64,
    },
    /// Tokens by which clients may register themselves.
    #[command(subcommand)]
    InitialToken(InitialTokenCommand),
}

#[derive(Debug, Subcommand)]
enum InitialTokenCommand {
    /// Make a token and print it, once.
    Create {
        /// Clients that may be registered with it.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// Seconds until it expires.
        #[arg(long, default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
        ttl: u64,
        /// Tenant of the clients.
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
    },
    /// List tokens: id, uses left, expiry, tenant.
    List,
    /// Revoke a token by its id. Clients that were registered with it stay.
    Revoke { id: String },
}

/// Runs a command.
///
/// # Errors
/// Whatever keeps it from being carried out.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    if matches!(arguments.command, Command::ConfigReference) {
        return say(&reference::markdown::<Config>("Configuration of auth-server"));
    }
    let config: Config = service_kit::config::load(arguments.config.as_deref())?;
    telemetry::start_logging(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        match arguments.command {
            Command::Serve { ready_file } => bootstrap::serve(config, ready_file.as_deref()).await,
            Command::Doctor => doctor(&config).await,
            // Answered above, without configuration.
            Command::ConfigReference => Ok(()),
            other => operate(&config, other).await,
        }
    });
    // A thread may still wait for a name server that does not answer; nobody waits for the thread.
    runtime.shutdown_background();
    outcome
}

/// Prints why a command failed: the whole chain, since this reader is the operator.
pub fn complain(error: &anyhow::Error) {
    // Nowhere is left to say it when standard error is closed.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", text.trim_end())?)
}

async fn operate(config: &Config, command: Command) -> anyhow::Result<()> {
    let foundation = Foundation::lay(config, Ambient::default()).await?;
    match command {
        Command::Migrate => say("the schema is up to date")?,
        Command::Apply { files } => apply(&foundation, &files).await?,
        Command::Keys(command) => keys(&foundation, &command).await?,
        Command::User(UserArguments { tenant, command }) => {
            user(&foundation.operate(), &TenantId::new(tenant), command).await?;
        }
        Command::Client(ClientCommand::InitialToken(command)) => {
            initial_token(&foundation.initial_tokens()?, command).await?;
        }
        Command::Client(command) => client(&foundation.operate(), command).await?,
        Command::Serve { .. } | Command::Doctor | Command::ConfigReference => {}
    }
    foundation.store.close().await;
    Ok(())
}

/// A change counts when every running node has seen it, so that a script may rely on it.
async fn settle() {
    tokio::time::sleep(SYNC_INTERVAL + Duration::from_millis(100)).await;
}

/// As [`settle`], after something that ends tokens by their time of issue: what is issued once this returns is issued after it.
async fn settle_cutoff() {
    tokio::time::sleep(Duration::from_millis(2100)).await;
}

async fn apply(foundation: &Foundation, files: &[PathBuf]) -> anyhow::Result<()> {
    let apply = foundation.apply();
    let (mut changed, mut revoked) = (false, false);
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let report = apply.apply(&text).await.with_context(|| file.display().to_string())?;
        say(&report.to_string())?;
        changed |= !report.is_unchanged();
        revoked |= report.has_revoked();
    }
    match (revoked, changed) {
        (true, _) => settle_cutoff().await,
        (false, true) => settle().await,
        (false, false) => {}
    }
    Ok(())
}

async fn keys(foundation: &Foundation, command: &Keys) -> anyhow::Result<()> {
    if let Keys::Rotate = command {
        if !foundation.key_factory.rotate().await? {
            say("somebody else was rotating the keys at this moment, and has")?;
        }
        settle().await;
    }
    for key in foundation.key_factory.list().await? {
        let signs = key.activated_at.map(|at| format!(", signs since {at}"));
        let retires = key.retire_at.map(|at| format!(", published until {at}"));
        say(&format!(
            "{}  {:<5}  {:<8}  made {}{}{}",
            key.kid,
            key.alg.as_str(),
            key.stage.as_str(),
            key.created_at,
            signs.unwrap_or_default(),
            retires.unwrap_or_default(),
        ))?;
    }
    Ok(())
}

async fn user(operate: &Operate, tenant: &TenantId, command: UserCommand) -> anyhow::Result<()> {
    let (username, status) = match command {
        UserCommand::List => {
            for user in operate.all_users(tenant).await? {
                say(&format!("{}  {}  {:?}", user.username.as_str(), user.sub, user.status))?;
            }
            return Ok(());
        }
        UserCommand::SetPassword { username } => {
            let user = operate.user(tenant, &username).await?;
            operate.set_password(&user, read_password()?).await?;
            settle_cutoff().await;
            return Ok(());
        }
        UserCommand::SignOut { username } => {
            let user = operate.user(tenant, &username).await?;
            operate.sign_out(&user).await?;
            settle_cutoff().await;
            return Ok(());
        }
        UserCommand::Lock { username } => (username, UserStatus::Locked),
        UserCommand::Unlock { username } => (username, UserStatus::Active),
        UserCommand::Delete { username } => (username, UserStatus::Deleted),
    };
    let user = operate.user(tenant, &username).await?;
    operate.set_user_status(&user, status).await?;
    match status {
        UserStatus::Active => settle().await,
        UserStatus::Locked | UserStatus::Deleted => settle_cutoff().await,
    }
    Ok(())
}

fn read_password() -> anyhow::Result<SecretString> {
    let mut input = std::io::stdin();
    if input.is_terminal() {
        writeln!(std::io::stderr(), "type the new password, then Enter and Ctrl-D:")?;
    }
    let mut text = String::new();
    input.read_to_string(&mut text)?;
    let password = text.trim_end_matches(['\n', '\r']);
    anyhow::ensure!(!password.is_empty(), "the password is empty");
    Ok(SecretString::from(password))
}

async fn client(operate: &Operate, command: ClientCommand) -> anyhow::Result<()> {
    match command {
        ClientCommand::List => {
            for client in operate.all_clients().await? {
                say(&format!(
                    "{}  {}  {:?}",
                    client.client_id, client.client_name, client.status
                ))?;
            }
            return Ok(());
        }
        ClientCommand::Disable { client_id } => {
            operate
                .set_client_status(&ClientId::new(client_id), ClientStatus::Disabled)
                .await?;
            settle_cutoff().await;
        }
        ClientCommand::Enable { client_id } => {
            operate
                .set_client_status(&ClientId::new(client_id), ClientStatus::Active)
                .await?;
        }
        ClientCommand::RotateSecret {
            client_id,
            overlap_hours,
        } => {
            let overlap = Duration::from_secs(overlap_hours.saturating_mul(3600));
            let secret = operate.rotate_secret(&ClientId::new(client_id), overlap).await?;
            say(secret.expose_secret())?;
        }
        // Answered by the caller, which knows about tokens.
        ClientCommand::InitialToken(_) => return Ok(()),
    }
    settle().await;
    Ok(())
}

async fn initial_token(tokens: &InitialTokens, command: InitialTokenCommand) -> anyhow::Result<()> {
    match command {
        InitialTokenCommand::Create { uses, ttl, tenant } => {
            let made = tokens
                .create(&TenantId::new(tenant), uses, Duration::from_secs(ttl))
                .await;
            let (token, secret) = made.context("the token could not be made; is there such a tenant?")?;
            writeln!(std::io::stderr(), "{} expires at {}", token.id, token.expires_at)?;
            say(secret.expose_secret())
        }
        InitialTokenCommand::List => {
            for token in tokens.list().await? {
                say(&format!(
                    "{}  {}  {}  {}",
                    token.id, token.uses_left, token.expires_at, token.tenant
                ))?;
            }
            Ok(())
        }
        InitialTokenCommand::Revoke { id } => {
            anyhow::ensure!(tokens.revoke(&id).await?, "there is no token {id}");
            Ok(())
        }
    }
}

/// Runs every check, changes nothing, tells each one's outcome; fails when one did.
async fn doctor(config: &Config) -> anyhow::Result<()> {
    let listening = format!("issuer {}, listening on {}", config.issuer, config.listen);
    let mut told = vec![
        ("configuration", Ok(listening)),
        ("tls", tls(config)),
        ("mtls", mtls(config)),
    ];
    told.extend(bootstrap::examine(config, &Ambient::default()).await);
    let failed = told.iter().filter(|(_, outcome)| outcome.is_err()).count();
    for (what, outcome) in told {
        match outcome {
            Ok(detail) => say(&format!("ok    {what}: {detail}"))?,
            Err(error) => say(&format!("FAIL  {what}: {error:#}"))?,
        }
    }
    anyhow::ensure!(failed == 0, "{failed} checks failed");
    Ok(())
}

fn tls(config: &Config) -> anyhow::Result<String> {
    match (&config.tls.cert, &config.tls.key) {
        (Some(cert), Some(key)) => {
            for file in [cert, key] {
                std::fs::read(file).with_context(|| file.display().to_string())?;
            }
            config.tls.check()?;
            Ok("certificate and key belong together".into())
        }
        _ if config.issuer.starts_with("https:") => {
            Ok("off: something in front of this process must terminate https".into())
        }
        _ => Ok("off".into()),
    }
}

fn mtls(config: &Config) -> anyhow::Result<String> {
    let authorities = config.mtls.authorities()?.map_or(0, |authorities| authorities.len());
    Ok(format!("{authorities} certificate authorities for tls_client_auth"))
}
