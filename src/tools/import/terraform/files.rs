//! Lists the resources of all modules, by type, and the other blocks.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::node::Node;
use super::section::{Named, Section, canonical};
use super::source::Block;
use super::translation::{Module, ModuleCall, Scope};
use crate::tools::import::note::{Location, NoteKind, Notes, one_line};

/// Prefixes of types that only AWS needs, or that other types represent.
const USELESS: &[&str] = &[
    "archive_",
    "aws_acm_",
    "aws_appmesh_",
    "aws_availability_zones",
    "aws_cloudwatch_log_",
    "aws_codebuild_",
    "aws_codecommit_",
    "aws_codedeploy_",
    "aws_codepipeline",
    "aws_codestar",
    "aws_ecr",
    "aws_ecs_account_setting_default",
    "aws_ecs_capacity_provider",
    "aws_ecs_cluster",
    "aws_eip",
    "aws_flow_log",
    "aws_iam_",
    "aws_internet_gateway",
    "aws_key_pair",
    "aws_kms_",
    "aws_launch_",
    "aws_main_route",
    "aws_nat_gateway",
    "aws_network_acl",
    "aws_route",
    "aws_s3_",
    "aws_security_group",
    "aws_service_discovery_",
    "aws_sns_",
    "aws_ssm_",
    "aws_subnet",
    "aws_vpc",
    "docker_",
    "local_file",
    "null_",
    "random_",
    "time_",
    "tls_",
];

/// A resource that has not been read.
pub(super) struct Found<'a> {
    pub(super) kind: String,
    pub(super) address: String,
    pub(super) label: String,
    /// The calls that lead to its module.
    pub(super) calls: Vec<ModuleCall>,
    pub(super) key: Option<String>,
    pub(super) location: Location,
    pub(super) body: Body<'a>,
    pub(super) ids: Vec<String>,
    /// Why the number of instances is unknown; then one is assumed.
    pub(super) assumed: Option<String>,
}

/// The source of a resource's values.
pub(super) enum Body<'a> {
    Block(Rc<Block>, Scope<'a>),
    Values(Rc<Node>),
}

/// A block that is not a resource.
pub(super) struct Other {
    pub(super) kind: String,
    pub(super) subject: String,
    pub(super) location: Location,
    /// For a module: whether its source is available.
    pub(super) is_read: bool,
}

/// All resources and other blocks.
pub(super) struct Files<'a> {
    found: Vec<Found<'a>>,
    others: Vec<Other>,
    named: Rc<Vec<Named>>,
    notes: &'a Notes,
    /// The location of notes about the files as a whole.
    start: Location,
    /// Types that were read.
    read: RefCell<BTreeSet<&'static str>>,
    names: RefCell<BTreeSet<(&'static str, String)>>,
}

/// A resource that is being read.
#[derive(Debug)]
pub(super) struct Resource<'a> {
    pub(super) address: String,
    /// A name that is unique among the resources of this type.
    pub(super) name: String,
    pub(super) section: Section<'a>,
}

impl Resource<'_> {
    /// Its location and address, for comments.
    pub(super) fn origin(&self) -> String {
        let location = self.section.location();
        one_line(&format!(
            "{}:{} {}",
            location.file, location.line, self.address
        ))
    }
}

impl<'a> Files<'a> {
    pub(super) fn new(
        found: Vec<Found<'a>>,
        others: Vec<Other>,
        notes: &'a Notes,
        start: Location,
    ) -> Self {
        let named = found.iter().map(|found| Named {
            kind: found.kind.clone(),
            address: found.address.clone(),
            ids: found.ids.clone(),
        });
        Self {
            named: Rc::new(named.collect()),
            found,
            others,
            notes,
            start,
            read: RefCell::default(),
            names: RefCell::default(),
        }
    }

    /// The resources of a module and of all modules that it calls.
    pub(super) fn of_module(root: &Rc<Module<'a>>, notes: &'a Notes, start: Location) -> Self {
        let (mut found, mut others) = (Vec::new(), Vec::new());
        collect(root, &mut found, &mut others);
        Self::new(found, others, notes, start)
    }

