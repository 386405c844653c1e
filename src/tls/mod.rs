//! What TLS is made of, without any input or output: certificates as they are in files, which of
//! them a client gets, what an authority is answered that asks by ACME, by which authorities
//! clients are known, the keys of session tickets, and the host in a hello that passes by.
//!
//! Everything that can be wrong is found when a file is read: a [`ServerSettings`] that exists can
//! be served with. The cryptography is ring's alone; TLS 1.2 and 1.3 with the suites that rustls
//! takes for safe, which all have forward secrecy. There is no renegotiation, no compression and
//! no early data, which could be replayed.

mod acme;
mod certificate;
mod client;
mod client_auth;
mod facts;
mod hello;
mod provider;
mod server;
mod tickets;

pub use acme::{
    AcmeSettings, CHALLENGE_PROTOCOL, Challenge, ChallengeKind, Challenges, DomainError,
    ExternalAccount, check_domain,
};
pub use certificate::{Certificate, CertificateError, Doubt};
pub use client::{Authorities, Client, Trust};
pub use client_auth::{ClientAuth, ClientAuthError, ClientAuthMode};
pub use facts::{facts, target_facts};
pub use hello::{ClientHello, MAX_CLIENT_HELLO};
pub use server::{MinVersion, Server, ServerSettings};
