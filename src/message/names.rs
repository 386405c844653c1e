//! The names of fields that Weir cares about, and of some that most messages have: each one byte.

use super::chunk::{self, Chunk};

macro_rules! names {
    ($($variant:ident $text:literal,)*) => {
        /// The name of a field, as far as Weir knows it.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum FieldName {
            /// A name without a meaning to Weir.
            #[default]
            Other,
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl FieldName {
            /// All names but [`FieldName::Other`].
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As RFCs spell it; empty for [`FieldName::Other`].
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::Other => "",
                    $(Self::$variant => $text,)*
                }
            }

            /// As RFCs spell it, with a colon and a space behind it.
            pub(super) const fn with_colon(self) -> &'static str {
                match self {
                    Self::Other => ": ",
                    $(Self::$variant => concat!($text, ": "),)*
                }
            }
        }
    };
}

names! {
    Host "Host",
    Connection "Connection",
    KeepAlive "Keep-Alive",
    ProxyConnection "Proxy-Connection",
    Te "TE",
    Trailer "Trailer",
    TransferEncoding "Transfer-Encoding",
    Upgrade "Upgrade",
    Http2Settings "HTTP2-Settings",
    ContentLength "Content-Length",
    ContentType "Content-Type",
    ContentEncoding "Content-Encoding",
    ContentRange "Content-Range",
    ContentLocation "Content-Location",
    ContentLanguage "Content-Language",
    Expect "Expect",
    MaxForwards "Max-Forwards",
    Via "Via",
    Date "Date",
    Server "Server",
    Age "Age",
    Expires "Expires",
    Vary "Vary",
    Warning "Warning",
    Pragma "Pragma",
    CacheControl "Cache-Control",
    Location "Location",
    RetryAfter "Retry-After",
    Allow "Allow",
    Cookie "Cookie",
    SetCookie "Set-Cookie",
    Authorization "Authorization",
    AuthenticationInfo "Authentication-Info",
    WwwAuthenticate "WWW-Authenticate",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    ProxyAuthenticationInfo "Proxy-Authentication-Info",
    Forwarded "Forwarded",
    XForwardedFor "X-Forwarded-For",
    XForwardedProto "X-Forwarded-Proto",
    XForwardedHost "X-Forwarded-Host",
    XForwardedPort "X-Forwarded-Port",
    XForwardedSsl "X-Forwarded-Ssl",
    XForwardedScheme "X-Forwarded-Scheme",
    XForwardedPrefix "X-Forwarded-Prefix",
    XRealIp "X-Real-IP",
    TrueClientIp "True-Client-IP",
    XClientIp "X-Client-IP",
    XOriginalUrl "X-Original-URL",
    XRewriteUrl "X-Rewrite-URL",
    XRequestId "X-Request-Id",
    XAmznTraceId "X-Amzn-Trace-Id",
    Traceparent "traceparent",
    Tracestate "tracestate",
    Origin "Origin",
    Referer "Referer",
    UserAgent "User-Agent",
    Accept "Accept",
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    AcceptRanges "Accept-Ranges",
    Range "Range",
    LastModified "Last-Modified",
    ETag "ETag",
    IfMatch "If-Match",
    IfNoneMatch "If-None-Match",
    IfModifiedSince "If-Modified-Since",
    IfUnmodifiedSince "If-Unmodified-Since",
    IfRange "If-Range",
    SecWebSocketKey "Sec-WebSocket-Key",
    SecWebSocketVersion "Sec-WebSocket-Version",
    SecWebSocketAccept "Sec-WebSocket-Accept",
    SecWebSocketProtocol "Sec-WebSocket-Protocol",
    SecWebSocketExtensions "Sec-WebSocket-Extensions",
    SecFetchSite "Sec-Fetch-Site",
    SecFetchMode "Sec-Fetch-Mode",
    SecFetchDest "Sec-Fetch-Dest",
    SecFetchUser "Sec-Fetch-User",
    SecChUa "Sec-CH-UA",
    SecChUaMobile "Sec-CH-UA-Mobile",
    SecChUaPlatform "Sec-CH-UA-Platform",
    UpgradeInsecureRequests "Upgrade-Insecure-Requests",
    Dnt "DNT",
    Priority "Priority",
    XRequestedWith "X-Requested-With",
    Link "Link",
    AltSvc "Alt-Svc",
    StrictTransportSecurity "Strict-Transport-Security",
    ContentSecurityPolicy "Content-Security-Policy",
    ContentDisposition "Content-Disposition",
    ReferrerPolicy "Referrer-Policy",
    XContentTypeOptions "X-Content-Type-Options",
    XFrameOptions "X-Frame-Options",
    AccessControlAllowOrigin "Access-Control-Allow-Origin",
    XPoweredBy "X-Powered-By",
}

