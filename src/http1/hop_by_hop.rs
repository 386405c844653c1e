//! Fields that concern one connection (RFC 9110 section 7.6.1).

use std::collections::BTreeSet;

use crate::message::{FieldName, Fields, NameSet, is_same_name, list};

/// What the removed fields said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopByHop {
    /// Whether the sender takes trailers (TE, RFC 9110 section 10.1.4).
    pub te_trailers: bool,
    /// How many fields were removed because Connection named them.
    pub named: usize,
}

/// Removed whether Connection names them or not.
const HOP_BY_HOP: NameSet = NameSet::of(&[
    FieldName::Connection,
    FieldName::KeepAlive,
    FieldName::ProxyConnection,
    FieldName::Te,
    FieldName::TransferEncoding,
    FieldName::Upgrade,
    FieldName::Http2Settings,
]);

const TE: NameSet = NameSet::of(&[FieldName::Te]);

/// Removes the fields that concern the connection they came on: what Connection names, Connection
/// itself and those that RFC 9110 section 7.6.1 lists. Trailer stays, as the trailers do.
///
/// A name that Weir knows and that is none of those is meant for all recipients, and section 7.6.1
/// forbids to name it in Connection; such an option is ignored, because to follow it lets a client
/// take Cookie, Host or X-Forwarded-For away from what stands behind a proxy.
pub fn strip_hop_by_hop(fields: &mut Fields) -> HopByHop {
    if !fields.may_contain(HOP_BY_HOP) {
        return HopByHop::default();
    }
    let te_trailers = fields.may_contain(TE) && fields.has_token(FieldName::Te, "trailers");
    let named = remove_named(fields);
    fields.remove_all(HOP_BY_HOP);
    HopByHop { te_trailers, named }
}

fn remove_named(fields: &mut Fields) -> usize {
    let named = named(fields);
    if named.is_empty() {
        return 0;
    }
    let before = fields.len();
    fields.retain(|field| {
        field.id != FieldName::Other || !named.contains(&field.name.to_ascii_lowercase())
    });
    before - fields.len()
}

/// The options that may name a field which Weir does not know, in lower case. A set, because a head
/// has room for thousands.
fn named(fields: &Fields) -> BTreeSet<Vec<u8>> {
    fields
        .get_all(FieldName::Connection)
        // Nearly all say nothing else.
        .filter(|value| !is_persistence(value))
        .flat_map(list)
        .filter(|option| !is_persistence(option))
        .map(<[u8]>::to_ascii_lowercase)
        .collect()
}

fn is_persistence(value: &[u8]) -> bool {
    is_same_name(value, b"keep-alive") || is_same_name(value, b"close")
}
