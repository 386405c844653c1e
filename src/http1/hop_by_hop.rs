//! Fields that concern one connection (RFC 9110 section 7.6.1).

use std::collections::BTreeSet;

use crate::message::{FieldName, Fields, HOP_BY_HOP, is_same_name, list};

/// What the removed fields said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopByHop {
    /// Whether the sender takes trailers (TE, RFC 9110 section 10.1.4).
    pub te_trailers: bool,
    /// How many fields were removed because Connection named them.
    pub named: usize,
}

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
    let mut named = BTreeSet::new();
    let mut te_trailers = false;
    fields.remove_each(HOP_BY_HOP, |field| match field.id {
        // Nearly all say nothing else.
        FieldName::Connection if !is_persistence(field.value) => {
            add_named(field.value, &mut named);
        }
        FieldName::Te => te_trailers |= is_in_list(b"trailers", field.value),
        _ => {}
    });
    let named = remove_named(fields, &named);
    HopByHop { te_trailers, named }
}

fn is_in_list(token: &[u8], value: &[u8]) -> bool {
    list(value).any(|member| member.eq_ignore_ascii_case(token))
}

/// Adds the options that may name a field which Weir does not know, in lower case. To a set,
/// because a head has room for thousands.
fn add_named(value: &[u8], named: &mut BTreeSet<Vec<u8>>) {
    let options = list(value).filter(|option| !is_persistence(option));
    named.extend(options.map(<[u8]>::to_ascii_lowercase));
}

fn remove_named(fields: &mut Fields, named: &BTreeSet<Vec<u8>>) -> usize {
    if named.is_empty() {
        return 0;
    }
    let before = fields.len();
    fields.retain(|field| {
        field.id != FieldName::Other || !named.contains(&field.name.to_ascii_lowercase())
    });
    before - fields.len()
}

fn is_persistence(value: &[u8]) -> bool {
    is_same_name(value, b"keep-alive") || is_same_name(value, b"close")
}
