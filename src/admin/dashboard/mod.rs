//! The dashboard: one page in the binary, which shows what the admin API tells.
//!
//! The page is written by hand, without a framework and without a build step: what is in this
//! folder is what browsers get, and it loads nothing from elsewhere. Its charts are SVG that it
//! draws itself. It has two kinds of them, lines and steps over the last hour, which take less code
//! than the settings of a chart library would; and a library would be most of the page's bytes, a
//! licence to carry and a copy to keep up to date.
//!
//! The page is open to all that reach this listener, and reveals nothing. It asks the API for
//! everything, under the rules of all clients of the API: it sends the token that its user gives
//! it, and keeps it for the browser's tab only. All texts become text nodes, never markup; the
//! content security policy forbids what is not from this listener, scripts in the page included.

use std::sync::LazyLock;

use axum::body::Body;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::call::Call;
use super::operation::Answer;
use super::problem::Kind;

/// Nothing from elsewhere, nothing within the page, and no page around it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// A copy is kept, and this listener is asked whether it is the newest.
const REVALIDATED: HeaderValue = HeaderValue::from_static("no-cache");

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the dashboard.
struct File {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

/// All files; the first one is the page.
static FILES: [File; 10] = [
    file("index.html", HTML, include_str!("index.html")),
    file("style.css", CSS, include_str!("style.css")),
    file("icon.svg", SVG, include_str!("icon.svg")),
    file("main.js", SCRIPT, include_str!("main.js")),
    file("api.js", SCRIPT, include_str!("api.js")),
    file("dom.js", SCRIPT, include_str!("dom.js")),
    file("format.js", SCRIPT, include_str!("format.js")),
    file("charts.js", SCRIPT, include_str!("charts.js")),
    file("findings.js", SCRIPT, include_str!("findings.js")),
    file("views.js", SCRIPT, include_str!("views.js")),
];

/// The validator of each file, from its content.
static TAGS: LazyLock<[HeaderValue; FILES.len()]> =
    LazyLock::new(|| std::array::from_fn(|index| tag(FILES[index].text)));

const fn file(name: &'static str, media_type: &'static str, text: &'static str) -> File {
    File {
        name,
        media_type,
        text,
    }
}

#[allow(clippy::unnecessary_wraps, reason = "all operations have one type")]
pub(super) fn page(call: &Call) -> Answer {
    Ok(answer(0, &call.headers))
}

pub(super) fn file_of(call: &Call) -> Answer {
    let name = call.part("file");
    let found = FILES.iter().position(|file| file.name == name);
    let unknown = || Kind::NotFound.because(format!("the dashboard has no file `{name}`"));
    Ok(answer(found.ok_or_else(unknown)?, &call.headers))
}

fn answer(index: usize, asked: &HeaderMap) -> Response<Body> {
    let (file, tag) = (&FILES[index], &TAGS[index]);
    let mut response = Response::new(Body::empty());
    if is_known(asked, tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = Body::from(Bytes::from_static(file.text.as_bytes()));
        let media_type = HeaderValue::from_static(file.media_type);
        response.headers_mut().insert(CONTENT_TYPE, media_type);
    }
    let headers = response.headers_mut();
    headers.insert(ETAG, tag.clone());
    headers.insert(CACHE_CONTROL, REVALIDATED);
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Whether the client has this version (RFC 9110, section 13.1.2: the weak comparison).
fn is_known(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = asked.get_all(IF_NONE_MATCH).iter();
    let mut known = known.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    known.any(|known| {
        let known = known.trim_ascii();
        let known = known.strip_prefix(b"W/").unwrap_or(known);
        known == b"*" || known == tag.as_bytes()
    })
}

fn tag(text: &str) -> HeaderValue {
    let digest = Sha256::digest(text);
    let mut hash = [0; 8];
    hash.copy_from_slice(&digest[..8]);
    let tag = format!("\"{:016x}\"", u64::from_be_bytes(hash));
    // Quotes and hexadecimal digits are always a legal value.
    HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""))
}
