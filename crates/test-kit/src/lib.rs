//! Test doubles that both services share: fixed clock, seeded entropy.