impl FieldName {
    /// The name that these bytes spell, in whatever case (RFC 9110 section 5.1).
    pub fn from_bytes(name: &[u8]) -> Self {
        let chunks = [chunk::at(name, 0), chunk::at(name, chunk::LENGTH)];
        Self::from_chunks(name.len(), chunks)
    }

    /// As [`FieldName::from_bytes`], for a name of so many bytes: those of the chunks, in which
    /// others may stand behind them.
    #[inline]
    pub(crate) fn from_chunks(length: usize, chunks: [Chunk; 2]) -> Self {
        let Some(mask) = MASKS.get(length.min(chunk::LENGTH)) else {
            return Self::Other;
        };
        let known = TABLE[slot(length, (chunks[0] | CASE) & mask)];
        let pattern = &PATTERNS[known as usize];
        let mut difference = (chunks[0] ^ pattern.chunks[0].0) & pattern.chunks[0].1;
        if length > chunk::LENGTH {
            difference |= (chunks[1] ^ pattern.chunks[1].0) & pattern.chunks[1].1;
        }
        if difference == 0 && pattern.length == length {
            known
        } else {
            Self::Other
        }
    }
}

/// The bit in which upper case and lower case differ. The other bytes of names, digits and hyphens,
/// have it as well.
const CASE: Chunk = Chunk::MAX / 255 * 0x20;

/// The first bytes of a chunk, by their number.
static MASKS: [Chunk; chunk::LENGTH + 1] = masks();

const fn masks() -> [Chunk; chunk::LENGTH + 1] {
    let mut masks = [0; chunk::LENGTH + 1];
    let mut length = 1;
    while length <= chunk::LENGTH {
        masks[length] = Chunk::MAX >> (8 * (chunk::LENGTH - length));
        length += 1;
    }
    masks
}

/// A known name in chunks of sixteen bytes, each with the bits that must be equal.
#[derive(Clone, Copy)]
struct Pattern {
    length: usize,
    chunks: [(Chunk, Chunk); 2],
}

static PATTERNS: [Pattern; FieldName::ALL.len() + 1] = patterns();

const fn patterns() -> [Pattern; FieldName::ALL.len() + 1] {
    let empty = Pattern {
        length: 0,
        chunks: [(0, 0); 2],
    };
    let mut patterns = [empty; FieldName::ALL.len() + 1];
    let mut index = 0;
    while index < FieldName::ALL.len() {
        let name = FieldName::ALL[index];
        patterns[name as usize] = pattern(name.as_str().as_bytes());
        index += 1;
    }
    patterns
}

const fn pattern(name: &[u8]) -> Pattern {
    let mut chunks = [(0, 0); 2];
    let mut at = 0;
    while at < name.len() {
        let shift = at % chunk::LENGTH * 8;
        let (known, mask) = &mut chunks[at / chunk::LENGTH];
        *known |= (name[at] as Chunk) << shift;
        // The case of a letter may differ.
        let bits = if name[at].is_ascii_alphabetic() {
            0xdf
        } else {
            0xff
        };
        *mask |= bits << shift;
        at += 1;
    }
    Pattern {
        length: name.len(),
        chunks,
    }
}

/// The one name that may stand in each slot.
static TABLE: [FieldName; SLOTS] = table();

const SLOTS: usize = 512;

