//! Reasons, classes and modes as they are documented.

use std::collections::BTreeSet;

use weir::http1::{Class, Decision, Desync, Reason, decide};

use super::tables;

#[test]
fn names_are_short_stable_and_different() {
    let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    let is_name = |name: &&str| {
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
    };
    assert!(names.iter().all(|name| is_name(name) && name.len() < 40));
}

#[test]
fn each_reason_has_a_section_and_a_status() {
    for reason in Reason::ALL {
        assert!(reason.section().starts_with("RFC "), "{reason}");
        assert!(
            matches!(reason.status(), 400 | 414 | 431 | 501 | 505),
            "{reason}"
        );
    }
}

/// What AWS documents under the same names.
#[test]
fn classes_are_those_of_the_load_balancers_that_have_them() {
    let documented = [
        ("get_head_zero_content_length", Class::Acceptable),
        ("non_compliant_version", Class::Acceptable),
        ("both_te_cl_present", Class::Ambiguous),
        ("duplicate_content_length", Class::Ambiguous),
        ("suspicious_header", Class::Ambiguous),
        ("undefined_content_length_semantics", Class::Ambiguous),
        ("undefined_transfer_encoding_semantics", Class::Ambiguous),
        ("bad_content_length", Class::Severe),
        ("bad_transfer_encoding", Class::Severe),
        ("bad_method", Class::Severe),
        ("bad_version", Class::Severe),
        ("multiple_content_length", Class::Severe),
        ("multiple_transfer_encoding_chunked", Class::Severe),
    ];
    for (name, class) in documented {
        let reason = Reason::ALL.iter().find(|reason| reason.as_str() == name);
        assert_eq!(reason.map(|reason| reason.class()), Some(class), "{name}");
    }
}

#[test]
fn modes_decide_as_documented() {
    use Class::{Acceptable, Ambiguous, Compliant, Severe};
    use Decision::{Forward, ForwardAndClose, Reject};
    let table = [
        (Compliant, [Forward, Forward, Forward]),
        (Acceptable, [Forward, Forward, Reject]),
        (Ambiguous, [Forward, ForwardAndClose, Reject]),
        (Severe, [Forward, Reject, Reject]),
    ];
    for (class, decisions) in table {
        let modes = [Desync::Monitor, Desync::Defensive, Desync::Strictest];
        assert_eq!(
            modes.map(|mode| decide(mode, class)),
            decisions,
            "{class:?}"
        );
    }
    assert_eq!(Desync::default(), Desync::Defensive);
}

#[test]
fn every_reason_but_one_of_browsers_has_a_case() {
    let said: Vec<String> = tables::all().map(|(case, _)| case.decided).collect();
    let is_said = |reason: &&Reason| said.iter().any(|said| said.contains(reason.as_str()));
    let unsaid: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| !is_said(reason))
        .collect();
    assert_eq!(unsaid, [&Reason::LooseTarget]);
}
