//! Signing in with a password: one rule for the page and for the password grant.

use std::{net::IpAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use service_kit::{Clock, Entropy, Timestamp};
use token_keys::MacKey;

use crate::{
    application::{meters::count_sign_in, policy::Policy, sign_out::SignOut},
    domain::{
        ids::{SessionId, TenantId, Username},
        session::Session,
        throttle::{Attempt, ThrottleKey, ThrottlePolicy, address_block},
        user::User,
    },
    ports::{
        crypto::{PasswordError, PasswordHasher},
        store::{LoginThrottle, Sessions, StoreError, Users},
    },
};

/// `User-Agent` characters that are kept for the account page.
const USER_AGENT_CHARACTERS: usize = 300;

/// Why somebody is not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Unknown user, wrong password, locked account: which one is not told.
    #[error("username or password is wrong")]
    WrongCredentials,
    #[error("too many attempts")]
    Throttled { until: Timestamp },
    #[error("too many log-ins at once")]
    Busy,
    #[error("storage failed")]
    Store(#[from] StoreError),
    #[error("password hashing failed")]
    Password(#[source] PasswordError),
    #[error("OpenSSL refused")]
    OpenSsl(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What somebody typed.
#[derive(Debug)]
pub struct Credentials {
    pub tenant: TenantId,
    pub username: String,
    pub password: SecretString,
    /// Where the attempt comes from.
    pub address: Option<IpAddr>,
    /// The device cookie, if the browser sent one.
    pub device: Option<String>,
}

/// Where a sign-in comes from, for the account page.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub user_agent: String,
    pub address: String,
}

/// The use cases around signing in.
#[derive(Clone)]
pub struct SignIn {
    pub policy: Arc<Policy>,
    pub users: Arc<dyn Users>,
    pub sessions: Arc<dyn Sessions>,
    pub throttle: Arc<dyn LoginThrottle>,
    pub hasher: Arc<dyn PasswordHasher>,
    pub devices: DeviceCookies,
    pub sign_out: SignOut,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignIn").finish_non_exhaustive()
    }
}

impl SignIn {
    /// Checks credentials. The attempt is counted before the password is looked at, the work is the same whether or not the account
    /// exists, and a success forgets the attempts.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn check(&self, credentials: Credentials) -> Result<User, SignInError> {
        let outcome = self.attempt(credentials).await;
        count_sign_in(match &outcome {
            Ok(_) => "signed_in",
            Err(SignInError::WrongCredentials) => "wrong_credentials",
            Err(SignInError::Throttled { .. }) => "throttled",
            Err(SignInError::Busy) => "busy",
            Err(SignInError::Store(_) | SignInError::Password(_) | SignInError::OpenSsl(_)) => "failed",
        });
        outcome
    }

    async fn attempt(&self, credentials: Credentials) -> Result<User, SignInError> {
        let Ok(name) = Username::parse(&credentials.username) else {
            self.hasher.verify(credentials.password, None).await.map_err(hashing)?;
            return Err(SignInError::WrongCredentials);
        };
        let exempt = self
            .policy
            .login
            .throttle_exempt
            .iter()
            .any(|exempt| exempt == name.as_str());
        let counters = if exempt {
            Vec::new()
        } else {
            self.counters(&credentials, &name)?
        };
        for (key, policy) in &counters {
            if let Attempt::Blocked(until) = self.throttle.count_attempt(key, *policy, self.clock.now()).await? {
                return Err(SignInError::Throttled { until });
            }
        }
        let outcome = self.compare(&credentials.tenant, &name, credentials.password).await;
        match &outcome {
            Ok(_) => self.forget(&counters).await?,
            Err(SignInError::WrongCredentials | SignInError::Throttled { .. }) => {}
            // Nobody learnt anything: who tries again into a busy service must not lock themselves out. What went wrong is told
            // whether or not that works.
            Err(SignInError::Busy | SignInError::Store(_) | SignInError::Password(_) | SignInError::OpenSsl(_)) => {
                for (key, _) in &counters {
                    let _ = self.throttle.forgive_attempt(key).await;
                }
            }
        }
        outcome
    }

    /// After a success the browser or address starts afresh; what others have guessed at the account stays counted.
    async fn forget(&self, counters: &[(ThrottleKey, ThrottlePolicy)]) -> Result<(), StoreError> {
        for (key, _) in counters {
            match key {
                ThrottleKey::Address(..) | ThrottleKey::KnownDevice(..) => self.throttle.clear_attempts(key).await?,
                _ => self.throttle.forgive_attempt(key).await?,
            }
        }
        Ok(())
    }

    async fn compare(&self, tenant: &TenantId, name: &Username, password: SecretString) -> Result<User, SignInError> {
        let user = self.users.find_user_by_name(tenant, name).await?;
        let hash = user.as_ref().and_then(|user| user.password.clone());
        let genuine = self.hasher.verify(password, hash).await.map_err(hashing)?;
        user.filter(|user| genuine && user.is_active())
            .ok_or(SignInError::WrongCredentials)
    }

    /// Checks credentials and opens a browser session, or renews the one that this person has in this browser. Somebody else's session in
    /// this browser ends.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn open_session(
        &self,
        credentials: Credentials,
        origin: Origin,
        before: Option<Session>,
    ) -> Result<(Session, User), SignInError> {
        let user = self.check(credentials).await?;
        let verified = user.password.as_ref().ok_or(SignInError::WrongCredentials)?;
        let now = self.clock.now();
        let expires_at = now + self.policy.lifetimes.session;
        if let Some(before) = before {
            if before.user != user.sub {
                self.sign_out.end_session(&before.sid).await?;
            } else if self
                .sessions
                .renew_session(&before.sid, verified, now, expires_at)
                .await?
            {
                return Ok((
                    Session {
                        auth_time: now,
                        last_seen_at: now,
                        expires_at,
                        ..before
                    },
                    user,
                ));
            }
        }
        let session = Session {
            sid: SessionId::new(self.entropy.id()),
            user: user.sub.clone(),
            tenant: user.tenant.clone(),
            auth_time: now,
            last_seen_at: now,
            expires_at,
            user_agent: origin.user_agent.chars().take(USER_AGENT_CHARACTERS).collect(),
            address: origin.address,
        };
        // The account may have been locked, or the password changed, while the old one was being compared.
        if !self.sessions.insert_session(&session, verified).await? {
            return Err(SignInError::WrongCredentials);
        }
        Ok((session, user))
    }

    fn counters(
        &self,
        credentials: &Credentials,
        name: &Username,
    ) -> Result<Vec<(ThrottleKey, ThrottlePolicy)>, SignInError> {
        let (tenant, policy) = (credentials.tenant.clone(), self.policy.login.throttle);
        let known = match &credentials.device {
            Some(cookie) => self.devices.read(cookie, &tenant, name)?,
            None => None,
        };
        if let Some(device) = known {
            return Ok(vec![(ThrottleKey::KnownDevice(tenant, name.clone(), device), policy)]);
        }
        let address = credentials.address.map(address_block).unwrap_or_default();
        Ok(vec![
            (ThrottleKey::Address(tenant.clone(), name.clone(), address), policy),
            (ThrottleKey::Account(tenant, name.clone()), policy.account_wide()),
        ])
    }
}

