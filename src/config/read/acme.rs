//! `acme` of a listener's `tls`. The certificates that were given before are read from the state
//! directory with the configuration, so that one that is given later is a change of the configuration.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};

use super::{named_file, secrets};
use crate::config::keys;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::tls::{
    AcmeSettings, Authorities, Certificate, ChallengeKind, DomainError, ExternalAccount, Trust,
    check_domain,
};

/// The settings, and the certificates that exist.
pub(super) fn read(node: &Node<'_>) -> Option<(AcmeSettings, Vec<Certificate>)> {
    let section = node.section(&keys::ACME)?;
    let example = "write the hosts that need certificates: domains = [\"site.example\"]";
    let domains = section
        .require("domains", example)
        .and_then(|node| domains(&node));
    let email = section.optional("email", email);
    let directory = section.text("directory", directory);
    let challenge = section.word("challenge");
    if challenge == ChallengeKind::Http01 {
        node.cx
            .note(|notes| notes.http_challenges.push(node.mark(())));
    }
    let external_account = section.optional("eab", external_account);
    let trust = trust(&section);
    let profile = section.optional("profile", Node::text);
    let state_dir = state_dir(&section);
    let settings = AcmeSettings {
        domains: domains?,
        email: email?,
        directory: directory?,
        challenge,
        external_account: external_account?,
        trust: trust?,
        profile: profile?,
        state_dir: state_dir?,
    };
    let certificates = certificates(node, &settings)?;
    Some((settings, certificates))
}

fn domains(node: &Node<'_>) -> Option<Vec<Box<str>>> {
    let domains = node.items_of(domain)?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = domains.iter().find(|domain| !seen.insert(*domain)) {
        let message = format!("`{twice}` is there twice");
        return node.refuse(Code::Duplicate, message, "take one of them out");
    }
    Some(domains)
}

fn domain(node: &Node<'_>) -> Option<Box<str>> {
    let domain = node.text()?.to_ascii_lowercase();
    let Err(error) = check_domain(&domain) else {
        return Some(domain.into());
    };
    let help = match error {
        DomainError::Wildcard => {
            "list the hosts one by one, or give a certificate for all of them under `certificates`"
        }
        DomainError::Address => "write the name of the host",
        DomainError::NotAscii => "write it as DNS has it, with labels that begin with xn--",
        DomainError::Malformed => {
            "write a host alone, without protocol, port, path and final dot: \"site.example\""
        }
    };
    let shown = domain.escape_default();
    let message = format!("no certificate can be ordered for `{shown}`: {error}");
    node.refuse(Code::InvalidValue, message, help)
}

fn email(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let is_address = text.split_once('@').is_some_and(|(name, host)| {
        let is_plain = text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b',');
        !name.is_empty() && !host.is_empty() && is_plain
    });
    if is_address {
        return Some(text);
    }
    let message = format!("`{}` is no address of mail", text.escape_default());
    node.refuse(
        Code::InvalidValue,
        message,
        "write one: \"ops@site.example\"",
    )
}

fn directory(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let is_url = text.parse::<http::Uri>().is_ok_and(|uri| {
        uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty())
    });
    if is_url {
        return Some(text);
    }
    let message = format!("`{}` is no https URL", text.escape_default());
    let help = "write that of the authority's ACME directory; ACME is spoken over TLS alone";
    node.refuse(Code::InvalidValue, message, help)
}

fn external_account(node: &Node<'_>) -> Option<ExternalAccount> {
    let section = node.section(&keys::EAB)?;
    let key_id = section
        .require("key_id", "write the id that the authority has given")
        .and_then(|node| node.text());
    let key = secrets::external_account_key(&section);
    let (key, at) = key?;
    let text = key
        .trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_");
    match BASE64_URL_SAFE_NO_PAD.decode(text) {
        Ok(hmac_key) if !hmac_key.is_empty() => Some(ExternalAccount {
            key_id: key_id?,
            hmac_key,
        }),
        Ok(_) | Err(_) => {
            let message = "the key is not well-formed base64";
            at.refuse(
                Code::InvalidValue,
                message,
                "copy it again from the authority's page",
            )
        }
    }
}

/// The server of the directory is known by the authorities of the system, or by a file of its own.
fn trust(section: &Section<'_>) -> Option<Trust> {
    let Some(ca) = section.get("ca") else {
        let system = Authorities::of_the_system();
        if system.is_none() {
            let message = "no authority is known by which the ACME server could be checked";
            let help = "install the system's ca-certificates, or write ca = \"acme-server.crt\"";
            section.error(Code::MissingKey, "ca", message.to_owned(), help);
        }
        return system.map(Trust::Authorities);
    };
    named_file::authorities(&ca)
}

fn state_dir(section: &Section<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(section.text("state_dir", Node::text)?);
    let Err(error) = (section.cx.around.can_write)(&path) else {
        return Some(path);
    };
    let message = format!("cannot write to the folder `{}`: {error}", path.display());
    let help = "keys and certificates are kept there: make it and give it to the user that Weir runs as, \
                or write the path of another folder: state_dir = \"/srv/weir/acme\"";
    section.error(Code::Unreadable, "state_dir", message, help);
    None
}

fn certificates(node: &Node<'_>, settings: &AcmeSettings) -> Option<Vec<Certificate>> {
    let read = |domain: &str| certificate(node, &settings.certificate_file(domain));
    let read: Vec<_> = settings.domains.iter().map(|domain| read(domain)).collect();
    let read: Option<Vec<_>> = read.into_iter().collect();
    Some(read?.into_iter().flatten().collect())
}

/// `Some(None)` if none was given so far. One that is damaged is ordered anew.
#[allow(clippy::option_option)] // absent, unreadable and right are three cases
fn certificate(node: &Node<'_>, path: &Path) -> Option<Option<Certificate>> {
    let shown = path.display().to_string();
    let bytes = match (node.cx.around.files)(path) {
        Ok(bytes) => bytes,
        // The second is that of a text that stands alone.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Other) => {
            return Some(None);
        }
        Err(error) => {
            let message = format!("cannot read `{shown}`: {error}");
            let help = "the state directory belongs to the user that Weir runs as";
            return node.refuse(Code::Unreadable, message, help);
        }
    };
    match Certificate::read(&shown, &bytes, &bytes, None) {
        Ok(certificate) => Some(Some(certificate)),
        Err(error) => {
            let message = format!("`{shown}` cannot be used: {error}");
            node.warn(
                Code::Suspicious,
                message,
                "Weir orders another and replaces it",
            );
            Some(None)
        }
    }
}
