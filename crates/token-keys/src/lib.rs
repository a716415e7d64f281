//! josekit behind our own types: master key, sealing, key generation, JWKS, signing, verification.
