//! What the `claims` parameter asks for (OpenID Connect Core §5.5), as far as it may be granted.

use std::collections::BTreeSet;

use oauth_wire::{Form, OAuthErrorCode, Scope};

use super::Authorize;
use crate::{
    application::{issue::ACR_PASSWORD, policy::OPENID, subjects::Subjects},
    domain::{
        claims_request::{ClaimNames, ClaimsRequest},
        client::Client,
        ids::UserId,
        user::scope_of_claim,
    },
};

/// The parameter, judged.
#[derive(Default)]
pub(crate) struct AskedClaims {
    pub(crate) names: ClaimNames,
    /// The people of whom one has to sign in.
    pub(crate) users: Option<BTreeSet<UserId>>,
}

impl Authorize {
    pub(super) fn claims(
        &self,
        form: &mut Form,
        client: &Client,
        scope: &Scope,
    ) -> Result<AskedClaims, (OAuthErrorCode, &'static str)> {
        match form.take("claims") {
            None => Ok(AskedClaims::default()),
            Some(text) => asked_claims(&text, client, scope, &self.subjects),
        }
    }
}

/// Judges the parameter, wherever it comes in.
pub(crate) fn asked_claims(
    text: &str,
    client: &Client,
    scope: &Scope,
    subjects: &Subjects,
) -> Result<AskedClaims, (OAuthErrorCode, &'static str)> {
    let asked = ClaimsRequest::parse(text).map_err(|fault| (OAuthErrorCode::InvalidRequest, fault.description()))?;
    // Without openid there is neither an ID token nor userinfo that could answer.
    if !scope.contains(OPENID) {
        return Ok(AskedClaims::default());
    }
    // OpenID Connect Core §5.5.1.1: an essential class that cannot be met is a failed sign-in.
    if asked
        .essential_acr
        .is_some_and(|classes| !classes.contains(ACR_PASSWORD))
    {
        return Err((
            OAuthErrorCode::UnmetAuthenticationRequirements,
            "no sign-in here meets the acr that claims asks for as essential",
        ));
    }
    // The people whom the client knows by these subjects.
    let named = |subs: BTreeSet<String>| subs.iter().filter_map(|sub| subjects.known_to(client, sub)).collect();
    let users: Option<BTreeSet<UserId>> = asked.subjects.map(named);
    if users.as_ref().is_some_and(BTreeSet::is_empty) {
        return Err((OAuthErrorCode::LoginRequired, "nobody is the sub that claims asks for"));
    }
    let mut names = asked.names;
    // Asking one by one opens nothing that the operator did not mean the client to see. What is not answered is not told apart from
    // what the person does not have (§5.5.1: absent claims are no error).
    names.retain(|name| scope_of_claim(name).is_some_and(|scope| client.scope.contains(scope)));
    Ok(AskedClaims { names, users })
}
