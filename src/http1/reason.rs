//! What may be said against a message.

use std::fmt;

/// How dangerous a fault is, as AWS's load balancers class requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Against no rule, though it may exceed a limit or ask for what Weir does not have.
    Compliant,
    /// Against a rule, and read alike by all recipients.
    Acceptable,
    /// Recipients are known to disagree where such a message ends or what it says.
    Ambiguous,
    /// Cannot be forwarded without a guess.
    Severe,
}

impl Class {
    /// For the log and for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Acceptable => "acceptable",
            Self::Ambiguous => "ambiguous",
            Self::Severe => "severe",
        }
    }
}

macro_rules! reasons {
    ($($variant:ident $name:literal $class:ident $status:literal $section:literal $doc:literal)*) => {
        /// A fault of a message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $doc] $variant,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// A short name that stays, for the log and for metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How dangerous it is.
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }

            /// The status of the answer if a request with it is refused.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The rule that it is against.
            pub const fn section(self) -> &'static str {
                match self { $(Self::$variant => $section,)* }
            }
        }
    };
}

// Acceptable and ambiguous ones are about messages that are taken; the others are refused in every
// mode, because to forward such a message is to choose one of its readings.
reasons! {
    LooseTarget "loose_target" Acceptable 400 "RFC 3986 section 2"
        "The target has bytes that only browsers think are allowed."
    NonCompliantVersion "non_compliant_version" Acceptable 400 "RFC 9110 section 2.5"
        "A minor version above 1, which is read as HTTP/1.1."
    NonAsciiValue "non_ascii_value" Acceptable 400 "RFC 9110 section 5.5"
        "A field value has bytes beyond ASCII, which pass."
    LookAlikeField "look_alike_field" Acceptable 400 "RFC 3875 section 4.1.18"
        "A CGI would take a field for one that says from where the request came."
    ZeroContentLength "get_head_zero_content_length" Acceptable 400 "RFC 9110 section 8.6"
        "A GET or HEAD request says that it has no content."
    MissingReasonSpace "missing_reason_space" Acceptable 400 "RFC 9112 section 4"
        "A status line ends after the status."
    StatusOutOfRange "status_out_of_range" Acceptable 400 "RFC 9110 section 15"
        "A status above 599."

    SuspiciousField "suspicious_header" Ambiguous 400 "RFC 3875 section 4.1.18"
        "A CGI would take a field for Content-Length or Transfer-Encoding."
    UndefinedContentLength "undefined_content_length_semantics" Ambiguous 400 "RFC 9110 section 9.3.1"
        "A GET or HEAD request has content of a known length."
    UndefinedTransferCoding "undefined_transfer_encoding_semantics" Ambiguous 400 "RFC 9110 section 9.3.1"
        "A GET or HEAD request has content in chunks."
    DuplicateContentLength "duplicate_content_length" Ambiguous 400 "RFC 9112 section 6.3"
        "Content-Length says the same more than once; it is forwarded once."
    PaddedContentLength "padded_content_length" Ambiguous 400 "RFC 9110 section 8.6"
        "Content-Length begins with a zero; it is forwarded without."
    BothLengths "both_te_cl_present" Ambiguous 400 "RFC 9112 section 6.3"
        "Transfer-Encoding and Content-Length: a request goes on without the second and is the last on its connection, a response is refused."

    BareLf "bare_lf" Severe 400 "RFC 9112 section 2.2"
        "A line ends with LF alone."
    BareCr "bare_cr" Severe 400 "RFC 9112 section 2.2"
        "A CR without LF."
    NulByte "nul_byte" Severe 400 "RFC 9110 section 5.5"
        "A NUL."
    ControlByte "control_byte" Severe 400 "RFC 9110 section 5.5"
        "Another control character."
    TooManyEmptyLines "too_many_empty_lines" Severe 400 "RFC 9112 section 2.2"
        "More empty lines before a request than a client could send by mistake."

    TlsHello "tls_hello" Compliant 400 "RFC 9112 section 3"
        "The beginning of a TLS handshake."
    Http2Preface "http2_preface" Compliant 505 "RFC 9113 section 3.4"
        "The preface of HTTP/2."
    BadMethod "bad_method" Severe 400 "RFC 9110 section 9.1"
        "The method is no token."
    MethodTooLong "method_too_long" Compliant 501 "RFC 9112 section 3"
        "The method is longer than any that is known."
    MissingTarget "missing_target" Severe 400 "RFC 9112 section 3"
        "No target, or two spaces before it."
    BadTarget "bad_target" Severe 400 "RFC 9112 section 3.2"
        "The target has a byte that RFC 3986 does not allow."
    FragmentInTarget "fragment_in_target" Severe 400 "RFC 9112 section 3.2"
        "The target has a fragment."
    BadPercentEncoding "bad_percent_encoding" Severe 400 "RFC 3986 section 2.1"
        "A percent sign without two hexadecimal digits."
    BadTargetForm "bad_target_form" Severe 400 "RFC 9112 section 3.2"
        "The target has none of the forms that its method allows."
    UnknownScheme "unknown_scheme" Severe 400 "RFC 9110 section 4.2"
        "A URI with a scheme other than http and https."
    BadAuthority "bad_authority" Severe 400 "RFC 9110 section 4.2.1"
        "The authority of a target has no host or is against its grammar."
    UserInfo "user_info" Severe 400 "RFC 9110 section 4.2.4"
        "The authority of a target has a user's name in it."
    TargetTooLong "target_too_long" Compliant 414 "RFC 9112 section 3"
        "The target exceeds its limit."
    SpaceInTarget "space_in_target" Severe 400 "RFC 9112 section 3.2"
        "The request line has more than two spaces."
    MissingVersion "missing_version" Severe 400 "RFC 9112 section 3"
        "A request line without version, as of HTTP/0.9."
    BadVersion "bad_version" Severe 400 "RFC 9112 section 2.3"
        "The version is not `HTTP/`, a digit, a dot and a digit."
    UnsupportedVersion "unsupported_version" Compliant 505 "RFC 9110 section 2.5"
        "A major version other than 1."

    HeadTooLarge "head_too_large" Compliant 431 "RFC 9110 section 5.4"
        "The head exceeds its limit."
    TooManyFields "too_many_fields" Compliant 431 "RFC 9110 section 5.4"
        "More field lines than allowed."
    WhitespaceBeforeFields "whitespace_before_fields" Severe 400 "RFC 9112 section 2.2"
        "The first field line begins with whitespace."
    ObsFold "obs_fold" Severe 400 "RFC 9112 section 5.2"
        "A field line begins with whitespace."
    EmptyFieldName "empty_field_name" Severe 400 "RFC 9110 section 5.1"
        "A field line begins with its colon."
    SpaceInFieldName "space_in_field_name" Severe 400 "RFC 9112 section 5.1"
        "Whitespace in a name or before its colon."
    BadFieldName "bad_field_name" Severe 400 "RFC 9110 section 5.1"
        "The name of a field is no token."
    MissingColon "missing_colon" Severe 400 "RFC 9112 section 5"
        "A field line without colon."

    MissingHost "missing_host" Severe 400 "RFC 9112 section 3.2"
        "An HTTP/1.1 request without Host."
    DuplicateHost "duplicate_host" Severe 400 "RFC 9112 section 3.2"
        "More than one Host field."
    BadHost "bad_host" Severe 400 "RFC 9110 section 7.2"
        "Host is not a host and perhaps a port."

    BadContentLength "bad_content_length" Severe 400 "RFC 9112 section 6.3"
        "Content-Length is no number of digits, or too large."
    DifferentContentLengths "multiple_content_length" Severe 400 "RFC 9112 section 6.3"
        "Content-Length says different things."
    BadTransferCoding "bad_transfer_encoding" Severe 400 "RFC 9112 section 6.1"
        "Transfer-Encoding is no list of codings."
    RepeatedChunked "multiple_transfer_encoding_chunked" Severe 400 "RFC 9112 section 6.1"
        "The chunked coding is there more than once."
    ChunkedNotFinal "chunked_not_final" Severe 400 "RFC 9112 section 6.3"
        "The last transfer coding is not chunked."
    UnknownCoding "unknown_transfer_coding" Compliant 501 "RFC 9112 section 6.1"
        "A transfer coding besides chunked."
    TransferCodingIn10 "transfer_encoding_in_http10" Severe 400 "RFC 9112 section 6.1"
        "Transfer-Encoding in a message of HTTP/1.0."

    BadStatusLine "bad_status_line" Severe 400 "RFC 9112 section 4"
        "No status line."
    BadStatus "bad_status" Severe 400 "RFC 9112 section 4"
        "The status is not three digits, or below 100."

    BadChunkSize "bad_chunk_size" Severe 400 "RFC 9112 section 7.1"
        "The size of a chunk is no hexadecimal number, or too large."
    BadChunkExtension "bad_chunk_extension" Severe 400 "RFC 9112 section 7.1.1"
        "An extension of a chunk is against its grammar."
    ChunkExtensionsTooLong "chunk_extensions_too_long" Severe 400 "RFC 9112 section 7.1.1"
        "The extensions of a chunk, or of all chunks for the data that came, exceed their limit."
    BadChunkEnd "bad_chunk_end" Severe 400 "RFC 9112 section 7.1"
        "The data of a chunk is not followed by CRLF."
    TrailersTooLarge "trailers_too_large" Compliant 431 "RFC 9112 section 7.1.2"
        "The trailer section exceeds its limit."
}

impl Reason {
    /// Keeps the worse of two, and of equal ones the first.
    pub(super) fn note(self, worst: &mut Option<Self>) {
        if worst.is_none_or(|known| known.class() < self.class()) {
            *worst = Some(self);
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.as_str(), self.section())
    }
}

/// A message that cannot be taken, whatever the mode. Nothing that follows it on its connection
/// can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong with it.
    pub reason: Reason,
}

impl From<Reason> for Violation {
    fn from(reason: Reason) -> Self {
        Self { reason }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for Violation {}
