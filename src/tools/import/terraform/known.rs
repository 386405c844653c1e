//! Modules of the registry that are so common that they are read without their source.
//!
//! Each is a short Terraform module of Weir's own with the same inputs and outputs, as far as
//! a load balancer is concerned.

use std::path::Path;
use std::rc::Rc;

use super::folder::Source;
use super::source::{self, Block};
use crate::tools::import::note::{NoteKind, Notes, Place};

/// Names as in the registry, and what stands in for them.
const KNOWN: [(&str, &str); 9] = [
    (
        "terraform-aws-modules/alb/aws",
        include_str!("known/alb.tf"),
    ),
    (
        "terraform-aws-modules/ecs/aws",
        include_str!("known/ecs.tf"),
    ),
    (
        "terraform-aws-modules/ecs/aws//modules/service",
        include_str!("known/ecs_service.tf"),
    ),
    (
        "terraform-aws-modules/ecs/aws//modules/cluster",
        include_str!("known/ecs_cluster.tf"),
    ),
    (
        "terraform-aws-modules/security-group/aws",
        include_str!("known/security_group.tf"),
    ),
    (
        "cloudposse/alb/aws",
        include_str!("known/cloudposse_alb.tf"),
    ),
    (
        "cloudposse/alb-ingress/aws",
        include_str!("known/cloudposse_alb_ingress.tf"),
    ),
    (
        "cloudposse/ecs-container-definition/aws",
        include_str!("known/cloudposse_container.tf"),
    ),
    (
        "cloudposse/ecs-alb-service-task/aws",
        include_str!("known/cloudposse_service.tf"),
    ),
];

/// What every call of a module may have.
const META: [&str; 6] = [
    "source",
    "version",
    "providers",
    "count",
    "for_each",
    "depends_on",
];

/// The stand-in of a module; inputs that it does not read are listed.
pub(super) fn source(name: &str, call: &Block, notes: &Notes) -> Option<Rc<Source>> {
    let name = registry_name(name);
    let (name, text) = KNOWN.iter().find(|(known, _)| *known == name)?;
    let mut blocks = source::read(name, text, notes)?.blocks;
    for block in &mut blocks {
        move_to(block, &call.place);
    }
    let source = Source::new(Path::new(name), blocks, Vec::new());
    let is_read = |key: &str| META.contains(&key) || source.find("variable", &[key]).is_some();
    let keys = call
        .attributes
        .iter()
        .map(|attribute| attribute.key.as_str());
    let others: Vec<_> = keys.filter(|key| !is_read(key)).collect();
    if !others.is_empty() {
        let subject = format!("module.{}", call.labels.join("."));
        let message = format!("no use for `{}` of {name}", others.join("`, `"));
        notes.add(NoteKind::NotNeeded, &call.place, subject, message);
    }
    Some(Rc::new(source))
}

/// `git::https://github.com/OWNER/terraform-aws-NAME.git//PATH?ref=…` is `OWNER/NAME/aws//PATH`.
fn registry_name(source: &str) -> String {
    let source = source.split('?').next().unwrap_or_default();
    let source = source
        .strip_prefix("registry.terraform.io/")
        .unwrap_or(source);
    let repository = source
        .split_once("github.com")
        .map(|(_, rest)| &rest[1.min(rest.len())..]);
    let named = repository.and_then(|rest| {
        let (path, inner) = rest.split_once("//").unwrap_or((rest, ""));
        let (owner, name) = path.split_once('/')?;
        let name = name
            .trim_end_matches(".git")
            .strip_prefix("terraform-aws-")?;
        let inner = if inner.is_empty() {
            String::new()
        } else {
            format!("//{inner}")
        };
        Some(format!("{owner}/{name}/aws{inner}"))
    });
    named.unwrap_or_else(|| source.to_owned())
}

/// What a stand-in makes is found where it is asked for.
fn move_to(block: &mut Block, place: &Place) {
    block.place = place.clone();
    for attribute in &mut block.attributes {
        attribute.place = place.clone();
    }
    for inner in &mut block.blocks {
        move_to(inner, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_git_are_names_of_the_registry() {
        for (source, name) in [
            (
                "terraform-aws-modules/alb/aws",
                "terraform-aws-modules/alb/aws",
            ),
            (
                "git::https://github.com/terraform-aws-modules/terraform-aws-ecs.git//modules/service?ref=v5",
                "terraform-aws-modules/ecs/aws//modules/service",
            ),
            (
                "git@github.com:terraform-aws-modules/terraform-aws-alb.git",
                "terraform-aws-modules/alb/aws",
            ),
            ("github.com", "github.com"),
        ] {
            assert_eq!(registry_name(source), name);
        }
    }

    #[test]
    fn each_stand_in_is_terraform() {
        for (name, text) in KNOWN {
            let notes = Notes::default();
            assert!(source::read(name, text, &notes).is_some(), "{name}");
        }
    }
}
