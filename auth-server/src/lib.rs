//! OAuth 2.1 / OpenID Connect provider.
