//! Whose word about people is taken: issuers of assertions that the operator has listed (RFC 7521 §3).

use std::{collections::BTreeSet, time::Duration};

use oauth_wire::{Scope, SigningAlg};
use token_keys::ClientKeys;

use crate::domain::ids::ClientId;

/// An issuer, and how far its word goes.
#[derive(Debug, Clone)]
pub struct AssertionIssuer {
    /// `iss` of its assertions, compared byte for byte.
    pub issuer: String,
    pub keys: IssuerKeys,
    /// By which it may sign; never empty.
    pub algs: Vec<SigningAlg>,
    /// Who may present its assertions.
    pub clients: BTreeSet<ClientId>,
    /// The most that a token has which its assertion brings about.
    pub scopes: Scope,
    pub names: NamedBy,
    /// Longest lifetime of an assertion that is left.
    pub max_lifetime: Duration,
}

/// Where its keys are.
#[derive(Debug, Clone)]
pub enum IssuerKeys {
    /// In the configuration.
    Listed(ClientKeys),
    /// At a URL.
    At(String),
}

/// What of an account its `sub` is. An e-mail address is nothing to know people by: they change, and come to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    Username,
    Sub,
}
