//! The resources of all files, by type, and what else stands in them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value;

use super::scope::{self, Scope, blocks};
use super::section::Section;
use super::source::Block;
use crate::import::note::{NoteKind, Notes, one_line};

/// Types that others are read for, or that only AWS needs.
const USELESS: [&str; 16] = [
    "aws_acm_",
    "aws_cloudwatch_log_",
    "aws_ecr_",
    "aws_ecs_cluster",
    "aws_eip",
    "aws_iam_",
    "aws_internet_gateway",
    "aws_nat_gateway",
    "aws_route",
    "aws_s3_",
    "aws_security_group",
    "aws_subnet",
    "aws_vpc",
    "docker_",
    "local_file",
    "random_",
];

/// All that was read.
#[derive(Debug)]
pub(super) struct Files<'a> {
    blocks: &'a [Block],
    scope: Rc<Scope>,
    notes: &'a Notes,
    /// Types that have been asked for.
    asked: RefCell<BTreeSet<&'static str>>,
}

/// A resource.
#[derive(Debug)]
pub(super) struct Resource<'a> {
    pub(super) name: &'a str,
    pub(super) section: Section<'a>,
    block: &'a Block,
}

impl Resource<'_> {
    /// Where it comes from, for a comment.
    pub(super) fn origin(&self) -> String {
        let place = &self.block.place;
        let subject = self.section.subject();
        one_line(&format!("{}:{} {subject}", place.file, place.line))
    }
}

impl<'a> Files<'a> {
    pub(super) fn new(files: &'a [Block], scope: Scope, notes: &'a Notes) -> Self {
        Self {
            blocks: files,
            scope: Rc::new(scope),
            notes,
            asked: RefCell::default(),
        }
    }

    /// The resources of a type that exist once, in the order of the files.
    pub(super) fn all(&self, kind: &'static str) -> Vec<Resource<'a>> {
        self.made(kind, |section| once(section).into_iter().collect())
    }

    /// The same for a type that nothing refers to: all that a `for_each` makes, if it is known.
    pub(super) fn each(&self, kind: &'static str) -> Vec<Resource<'a>> {
        self.made(kind, several)
    }

    /// `make` says what a block makes.
    fn made(
        &self,
        kind: &'static str,
        make: fn(Section<'a>) -> Vec<Section<'a>>,
    ) -> Vec<Resource<'a>> {
        let first = self.asked.borrow_mut().insert(kind);
        debug_assert!(first, "{kind} is read once, or its notes are there twice");
        let mut found: Vec<Resource<'a>> = Vec::new();
        for block in self.resources().filter(|block| type_of(block) == kind) {
            let name = block.labels.get(1).map_or("", String::as_str);
            let section = self.section(block);
            if found.iter().any(|other| other.name == name) {
                section.drop_whole("there is another one of this name");
                continue;
            }
            found.extend(make(section).into_iter().map(|section| Resource {
                name,
                section,
                block,
            }));
        }
        found
    }

    /// Lists every block that nobody asked for.
    pub(super) fn list_others(&self) {
        for block in self.blocks.iter().flat_map(|file| &file.blocks) {
            if block.kind == "resource" {
                let kind = type_of(block);
                if self.asked.borrow().contains(kind.as_str()) {
                    continue;
                }
                let section = self.section(block);
                if USELESS.iter().any(|prefix| kind.starts_with(prefix)) {
                    section.not_needed("only AWS needs it");
                } else {
                    section.drop_whole("no counterpart");
                }
                continue;
            }
            let section = self.section(block);
            match block.kind.as_str() {
                "variable" | "locals" => {}
                "module" => {
                    section.drop_whole("modules are not read; what refers to it is not known here");
                }
                "data" => section.not_needed("it asks AWS; what refers to it is not known here"),
                "terraform" | "provider" | "output" | "moved" | "import" | "removed" | "check" => {
                    section.not_needed("only Terraform needs it");
                }
                _ => section.drop_whole("an unknown block"),
            }
        }
    }

    fn resources(&self) -> impl Iterator<Item = &'a Block> {
        blocks(self.blocks, "resource")
    }

    fn section(&self, block: &'a Block) -> Section<'a> {
        let subject = match (block.kind.as_str(), block.labels.as_slice()) {
            ("resource", labels) if !labels.is_empty() => labels.join("."),
            (kind, []) => kind.to_owned(),
            (kind, labels) => format!("{kind}.{}", labels.join(".")),
        };
        Section::new(block, Rc::clone(&self.scope), self.notes, subject)
    }

    /// Lists something about the files as a whole.
    pub(super) fn remark(&self, subject: &str, message: &str) {
        if let Some(file) = self.blocks.first() {
            self.notes
                .add(NoteKind::NotMapped, &file.place, subject, message);
        }
    }
}

fn type_of(block: &Block) -> String {
    block
        .labels
        .first()
        .map_or_else(String::new, |kind| scope::kind(kind))
}

/// Most that a `for_each` makes: rules of a load balancer of AWS's.
const MOST: usize = 200;

/// Those that a map or a set of texts makes; what is not known is as with [`once`].
fn several(section: Section<'_>) -> Vec<Section<'_>> {
    let pairs: Option<Vec<(String, Value)>> = match section.value("for_each") {
        Some(Value::Object(map)) => Some(map.into_iter().collect()),
        Some(Value::Array(items)) => {
            let pair = |item: Value| Some((item.as_str()?.to_owned(), item));
            items.into_iter().map(pair).collect()
        }
        _ => None,
    };
    let is_known = |(key, _): &(String, Value)| scope::reference_in(&Value::from(&**key)).is_none();
    match pairs.filter(|pairs| pairs.len() <= MOST && pairs.iter().all(is_known)) {
        Some(pairs) if pairs.is_empty() => {
            section.not_needed("its `for_each` is empty");
            Vec::new()
        }
        Some(pairs) => {
            let pairs = pairs.iter();
            pairs
                .map(|(key, value)| section.instance(key, value))
                .collect()
        }
        None => once(section).into_iter().collect(),
    }
}

/// What `count` and `for_each` make several of is not taken over.
fn once(section: Section<'_>) -> Option<Section<'_>> {
    if section.value("for_each").is_some() {
        section.drop_whole("`for_each` makes several of it");
        return None;
    }
    let Some(count) = section.value("count") else {
        return Some(section);
    };
    match scope::number(&count) {
        Some(1.0) => return Some(section),
        Some(0.0) => section.not_needed("its `count` is 0"),
        Some(many) => section.drop_whole(format!("`count` makes {many} of it")),
        None => {
            let count = count_text(&count);
            section.drop_whole(format!("its `count` is `{count}`, which is not known here"));
        }
    }
    None
}

fn count_text(count: &Value) -> String {
    scope::reference_in(count).map_or_else(|| scope::text(count), str::to_owned)
}
