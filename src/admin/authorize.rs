//! The token of the admin listener.

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::response::ErrorResponse;
use crate::state::Snapshot;

/// Refuses a request without the token of the configuration.
pub(super) fn with_token(headers: &HeaderMap, snapshot: &Snapshot) -> Result<(), ErrorResponse> {
    let admin = snapshot.config.admin.as_ref();
    let Some(token) = admin.and_then(|admin| admin.token.as_ref()) else {
        let message = "targets can be changed once the configuration has a token: \
                       set `token` or `token_file` in its `admin` table";
        return Err(ErrorResponse::new(StatusCode::FORBIDDEN, message));
    };
    let message = match bearer(headers) {
        Some(given) if is_same(given, &token.0) => return Ok(()),
        Some(_) => "this is not the token of the configuration",
        None => "this needs the token of the configuration: `Authorization: Bearer …`",
    };
    let refusal = ErrorResponse::new(StatusCode::UNAUTHORIZED, message);
    Err(refusal.with_field(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
}

/// The token of the request (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares in a time that reveals nothing about the token: neither how much of it is right, nor
/// how long it is.
fn is_same(given: &str, token: &str) -> bool {
    let (given, token) = (Sha256::digest(given), Sha256::digest(token));
    given[..].ct_eq(&token[..]).into()
}
