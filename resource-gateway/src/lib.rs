//! AI gateway: verifies tokens, applies an interface's policy, calls vendors, accounts for usage.
