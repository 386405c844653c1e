//! The names of fields that Weir cares about, each one byte.

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
}

impl FieldName {
    /// The name that these bytes spell, in whatever case (RFC 9110 section 5.1).
    pub fn from_bytes(name: &[u8]) -> Self {
        if name.is_empty() {
            return Self::Other;
        }
        let known = TABLE[slot(name)];
        if is_same_name(name, known.as_str().as_bytes()) {
            known
        } else {
            Self::Other
        }
    }

    /// As [`FieldName::from_bytes`], for a name of which `groups` has all bytes, perhaps with others
    /// behind them.
    #[inline]
    pub(crate) fn from_groups(name: &[u8], groups: &[u64; MAX_GROUPS]) -> Self {
        if name.is_empty() {
            return Self::Other;
        }
        let known = TABLE[slot(name)];
        let Some(pattern) = PATTERNS.get(known as usize) else {
            return Self::Other;
        };
        let mut difference = (pattern.length ^ name.len()) as u64;
        for (group, (bytes, mask)) in groups.iter().zip(&pattern.groups) {
            difference |= (group ^ bytes) & mask;
        }
        if difference == 0 { known } else { Self::Other }
    }
}

/// Groups of eight bytes that the longest known name fills.
pub(crate) const MAX_GROUPS: usize = 4;

/// A known name in groups of eight bytes, each with the bits that must be equal.
#[derive(Clone, Copy)]
struct Pattern {
    length: usize,
    groups: [(u64, u64); MAX_GROUPS],
}

static PATTERNS: [Pattern; FieldName::ALL.len() + 1] = patterns();

const fn patterns() -> [Pattern; FieldName::ALL.len() + 1] {
    let empty = Pattern {
        length: 0,
        groups: [(0, 0); MAX_GROUPS],
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
    let mut groups = [(0, 0); MAX_GROUPS];
    let mut at = 0;
    while at < name.len() {
        let shift = at % 8 * 8;
        let (known, mask) = &mut groups[at / 8];
        *known |= (name[at] as u64) << shift;
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
        groups,
    }
}

/// The one name that may stand in each slot.
static TABLE: [FieldName; 256] = table();

/// A slot that no two known names share; the compiler checks it in [`table`].
const fn slot(name: &[u8]) -> usize {
    let length = name.len();
    let sum = length * 21
        + lower(name[0]) * 13
        + lower(name[length - 1]) * 58
        + lower(name[length * 3 / 4]) * 19;
    sum % 256
}

/// Lower case for letters; a hyphen and digits stay as they are.
const fn lower(byte: u8) -> usize {
    (byte | 0x20) as usize
}

const fn table() -> [FieldName; 256] {
    let mut table = [FieldName::Other; 256];
    let mut index = 0;
    while index < FieldName::ALL.len() {
        let name = FieldName::ALL[index];
        let slot = slot(name.as_str().as_bytes());
        assert!(
            matches!(table[slot], FieldName::Other),
            "two names share a slot"
        );
        table[slot] = name;
        index += 1;
    }
    table
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

    /// The groups of a name with a value behind it.
    fn groups(name: &[u8]) -> [u64; MAX_GROUPS] {
        let bytes = [name, &[b':'; 8 * MAX_GROUPS]].concat();
        let groups = bytes.as_chunks::<8>().0;
        std::array::from_fn(|index| u64::from_le_bytes(groups[index]))
    }

    #[test]
    fn every_name_is_found_in_every_case() {
        assert!(FieldName::ALL.len() > 60);
        for name in FieldName::ALL {
            let text = name.as_str();
            for spelling in [text.to_owned(), text.to_lowercase(), text.to_uppercase()] {
                assert_eq!(FieldName::from_bytes(spelling.as_bytes()), *name);
                let (name_bytes, groups) = (spelling.as_bytes(), groups(spelling.as_bytes()));
                assert_eq!(FieldName::from_groups(name_bytes, &groups), *name);
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
                    let other = FieldName::from_groups(&text, &groups(&text));
                    assert_ne!(other, *name, "{text:?}");
                }
            }
        }
    }
}
