//! Names of fields that identify a client, and the names that a target may take for them.

use super::{FieldName, Fields, NameSet, PLAIN, is_in, prefix};

/// Fields that only a trusted proxy may send.
#[derive(Clone, Debug)]
pub struct IdentityFields {
    /// Those with a [`FieldName`] of their own.
    known: NameSet,
    /// The names of the others.
    others: Box<[Box<[u8]>]>,
}

/// Bytes of the longest name that is compared with those of [`FieldName`], all of which are
/// shorter.
const MAX_FOLDED: usize = 32;

/// Fields that any target may believe, as if a proxy had written them.
const WELL_KNOWN: NameSet = NameSet::of(&[
    FieldName::Forwarded,
    FieldName::XForwardedFor,
    FieldName::XForwardedHost,
    FieldName::XForwardedPort,
    FieldName::XForwardedProto,
    FieldName::XRealIp,
]);

/// How the fields begin that say something of a client's certificate.
const CERTIFICATE: &[u8] = b"x-amzn-mtls-";

impl IdentityFields {
    /// `Forwarded`, `X-Forwarded-For`, `-Host`, `-Port`, `-Proto`, `X-Real-IP`, all that begin with
    /// `X-Amzn-Mtls-`, and these.
    pub fn new<'n>(further: impl IntoIterator<Item = &'n str>) -> Self {
        let (mut known, mut others) = (Vec::new(), Vec::new());
        for name in further {
            match FieldName::from_bytes(name.as_bytes()) {
                FieldName::Other => others.push(name.as_bytes().into()),
                name => known.push(name),
            }
        }
        Self {
            known: WELL_KNOWN.and(NameSet::of(&known)),
            others: others.into(),
        }
    }

    /// Removes these fields, except those that `kept` names, and what a target may take for one of
    /// them: a CGI gives `X_Real_IP` the variable of `X-Real-IP` (RFC 3875 section 4.1.18). Passes
    /// over the fields once; not at all if the head has only known names, and none of these.
    pub fn remove_from(&self, fields: &mut Fields, kept: NameSet) {
        const OTHER: NameSet = NameSet::of(&[FieldName::Other]);
        if fields.may_contain(self.known.and(OTHER)) {
            fields.retain(|field| match field.id {
                FieldName::Other => !self.looks_like_one(field.name),
                id => !self.known.contains(id) || kept.contains(id),
            });
        }
    }

    /// Removes every field that says something of a client's certificate.
    pub fn remove_certificate(fields: &mut Fields) {
        fields.retain(|field| field.id != FieldName::Other || !is_of_certificate(field.name));
    }

    /// Whether a name that has no [`FieldName`] is one of these, or folds into one.
    fn looks_like_one(&self, name: &[u8]) -> bool {
        if is_of_certificate(name) {
            return true;
        }
        let is_other = self.others.iter().any(|other| fold_alike(name, other));
        is_other || self.folds_into_known(name)
    }

    fn folds_into_known(&self, name: &[u8]) -> bool {
        let mut folded = [0; MAX_FOLDED];
        let Some(folded) = folded.get_mut(..name.len()) else {
            return false;
        };
        if prefix(name, PLAIN) == name.len() {
            return false;
        }
        for (to, from) in folded.iter_mut().zip(name) {
            *to = fold(*from);
        }
        self.known.contains(FieldName::from_bytes(folded))
    }
}

/// Whether a name begins as those under which targets learn about a client's certificate.
fn is_of_certificate(name: &[u8]) -> bool {
    name.get(..CERTIFICATE.len())
        .is_some_and(|start| fold_alike(start, CERTIFICATE))
}

fn fold_alike(name: &[u8], other: &[u8]) -> bool {
    let fold = |byte: &u8| fold(*byte).to_ascii_lowercase();
    name.len() == other.len() && name.iter().map(fold).eq(other.iter().map(fold))
}

/// A hyphen for every symbol: some targets make one character of all of them.
fn fold(byte: u8) -> u8 {
    if is_in(byte, PLAIN) { byte } else { b'-' }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that are left.
    fn left(identity: &IdentityFields, kept: NameSet, names: &[&str]) -> Vec<String> {
        let mut fields = Fields::new();
        for name in names {
            fields.append(name, b"1").unwrap();
        }
        identity.remove_from(&mut fields, kept);
        let left = fields.iter().map(|field| field.name.to_vec());
        left.map(|name| String::from_utf8(name).unwrap()).collect()
    }

    const NONE: NameSet = NameSet::of(&[]);

    fn identity() -> IdentityFields {
        IdentityFields::new(["true-client-ip", "x-tenant-id", "cf_ip"])
    }

    #[test]
    fn names_and_their_look_alikes_are_removed() {
        let names = [
            "X-Real-IP",
            "x-real-ip",
            "X_Real_IP",
            "x_real-ip",
            "X.Real.Ip",
            "X_Forwarded_For",
            "True-Client-IP",
            "true_client_ip",
            "X-Tenant-Id",
            "X_TENANT_ID",
            "x-tenant_id",
            "CF-IP",
            "cf_ip",
        ];
        for name in names {
            assert!(left(&identity(), NONE, &[name]).is_empty(), "{name}");
        }
    }

    #[test]
    fn other_names_stay() {
        let names = [
            "Host",
            "X-Real-IPs",
            "X-RealIP",
            "XReal-IP",
            "X_Other",
            "X-Client-IP",
            "a-name-that-is-longer-than-every-name-that-heads-know",
            "a_name_that_is_longer_than_every_name_that_heads_know",
            "_",
        ];
        assert_eq!(left(&identity(), NONE, &names), names);
    }

    #[test]
    fn a_field_can_be_kept_but_not_its_look_alike() {
        let kept = NameSet::of(&[FieldName::XForwardedFor]);
        let names = ["X-Forwarded-For", "X_Forwarded_For", "X-Real-IP"];
        assert_eq!(left(&identity(), kept, &names), ["X-Forwarded-For"]);
    }
}