fn hashing(error: PasswordError) -> SignInError {
    match error {
        PasswordError::Busy => SignInError::Busy,
        PasswordError::TooLong => SignInError::WrongCredentials,
        PasswordError::CorruptHash | PasswordError::Failed => SignInError::Password(error),
    }
}

/// Marks of browsers that signed in to an account before: `<device>.<mac>`. They open nothing; they only keep a stranger's wrong
/// guesses from counting against the owner.
#[derive(Debug, Clone)]
pub struct DeviceCookies {
    key: MacKey,
}

impl DeviceCookies {
    /// `key` is derived from the master key for this purpose alone.
    pub fn new(key: MacKey) -> Self {
        Self { key }
    }

    /// A cookie for a browser that has just signed in.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn issue(&self, user: &User, entropy: &dyn Entropy) -> Result<String, SignInError> {
        let device = entropy.id();
        let mac = self
            .key
            .mac(&parts(&device, &user.tenant, &user.username))
            .map_err(openssl)?;
        Ok(format!("{device}.{}", URL_SAFE_NO_PAD.encode(mac)))
    }

    fn read(&self, cookie: &str, tenant: &TenantId, name: &Username) -> Result<Option<String>, SignInError> {
        let Some((device, mac)) = cookie.split_once('.') else {
            return Ok(None);
        };
        let Ok(mac) = URL_SAFE_NO_PAD.decode(mac) else {
            return Ok(None);
        };
        let genuine = self.key.verify(&parts(device, tenant, name), &mac).map_err(openssl)?;
        Ok(genuine.then(|| device.to_owned()))
    }
}

fn parts<'a>(device: &'a str, tenant: &'a TenantId, name: &'a Username) -> [&'a [u8]; 3] {
    [device.as_bytes(), tenant.as_str().as_bytes(), name.as_str().as_bytes()]
}

fn openssl(error: impl std::error::Error + Send + Sync + 'static) -> SignInError {
    SignInError::OpenSsl(Box::new(error))
}
