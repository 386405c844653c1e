//! `[[listener]]`: where requests come in, and what their clients may take.

use super::action::{FIXED_RESPONSE, REDIRECT, WEIGHTED_GROUP};
use super::bounds::{BODY_RATE, RATE, SESSION, TIMEOUT};
use super::filter::{FIELD_EDITS, REWRITE};
use super::key::DefaultValue::{Count, Described, Flag, Required, Text};
use super::key::{ANY, Kind, Table, key, kib, secs};
use super::rule::RULE;
use super::words::names;
use crate::model::{
    AcceptProxy, DesyncMitigation, EncodedSlashes, FieldNames, ForwardedFormat, ForwardedMode,
    NormalizePath, Protocol,
};
use crate::tls::{ChallengeKind, ClientAuthMode, MinVersion};

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static LISTENER: Table = Table { path: "listener", heading: "[[listener]]", keys: &[
    key("name", Kind::Value("1 to 64 letters, digits, `-`, `_` and `.`"), Described("the address"), "in logs and metrics"),
    key("bind", Kind::Value("IP address and port, or `unix:` and a path"), Required,
        "where it listens; port 0 takes a free one")
        .called("listen address addr port socket"),
    key("socket_mode", Kind::Value("octal digits, `\"0660\"`"), Described("what the umask leaves"),
        "permissions of the file of a Unix socket: those that may write may connect")
        .called("permissions perms socket_permissions"),
    key("protocol", Kind::Word(names::<Protocol>), Text("http1"),
        "\"tcp\": each connection of a client gets one to a target of a group of the same protocol, and no byte is looked at, \
         or of rules with `host` the TLS hello")
        .called("mode"),
    key("proxy_protocol", Kind::Word(names::<AcceptProxy>), Text("off"),
        "\"required\": only the trusted_proxies connect, and name the client in a header of the PROXY protocol, version 1 or 2; \
         \"optional\": they may, and other clients connect as well")
        .called("accept_proxy send_proxy proxyprotocol proxy_protocol_v2"),
    key("tls", Kind::Table(&TLS), Described("plain bytes"), "what clients are spoken to in: HTTPS, or any protocol within TLS")
        .called("ssl https"),
    key("http2", Kind::Flag, Flag(true), "true: clients may speak HTTP/2, without TLS by prior knowledge; false: they are answered with 505"),
    key("forward", Kind::Either("name of a group, or a list of them", &WEIGHTED_GROUP), Described("one of the three actions is required"),
        "the group that gets the request, or several with weights")
        .called("proxy_pass default backend target_group default_backend upstream pool service reverse_proxy \
                 default_target_group target to"),
    key("redirect", Kind::Table(&REDIRECT), Described("none"), "sends the client elsewhere"),
    key("fixed_response", Kind::Table(&FIXED_RESPONSE), Described("none"), "an answer without any target"),
    key("group_sticky", Kind::Duration(SESSION), Described("every request chooses anew"),
        "how long a client stays with the group it got").called("stickiness session"),
    key("rewrite", Kind::Table(&REWRITE), Described("none"), "what targets are asked for instead, beside a `forward`")
        .called("rewrites url_rewrite path_rewrite transform transforms"),
    key("request_headers", Kind::Table(&FIELD_EDITS), Described("none"), "changes of header fields for the target, beside a `forward`")
        .called("proxy_set_header request_headers_to_add custom_request_headers header_up"),
    key("response_headers", Kind::Table(&FIELD_EDITS), Described("none"), "changes of header fields for the client, beside a `forward`")
        .called("add_header response_headers_to_add custom_response_headers header_down proxy_hide_header"),
    key("rule", Kind::Tables(&RULE, ANY), Described("none"), "rules are tried from the lowest priority number to the highest"),
    // Ten thousand clients cost some hundred megabytes at worst, and stay below the file
    // descriptors a service usually gets; ten million are what Linux can be made to open.
    key("max_connections", Kind::Count(1..=10_000_000), Count(10_000),
        "client connections at a time; at the limit those without a request close for new clients, which wait otherwise"),
    // ALB's.
    key("desync_mitigation", Kind::Word(names::<DesyncMitigation>), Text("defensive"),
        "requests that another parser could read otherwise; severe ones get 400 always: \"monitor\" counts the others, \"defensive\" \
         closes both connections after ambiguous ones, \"strictest\" answers all with 400")
        .called("desync_mitigation_mode http_desync_mitigation desync"),
    key("field_names", Kind::Word(names::<FieldNames>), Text("strict"),
        "fields whose names a target could take for others (X_Real_IP) are dropped; \"pass\" passes them on")
        .called("underscores_in_headers header_names headers_with_underscores_action drop_invalid_header_fields"),
    key("normalize_path", Kind::Word(names::<NormalizePath>), Text("match"),
        "rules match paths with dot segments resolved, slashes merged and unreserved characters decoded; \"forward\" forwards \
         them so too, \"off\" matches what was sent")
        .called("merge_slashes path_normalization normalise_path clean_path"),
    key("encoded_slashes", Kind::Word(names::<EncodedSlashes>), Text("pass"),
        "%2F in a path passes and does not equal a slash; \"reject\" answers it with 400")
        .called("allow_encoded_slashes path_with_escaped_slashes_action"),
    key("via", Kind::Value("name of 1 to 64 characters, perhaps with a port"), Described("off"),
        "the name in the Via field of requests and responses"),
    key("rate_limit", Kind::Table(&RATE_LIMIT), Described("no limit"), "how many requests a client may send")
        .called("limit_req ratelimit throttle"),
    key("client", Kind::Table(&CLIENT), Described("those of its keys"), "what a client may take, in time and space"),
    key("forwarded", Kind::Table(&FORWARDED), Described("those of its keys"),
        "how targets learn about the client: X-Forwarded-For, -Proto, -Port and -Host, or Forwarded"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static TLS: Table = Table { path: "listener.tls", heading: "`tls` of a listener", keys: &[
    key("certificates", Kind::Tables(&CERTIFICATE, 1000), Described("required without `acme`"),
        "a client gets the one for the host that it asks for, else the first; the files are read again when they change")
        .called("certificate certs cert certificate_arn"),
    key("acme", Kind::Table(&ACME), Described("none are ordered"),
        "certificates that Weir orders and renews; they come behind those of `certificates`")
        .called("letsencrypt autocert certresolver certbot automatic_https auto_https"),
    key("min_version", Kind::Word(names::<MinVersion>), Text("1.2"), "the oldest version that is spoken")
        .called("min_protocol_version minimum_version ssl_protocols protocols ssl_policy version"),
    key("client_auth", Kind::Table(&CLIENT_AUTH), Described("clients are asked for no certificate"),
        "certificates of clients; targets learn about them in X-Amzn-Mtls-Clientcert-*")
        .called("mutual_authentication mtls ssl_verify_client verify client_certificate"),
    // A stolen ticket opens nothing without the secret of the client.
    key("tickets", Kind::Flag, Flag(true),
        "whether clients may take up earlier sessions, also with another Weir that has the same `cookie_key` and a listener of this name")
        .called("session_tickets ssl_session_tickets"),
    // Three round trips to the other side of the world take one second.
    key("handshake_timeout", Kind::Duration(TIMEOUT), secs(10), "from the accept to the end of the handshake")
        .called("timeout ssl_handshake_timeout"),
    // Some fifty kilobytes and a millisecond of one core each.
    key("max_handshakes", Kind::Count(1..=1_000_000), Count(1000), "handshakes at a time; other clients wait for theirs"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static CERTIFICATE: Table = Table { path: "listener.tls.certificates", heading: "`certificates` of `tls`", keys: &[
    key("cert", Kind::Value("path of a file"), Required, "the certificate and then those of its authorities, in PEM")
        .called("certificate crt chain fullchain cert_file certificate_file ssl_certificate"),
    key("key", Kind::Value("path of a file"), Required, "the private key, in PEM and without a password")
        .called("private_key key_file ssl_certificate_key"),
    key("ocsp", Kind::Value("path of a file"), Described("none"), "an answer of the authority's OCSP responder, in DER, which clients get with it")
        .called("ocsp_staple ssl_stapling_file staple"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static ACME: Table = Table { path: "listener.tls.acme", heading: "`acme` of `tls`", keys: &[
    key("domains", Kind::Value("list of hosts"), Required, "each gets a certificate of its own; by ordering, you accept the authority's terms of service")
        .called("domain hosts names server_name server_names identifiers"),
    key("email", Kind::Value("address"), Described("none"), "for the account, when it is made: where the authority may write to")
        .called("contact mail acme_email"),
    key("directory", Kind::Value("https URL"), Text("https://acme-v02.api.letsencrypt.org/directory"),
        "the authority's ACME directory; \"https://acme-staging-v02.api.letsencrypt.org/directory\" for tests")
        .called("ca_server caserver server acme_ca directory_url uri"),
    // Every authority offers it, and it passes proxies that end TLS; port 80 has a redirect anyway.
    key("challenge", Kind::Word(names::<ChallengeKind>), Text("http-01"),
        "how the authority finds out that this is the host: by any listener of plain HTTP, which it reaches at port 80, or by a handshake with this one at port 443")
        .called("challenge_type challenges preferred_challenge"),
    key("eab", Kind::Table(&EAB), Described("none"), "the account that the authority has given you outside of ACME")
        .called("external_account external_account_binding acme_eab"),
    key("ca", Kind::Value("path of a file"), Described("the authorities that the system trusts"),
        "the authorities, in PEM, that the server of the directory is known by: for one of your own")
        .called("ca_file ca_certificates acme_ca_root trusted_roots ca_root"),
    key("profile", Kind::Value("one of the authority's names"), Described("the authority's default"), "the kind of certificate: \"shortlived\"")
        .called("preferred_profile certificate_profile"),
    key("state_dir", Kind::Value("path of a folder"), Text("/var/lib/weir/acme"),
        "where account, keys and certificates are kept; several Weirs may share it: one of them orders, and all answer the authority")
        .called("storage state_path cache cache_dir directory_cache state"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static EAB: Table = Table { path: "listener.tls.acme.eab", heading: "`eab` of `acme`", keys: &[
    key("key_id", Kind::Value("text"), Required, "its name: EAB_KID").called("kid eab_kid id"),
    key("hmac_key", Kind::Secret(1..=1024), Described("required without `hmac_key_file`"), "its key, in base64")
        .called("hmac mac_key eab_hmac_key secret hmacencoded"),
    key("hmac_key_file", Kind::Value("path of a file"), Described("none"), "a file that holds the key instead")
        .called("hmac_file mac_key_file key_file"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static CLIENT_AUTH: Table = Table { path: "listener.tls.client_auth", heading: "`client_auth` of `tls`", keys: &[
    key("ca", Kind::Value("path of a file"), Required, "the certificates of the authorities, in PEM; a client's has to be issued by one of them, or be one of them")
        .called("ca_file trust_store ssl_client_certificate client_ca authorities"),
    key("mode", Kind::Word(names::<ClientAuthMode>), Text("require"),
        "\"request\" serves clients without a certificate too, and refuses a wrong one")
        .called("verify_client"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static CLIENT: Table = Table { path: "listener.client", heading: "", keys: &[
    // A head fits in a few packets; longer is an attack (Slowloris) or a dead phone.
    key("head_timeout", Kind::Duration(TIMEOUT), secs(10), "from the first byte of a request to the end of its head; of protocol \"tcp\": until the TLS hello is there that rules with `host` look at"),
    // ALB's idle timeout.
    key("idle_timeout", Kind::Duration(TIMEOUT), secs(60),
        "before the first request of a connection, and between two; of protocol \"tcp\": without a byte in either direction, 1h"),
    // The same for a body that stalls.
    key("body_timeout", Kind::Duration(TIMEOUT), secs(60), "without a byte of a body in either direction"),
    // ALB's limit for all header fields together. Less than 8 KiB breaks browsers; a MiB is an attack.
    key("max_head", Kind::Size(8 * 1024..=1024 * 1024), kib(64), "of a request head"),
    // Browsers send some twenty, chains of proxies some more.
    key("max_fields", Kind::Count(1..=1000), Count(100), "header fields of a request"),
    // Weir streams bodies, so their size costs it nothing. 0 allows requests without a body.
    key("max_body", Kind::Size(0..=1 << 50), Described("no limit"), "of a request body"),
    // Beyond a billion it is no limit.
    key("max_requests", Kind::Count(1..=1_000_000_000), Described("no limit"), "on one connection, which then closes")
        .called("keepalive_requests max_keepalive_requests"),
    // A client that has left reads no answer, and few half-close on purpose.
    key("abort_on_close", Kind::Flag, Flag(true),
        "true: a client that closes its sending side more than 250ms after its request has left, and the request is \
         cancelled; false: it is answered")
        .called("abortonclose option_abortonclose proxy_ignore_client_abort half_close"),
    // A phone at the edge of its network is ten times as fast; what is slower holds a target.
    key("body_min_rate", Kind::Count(BODY_RATE), Count(500),
        "least bytes of a body per second of waiting for the client, in either direction, once 10s were waited; 0 sets no limit")
        .called("min_body_rate min_data_rate body_rate minrate"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static FORWARDED: Table = Table { path: "listener.forwarded", heading: "", keys: &[
    // ALB's.
    key("mode", Kind::Word(names::<ForwardedMode>), Text("append"),
        "\"preserve\" passes them on as they are, \"remove\" takes them out"),
    key("trusted_proxies", Kind::Value("list of networks, and `unix:`"), Described("none"),
        "the proxies, `unix:` for those behind a Unix socket, of which X-Forwarded-*, X-Request-Id and the other fields that identify a client are believed"),
    // What frameworks and CDNs are known to believe.
    key("identity_headers", Kind::Value("list of field names"),
        Described("True-Client-IP, X-Client-IP, X-Forwarded-Ssl, X-Forwarded-Scheme, X-Forwarded-Prefix, X-Original-URL and X-Rewrite-URL"),
        "fields that, like X-Forwarded-*, Forwarded and X-Real-IP, no other client may send"),
    key("send", Kind::Word(names::<ForwardedFormat>), Text("x-forwarded"),
        "what targets get; \"forwarded\" is the field of RFC 7239"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static RATE_LIMIT: Table = Table { path: "listener.rate_limit", heading: "", keys: &[
    key("key", Kind::Either("`\"client_ip\"`", &RATE_KEY), Text("client_ip"), "what clients are told apart by")
        .called("by source"),
    key("requests", Kind::Count(RATE), Required, "requests that a client may send in that time").called("rate limit average"),
    // What clients do within a millisecond is chance, and counts of more than a day belong in a
    // database.
    key("per", Kind::Duration(TIMEOUT), secs(1), "the time that they are counted in").called("period interval window"),
    key("burst", Kind::Count(RATE), Described("as `requests`"), "requests that may come at once after a pause"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static RATE_KEY: Table = Table { path: "listener.rate_limit.key", heading: "`key` of `rate_limit`", keys: &[
    key("header", Kind::Value("name of a header"), Required, "the header that tells them apart; without it the address counts"),
] };
