//! What all modules of a translation share: limits, files, addresses and values.
//!
//! A value is computed when something asks for it, once: locals, modules and resources may
//! refer to each other in any order, and what refers to itself is not known.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Map, Value};

use super::Disk;
use super::eval::{Evaluated, Mistake, Scope};
use super::folder::Source;
use super::module::Module;
use super::repeat::Instance;
use super::source::Block;
use super::value::{reference_in, size, text, unresolved};
use crate::tools::import::note::Notes;

/// Expressions that are computed for one translation: large ones need some ten thousand.
const MAX_STEPS: u64 = 2_000_000;

/// Bytes that are copied in the time of such a step.
const BYTES_PER_STEP: usize = 1024;

/// Bytes of all values that are kept: those of large deployments have a few hundred KiB.
const MAX_KEPT: usize = 64 * 1024 * 1024;

/// How deep expressions and what they refer to may nest; each level takes a few KiB of stack.
const MAX_DEPTH: u32 = 400;

/// What all modules of a translation share.
pub(super) struct World<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) root: PathBuf,
    pub(super) notes: &'a Notes,
    steps: Cell<u64>,
    kept: Cell<usize>,
    depth: Cell<u32>,
    trying: Cell<u32>,
    pub(super) modules: Cell<usize>,
    folders: RefCell<HashMap<PathBuf, Option<Rc<Source>>>>,
    pub(super) entries: RefCell<HashMap<String, Entry<'a>>>,
    pub(super) instances: RefCell<HashMap<String, Option<Rc<Vec<Instance<'a>>>>>>,
    values: RefCell<HashMap<String, Option<Evaluated<Option<Value>>>>>,
    /// Folders of modules by their names, from `.terraform/modules/modules.json`.
    pub(super) installed: HashMap<String, PathBuf>,
}

/// What has an address.
#[derive(Clone)]
pub(super) enum Entry<'a> {
    Resource(Rc<Block>, Scope<'a>),
    Module(Rc<Module<'a>>),
}

/// Counts how deep something nests.
pub(super) struct Depth<'w>(&'w Cell<u32>);

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl<'a> World<'a> {
    pub(super) fn new(disk: &'a dyn Disk, notes: &'a Notes, root: &Path) -> Rc<Self> {
        Rc::new(Self {
            disk,
            root: root.to_owned(),
            notes,
            steps: Cell::new(0),
            kept: Cell::new(0),
            depth: Cell::new(0),
            trying: Cell::new(0),
            modules: Cell::new(0),
            folders: RefCell::default(),
            entries: RefCell::default(),
            instances: RefCell::default(),
            values: RefCell::default(),
            installed: installed(disk, root),
        })
    }

    /// Modules know the world and the world knows them: this lets go of all.
    pub(super) fn clear(&self) {
        self.entries.borrow_mut().clear();
        self.instances.borrow_mut().clear();
    }

    /// One expression more, one level deeper; `None` if that is too many.
    pub(super) fn enter(&self) -> Option<Depth<'_>> {
        self.steps.set(self.steps.get() + 1);
        let is_spent = self.steps.get() > MAX_STEPS || self.kept.get() > MAX_KEPT;
        if is_spent || self.depth.get() >= MAX_DEPTH {
            return None;
        }
        self.depth.set(self.depth.get() + 1);
        Some(Depth(&self.depth))
    }

    /// Counts a value that is kept.
    pub(super) fn keep(&self, value: &Value) {
        self.kept.set(self.kept.get() + size(value));
    }

    /// Counts a `try` for as long as what it returns is kept.
    pub(super) fn trying(&self) -> Depth<'_> {
        self.trying.set(self.trying.get() + 1);
        Depth(&self.trying)
    }

    /// Whether an expression is evaluated within a `try`.
    pub(super) fn is_trying(&self) -> bool {
        self.trying.get() > 0
    }

    /// Whether it is the address of a resource or of a module that is read.
    pub(super) fn knows(&self, reference: &str) -> bool {
        self.entries.borrow().contains_key(reference)
    }

    /// Whether it is a resource or an attribute of one.
    pub(super) fn names_resource(&self, reference: &str) -> bool {
        let owner = reference.rsplit_once('.').map_or("", |(owner, _)| owner);
        let entries = self.entries.borrow();
        [reference, owner].iter().any(|address| {
            matches!(entries.get(*address), Some(Entry::Resource(block, _)) if block.kind == "resource")
        })
    }

    /// The value of an attribute or output; `None` if only AWS knows it.
    pub(super) fn attribute(&self, address: &str, name: &str) -> Option<Evaluated> {
        let entry = self.entries.borrow().get(address).cloned()?;
        let key = format!("{address}.{name}");
        let value = self.once(&key, || match &entry {
            Entry::Module(module) => match module.source.find("output", &[name]) {
                Some(output) => {
                    let value = output.attribute("value").ok_or(Mistake)?;
                    Scope::new(Rc::clone(module))
                        .eval(&value.expression)
                        .map(Some)
                }
                None => Err(Mistake),
            },
            Entry::Resource(block, scope) => match block.attribute(name) {
                Some(attribute) => scope.eval(&attribute.expression).map(Some),
                None => Ok(computed(block, scope, name)),
            },
        });
        value.transpose()
    }

    /// A value that is computed once; what needs itself is not known.
    pub(super) fn once(
        &self,
        key: &str,
        compute: impl FnOnce() -> Evaluated<Option<Value>>,
    ) -> Evaluated<Option<Value>> {
        if let Some(found) = self.values.borrow().get(key) {
            return match found {
                Some(value) => {
                    // What is copied often takes time as computing it would.
                    if let Ok(Some(value)) = value {
                        let copied = size(value) / BYTES_PER_STEP;
                        self.steps.set(self.steps.get() + copied as u64);
                    }
                    value.clone()
                }
                None => Ok(Some(unresolved(&format!("{key}, which refers to itself")))),
            };
        }
        self.values.borrow_mut().insert(key.to_owned(), None);
        // A value is the same whether `try` asked for it first or not.
        let trying = self.trying.replace(0);
        let value = compute();
        self.trying.set(trying);
        if let Ok(Some(value)) = &value {
            self.keep(value);
        }
        self.values
            .borrow_mut()
            .insert(key.to_owned(), Some(value.clone()));
        value
    }

    pub(super) fn folder(&self, path: &Path) -> Option<Rc<Source>> {
        if let Some(found) = self.folders.borrow().get(path) {
            return found.clone();
        }
        let files = self.disk.folder(path);
        let source = files.ok().filter(|files| !files.is_empty());
        let source = source.map(|files| Rc::new(Source::read(path, &files, self.notes)));
        self.folders
            .borrow_mut()
            .insert(path.to_owned(), source.clone());
        source
    }
}