/// A slot that no two known names share; the compiler checks it in [`table`]. `text` is the name in
/// lower case, or its first chunk.
const fn slot(length: usize, text: Chunk) -> usize {
    let (low, high) = (text as u64, (text >> 64) as u64);
    let low = low.wrapping_add(length as u64).wrapping_mul(FACTORS.0);
    let high = high.wrapping_mul(FACTORS.1);
    ((low ^ high) >> (64 - SLOTS.trailing_zeros())) as usize
}

/// Found by trial.
const FACTORS: (u64, u64) = (0xec90_8af5_9335_43c1, 0x2f58_679d_8a79_d4a5);

const fn table() -> [FieldName; SLOTS] {
    let mut table = [FieldName::Other; SLOTS];
    let mut index = 0;
    while index < FieldName::ALL.len() {
        let name = FieldName::ALL[index];
        let text = name.as_str().as_bytes();
        let slot = slot(text.len(), folded(text));
        assert!(
            matches!(table[slot], FieldName::Other),
            "two names share a slot"
        );
        table[slot] = name;
        index += 1;
    }
    table
}

/// The first chunk of a name in lower case.
const fn folded(name: &[u8]) -> Chunk {
    let mut text = 0;
    let mut at = 0;
    while at < name.len() && at < chunk::LENGTH {
        text |= ((name[at] | 0x20) as Chunk) << (8 * at);
        at += 1;
    }
    text
}

/// Whether a text is a known name, without regard to case. A known name consists of letters, digits
/// and hyphens.
pub(crate) fn is_same_name(text: &[u8], known: &[u8]) -> bool {
    if text.len() != known.len() {
        return false;
    }
    // The last group overlaps with the one before it.
    if let (Some(a), Some(b)) = (text.last_chunk::<8>(), known.last_chunk::<8>()) {
        let (groups_a, groups_b) = (text.as_chunks::<8>().0, known.as_chunks::<8>().0);
        let mut pairs = groups_a.iter().zip(groups_b);
        return same(word(*a), word(*b)) && pairs.all(|(a, b)| same(word(*a), word(*b)));
    }
    if let (Some(a), Some(b)) = (text.last_chunk::<4>(), known.last_chunk::<4>())
        && let (Some(c), Some(d)) = (text.first_chunk::<4>(), known.first_chunk::<4>())
    {
        return same(half(*a), half(*b)) && same(half(*c), half(*d));
    }
    text.eq_ignore_ascii_case(known)
}

/// Whether eight bytes are those of a known name. Letters, and of the bytes of known names only
/// they, have the bit 0x40; they may differ in the bit 0x20, which is their case. Others must be
/// equal: a CR differs from a hyphen in that bit.
fn same(text: u64, known: u64) -> bool {
    let case = (known >> 1) & 0x2020_2020_2020_2020;
    (text ^ known) & !case == 0
}

fn word(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes)
}

fn half(bytes: [u8; 4]) -> u64 {
    u64::from(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chunks of a name with a value behind it.
    fn chunks(name: &[u8]) -> [Chunk; 2] {
        let line = [name, &[b':'; 2 * chunk::LENGTH]].concat();
        [chunk::at(&line, 0), chunk::at(&line, chunk::LENGTH)]
    }

    #[test]
    fn every_name_is_found_in_every_case() {
        assert!(FieldName::ALL.len() > 60);
        for name in FieldName::ALL {
            let text = name.as_str();
            for spelling in [text.to_owned(), text.to_lowercase(), text.to_uppercase()] {
                assert_eq!(FieldName::from_bytes(spelling.as_bytes()), *name);
                let chunks = chunks(spelling.as_bytes());
                assert_eq!(FieldName::from_chunks(text.len(), chunks), *name);
            }
        }
    }

    #[test]
    fn a_name_with_one_other_byte_is_another_name() {
        for name in FieldName::ALL {
            for at in 0..name.as_str().len() {
                for other in 0..=u8::MAX {
                    let mut text = name.as_str().as_bytes().to_vec();
                    if text[at].eq_ignore_ascii_case(&other) {
                        continue;
                    }
                    text[at] = other;
                    assert_ne!(FieldName::from_bytes(&text), *name, "{text:?}");
                    let other = FieldName::from_chunks(text.len(), chunks(&text));
                    assert_ne!(other, *name, "{text:?}");
                }
            }
        }
    }
}