    /// The resources of a type, in the order of the files.
    pub(super) fn all(&self, kind: &'static str) -> Vec<Resource<'a>> {
        let first = self.read.borrow_mut().insert(kind);
        debug_assert!(first, "{kind} is read once, or its notes would be repeated");
        let mut all: Vec<Resource<'a>> = Vec::new();
        for found in self.found.iter().filter(|found| found.kind == kind) {
            let section = self.section(found);
            if all.iter().any(|other| other.address == found.address) {
                section.drop_whole("there is another one of this name");
                continue;
            }
            if let Some(assumed) = &found.assumed {
                section.not_mapped("count", assumed.as_str());
            }
            all.push(Resource {
                address: found.address.clone(),
                name: self.name(kind, found),
                section,
            });
        }
        all
    }

    /// The address of the first resource of a type.
    pub(super) fn first(&self, kind: &str) -> Option<&str> {
        let found = self.found.iter().find(|found| found.kind == kind);
        found.map(|found| found.address.as_str())
    }

    fn section(&self, found: &Found<'a>) -> Section<'a> {
        let node = match &found.body {
            Body::Block(block, scope) => Rc::new(Node::of_block(block, scope)),
            Body::Values(node) => Rc::clone(node),
        };
        let subject = found.address.clone();
        Section::new(node, self.notes, Rc::clone(&self.named), subject)
    }

    /// The label with the names of modules and the key, if there are some. A meaningless label is
    /// left out beside them.
    fn name(&self, kind: &'static str, found: &Found<'_>) -> String {
        const MEANINGLESS: [&str; 8] = ["this", "main", "default", "lb", "alb", "tg", "app", "ecs"];
        let mut parts: Vec<&str> = Vec::new();
        for call in &found.calls {
            parts.push(&call.name);
            parts.extend(call.key.as_deref());
        }
        // The only instance of a `count` has no number.
        let several = |other: &&Found<'_>| {
            other.kind == found.kind && other.calls == found.calls && other.label == found.label
        };
        let is_several = self.found.iter().filter(several).count() > 1;
        let key = found
            .key
            .as_deref()
            .filter(|key| is_several || key.parse::<u32>().is_err());
        if !MEANINGLESS.contains(&&*found.label) || (parts.is_empty() && key.is_none()) {
            parts.push(&found.label);
        }
        parts.extend(key);
        let whole: String = parts
            .join("_")
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '_' {
                    c
                } else {
                    '-'
                }
            })
            .take(56)
            .collect();
        let mut names = self.names.borrow_mut();
        let numbered = (1..).map(|n| {
            if n == 1 {
                whole.clone()
            } else {
                format!("{whole}_{n}")
            }
        });
        let mut free = numbered.filter(|name| !names.contains(&(kind, name.clone())));
        let name = free.next().unwrap_or_default();
        names.insert((kind, name.clone()));
        name
    }

    /// Adds notes about every block that was not read.
    pub(super) fn list_others(&self) {
        let note = |kind, location: &Location, subject: &str, message: &str| {
            self.notes.add(kind, location, subject, message);
        };
        let (missing, useless) = (NoteKind::NotMapped, NoteKind::NotNeeded);
        let read = self.read.borrow();
        for found in self
            .found
            .iter()
            .filter(|found| !read.contains(&*found.kind))
        {
            if USELESS.iter().any(|prefix| found.kind.starts_with(prefix)) {
                note(
                    useless,
                    &found.location,
                    &found.address,
                    "only AWS needs it",
                );
            } else if found.kind == "aws_elb" {
                let message = "a classic load balancer: its listeners are not taken over";
                note(missing, &found.location, &found.address, message);
            } else {
                note(missing, &found.location, &found.address, "no counterpart");
            }
        }
        for other in &self.others {
            let (kind, message) = match other.kind.as_str() {
                "module" if other.is_read => continue,
                "module" => (
                    missing,
                    "its source is not here (`terraform init` fetches it); what refers to it is not known here",
                ),
                "data" => (useless, "it asks AWS; what refers to it is not known here"),
                "terraform" | "provider" | "moved" | "import" | "removed" | "check" => {
                    (useless, "only Terraform needs it")
                }
                _ => (missing, "an unknown block"),
            };
            note(kind, &other.location, &other.subject, message);
        }
    }

    /// Adds a note about a resource that was read, or about the files as a whole.
    pub(super) fn remark(&self, subject: &str, message: &str) {
        let resource = self.found.iter().find(|found| found.address == subject);
        let location = resource.map_or(&self.start, |found| &found.location);
        self.notes
            .add(NoteKind::NotMapped, location, subject, message);
    }
}

fn collect<'a>(module: &Rc<Module<'a>>, found: &mut Vec<Found<'a>>, others: &mut Vec<Other>) {
    for block in module.source.all() {
        match (block.kind.as_str(), block.labels.as_slice()) {
            ("resource", [kind, label, ..]) => {
                let path = format!("{kind}.{label}");
                let instances = module.instances(&path, block);
                list_none(module, block, &path, instances.as_deref());
                for instance in instances.iter().flat_map(|all| all.iter()) {
                    found.push(Found {
                        kind: canonical(kind),
                        address: instance.address.clone(),
                        label: label.clone(),
                        calls: module.calls.clone(),
                        key: instance.key_text(),
                        location: block.location.clone(),
                        body: Body::Block(Rc::clone(block), instance.scope.clone()),
                        ids: Vec::new(),
                        assumed: instance.assumed.clone(),
                    });
                }
            }
            ("variable" | "locals" | "output", _) => {}
            (kind, labels) => {
                let subject = subject(module, kind, labels);
                let is_read = kind == "module" && module.reads(block);
                if is_read {
                    let path = format!("module.{}", labels.join("."));
                    let instances = module.instances(&path, block);
                    list_none(module, block, &path, instances.as_deref());
                    list_assumed(module, block, &subject);
                }
                others.push(Other {
                    kind: kind.to_owned(),
                    subject,
                    location: block.location.clone(),
                    is_read,
                });
            }
        }
    }
    for child in module.children() {
        collect(&child, found, others);
    }
}

/// Adds a note about a block without instances.
fn list_none<T>(module: &Module<'_>, block: &Block, path: &str, instances: Option<&Vec<T>>) {
    if instances.is_some_and(Vec::is_empty) {
        let subject = format!("{}{path}", module.prefix);
        let notes = module.translation.notes;
        let message = "its `count` or `for_each` makes none of it";
        notes.add(NoteKind::NotNeeded, &block.location, subject, message);
    }
}

/// Adds a note if the number of instances of a module is unknown.
fn list_assumed(module: &Rc<Module<'_>>, block: &Rc<Block>, subject: &str) {
    let path = format!("module.{}", block.labels.join("."));
    let instances = module.instances(&path, block);
    let assumed = instances
        .iter()
        .flat_map(|all| all.iter())
        .find_map(|one| one.assumed.clone());
    if let Some(assumed) = assumed {
        module
            .translation
            .notes
            .add(NoteKind::NotMapped, &block.location, subject, assumed);
    }
}

fn subject(module: &Module<'_>, kind: &str, labels: &[String]) -> String {
    let labels: Vec<_> = [kind]
        .into_iter()
        .chain(labels.iter().map(String::as_str))
        .collect();
    format!("{}{}", module.prefix, labels.join("."))
}
