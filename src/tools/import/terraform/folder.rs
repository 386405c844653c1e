//! The files of one module.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::input::SourceFile;
use super::source::{self, Attribute, Block};
use crate::tools::import::note::Notes;

/// The blocks of the files of a folder.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) folder: PathBuf,
    blocks: Vec<Rc<Block>>,
    locals: Vec<Attribute>,
    /// Values of variables in `.tfvars` files.
    pub(super) assigned: Vec<Attribute>,
}

impl Source {
    pub(super) fn read(folder: &Path, files: &[SourceFile], notes: &Notes) -> Self {
        let (overriding, others): (Vec<_>, Vec<_>) = files.iter().partition(|file| overrides(file));
        let mut blocks: Vec<Block> = Vec::new();
        let mut assigned = Vec::new();
        for file in others {
            let Some(top) = source::read(&file.name, &file.text, notes) else {
                continue;
            };
            if file.name.ends_with(".tfvars") || file.name.ends_with(".tfvars.json") {
                assigned.extend(top.attributes);
            }
            blocks.extend(top.blocks);
        }
        for file in overriding {
            let top = source::read(&file.name, &file.text, notes);
            for block in top.into_iter().flat_map(|top| top.blocks) {
                apply(&mut blocks, block);
            }
        }
        Self::new(folder, blocks, assigned)
    }

    pub(super) fn new(folder: &Path, blocks: Vec<Block>, assigned: Vec<Attribute>) -> Self {
        Self {
            folder: folder.to_owned(),
            locals: blocks
                .iter()
                .filter(|block| block.kind == "locals")
                .flat_map(|block| block.attributes.clone())
                .collect(),
            blocks: blocks.into_iter().map(Rc::new).collect(),
            assigned,
        }
    }

    pub(super) fn all(&self) -> &[Rc<Block>] {
        &self.blocks
    }

    pub(super) fn blocks(&self, kind: &'static str) -> impl Iterator<Item = &Rc<Block>> {
        self.blocks.iter().filter(move |block| block.kind == kind)
    }

    pub(super) fn find(&self, kind: &str, labels: &[&str]) -> Option<Rc<Block>> {
        self.blocks
            .iter()
            .find(|block| block.kind == kind && block.labels == labels)
            .cloned()
    }

    pub(super) fn local(&self, name: &str) -> Option<&Attribute> {
        self.locals.iter().find(|local| local.key == name)
    }
}

/// Whether a file is an override file of Terraform: `override.tf` or `…_override.tf`.
fn overrides(file: &SourceFile) -> bool {
    let name = file.name.rsplit('/').next().unwrap_or_default();
    let stem = name
        .strip_suffix(".json")
        .unwrap_or(name)
        .strip_suffix(".tf")
        .unwrap_or_default();
    stem == "override" || stem.ends_with("_override")
}

/// Applies an overriding block: its attributes replace those of the same block, and its inner
/// blocks all of their kind.
fn apply(blocks: &mut Vec<Block>, over: Block) {
    let same = |block: &&mut Block| {
        block.kind == over.kind && block.labels == over.labels && block.kind != "locals"
    };
    let Some(block) = blocks.iter_mut().find(same) else {
        blocks.insert(0, over);
        return;
    };
    block
        .attributes
        .retain(|attribute| over.attribute(&attribute.key).is_none());
    block
        .blocks
        .retain(|inner| over.blocks.iter().all(|other| other.kind != inner.kind));
    block.attributes.extend(over.attributes);
    block.blocks.extend(over.blocks);
}
