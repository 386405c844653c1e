//! Stand-ins for common modules of the registry, which are read without their source.
//!
//! Each is a short Terraform module of Weir's own with those inputs and outputs that matter to a
//! load balancer.

use std::path::Path;
use std::rc::Rc;

use super::folder::Source;
use super::source::{self, Block};
use crate::tools::import::note::{Location, NoteKind, Notes};

/// Names in the registry, and their stand-ins.
const STAND_INS: [(&str, &str); 9] = [
    (
        "terraform-aws-modules/alb/aws",
        include_str!("stand_ins/alb.tf"),
    ),
    (
        "terraform-aws-modules/ecs/aws",
        include_str!("stand_ins/ecs.tf"),
    ),
    (
        "terraform-aws-modules/ecs/aws//modules/service",
        include_str!("stand_ins/ecs_service.tf"),
    ),
    (
        "terraform-aws-modules/ecs/aws//modules/cluster",
        include_str!("stand_ins/ecs_cluster.tf"),
    ),
    (
        "terraform-aws-modules/security-group/aws",
        include_str!("stand_ins/security_group.tf"),
    ),
    (
        "cloudposse/alb/aws",
        include_str!("stand_ins/cloudposse_alb.tf"),
    ),
    (
        "cloudposse/alb-ingress/aws",
        include_str!("stand_ins/cloudposse_alb_ingress.tf"),
    ),
    (
        "cloudposse/ecs-container-definition/aws",
        include_str!("stand_ins/cloudposse_container.tf"),
    ),
    (
        "cloudposse/ecs-alb-service-task/aws",
        include_str!("stand_ins/cloudposse_service.tf"),
    ),
];

/// Keys of every `module` block.
const META: [&str; 6] = [
    "source",
    "version",
    "providers",
    "count",
    "for_each",
    "depends_on",
];

/// The stand-in of a module; inputs that it does not read become a note.
pub(super) fn source(name: &str, call: &Block, notes: &Notes) -> Option<Rc<Source>> {
    let name = registry_name(name);
    let (name, text) = STAND_INS.iter().find(|(known, _)| *known == name)?;
    let mut blocks = source::read(name, text, notes)?.blocks;
    for block in &mut blocks {
        move_to(block, &call.location);
    }
    let source = Source::new(Path::new(name), blocks, Vec::new());
    let others: Vec<_> = call
        .attributes
        .iter()
        .map(|attribute| attribute.key.as_str())
        .filter(|key| !META.contains(key) && source.find("variable", &[key]).is_none())
        .collect();
    if !others.is_empty() {
        let subject = format!("module.{}", call.labels.join("."));
        let message = format!("no use for `{}` of {name}", others.join("`, `"));
        notes.add(NoteKind::NotNeeded, &call.location, subject, message);
    }
    Some(Rc::new(source))
}

/// `git::https://github.com/OWNER/terraform-aws-NAME.git//PATH?ref=…` is `OWNER/NAME/aws//PATH`.
fn registry_name(source: &str) -> String {
    let path = source.split('?').next().unwrap_or_default();
    let source = path.strip_prefix("registry.terraform.io/").unwrap_or(path);
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

/// Moves the blocks of a stand-in to the location of the call.
fn move_to(block: &mut Block, location: &Location) {
    block.location = location.clone();
    for attribute in &mut block.attributes {
        attribute.location = location.clone();
    }
    for inner in &mut block.blocks {
        move_to(inner, location);
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
        for (name, text) in STAND_INS {
            let notes = Notes::default();
            assert!(source::read(name, text, &notes).is_some(), "{name}");
        }
    }
}