/// Attributes that are not written and known all the same.
fn computed(block: &Block, scope: &Scope<'_>, name: &str) -> Option<Value> {
    let value = |key: &str| {
        block
            .attribute(key)
            .map(|found| scope.value(&found.expression))
    };
    match (block.labels.first()?.as_str(), name) {
        // Images are found by their repository's name here.
        ("aws_ecr_repository" | "aws_ecrpublic_repository", "repository_url") => value("name"),
        ("template_file", "rendered") => {
            let names = value("vars").unwrap_or_else(|| Value::Object(Map::new()));
            let template = value("template")?;
            if reference_in(&template).is_some() {
                return None;
            }
            scope.render(&text(&template), names.as_object()?).ok()
        }
        ("terraform_data", "output") => value("input"),
        ("null_data_source", "outputs") => value("inputs"),
        ("local_file", "content") => value("content"),
        // A data source that looks for what these files make.
        ("aws_ecs_task_definition", "arn" | "family" | "arn_without_revision")
            if block.kind == "data" =>
        {
            value("task_definition")
        }
        ("aws_ecs_cluster", "arn" | "id") if block.kind == "data" => value("cluster_name"),
        ("aws_ecs_service", "arn" | "id") if block.kind == "data" => value("service_name"),
        _ => None,
    }
}

/// Where `terraform init` has put modules; nothing if it has not run.
fn installed(disk: &dyn Disk, root: &Path) -> HashMap<String, PathBuf> {
    let list = disk.file(&root.join(".terraform/modules/modules.json"));
    let list: Value = list
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let modules = list["Modules"].as_array();
    let entry = |module: &Value| {
        let (key, folder) = (module["Key"].as_str()?, module["Dir"].as_str()?);
        Some((key.to_owned(), root.join(folder)))
    };
    modules.into_iter().flatten().filter_map(entry).collect()
}
