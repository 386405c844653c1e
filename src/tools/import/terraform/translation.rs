//! The modules of a translation, the scopes of their expressions, and what all of them share:
//! limits, files, addresses and values.
//!
//! A value is computed once, when it is needed first: locals, modules and resources may refer to
//! each other in any order. A value that refers to itself is unknown. `module` and `eval` have the
//! methods that resolve references and expressions.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;

use super::folder::Source;
use super::input::Disk;
use super::source::Block;
use super::value::{Evaluated, size, text, unresolved};
use crate::tools::import::note::Notes;

/// Most expressions that one translation evaluates: large ones need some ten thousand.
const MAX_STEPS: u64 = 2_000_000;

/// Bytes that are copied in the time of one expression.
const BYTES_PER_STEP: usize = 1024;

/// Most bytes of all kept values: those of large deployments have a few hundred KiB.
const MAX_KEPT: usize = 64 * 1024 * 1024;

/// Deepest nesting of expressions and references; each level takes a few KiB of stack.
const MAX_DEPTH: u32 = 400;

/// The state that all modules of a translation share.
pub(super) struct Translation<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) root: PathBuf,
    pub(super) notes: &'a Notes,
    steps: Cell<u64>,
    kept: Cell<usize>,
    depth: Cell<u32>,
    trying: Cell<u32>,
    pub(super) modules: Cell<usize>,
    folders: RefCell<HashMap<PathBuf, Option<Rc<Source>>>>,
    pub(super) entries: RefCell<HashMap<String, Addressed<'a>>>,
    pub(super) instances: RefCell<HashMap<String, Option<Rc<Vec<Instance<'a>>>>>>,
    values: RefCell<HashMap<String, Option<Evaluated<Option<Value>>>>>,
    /// Folders of modules by their names, from `.terraform/modules/modules.json`.
    pub(super) installed: HashMap<String, PathBuf>,
}

/// A resource or module with an address.
#[derive(Clone)]
pub(super) enum Addressed<'a> {
    Resource(Rc<Block>, Scope<'a>),
    Module(Rc<Module<'a>>),
}

/// The root module, or one instance of a `module` block.
pub(super) struct Module<'a> {
    pub(super) translation: Rc<Translation<'a>>,
    /// `module.web["a"].`; empty for the root.
    pub(super) prefix: String,
    /// The calls that lead to it from the root.
    pub(super) calls: Vec<ModuleCall>,
    pub(super) source: Rc<Source>,
    pub(super) inputs: Inputs<'a>,
}

/// One instance of a `module` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModuleCall {
    pub(super) name: String,
    /// The key of `for_each` or the index of `count`.
    pub(super) key: Option<String>,
}

/// The values of a module's variables.
pub(super) enum Inputs<'a> {
    Root(HashMap<String, Value>),
    Call(Rc<Block>, Scope<'a>),
}

/// The names that an expression may refer to.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    pub(super) module: Rc<Module<'a>>,
    pub(super) names: Names,
}

/// `each`, `count`, and the names of `for` expressions and dynamic blocks.
#[derive(Clone, Default)]
pub(super) struct Names(Option<Rc<(String, Value, Names)>>);

impl Names {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let mut names = self;
        while let Some(entry) = &names.0 {
            if entry.0 == name {
                return Some(&entry.1);
            }
            names = &entry.2;
        }
        None
    }
}

impl<'a> Scope<'a> {
    pub(super) fn new(module: Rc<Module<'a>>) -> Self {
        Self {
            module,
            names: Names::default(),
        }
    }

    /// This scope with one more name.
    pub(super) fn with(&self, name: &str, value: Value) -> Self {
        Self {
            module: Rc::clone(&self.module),
            names: Names(Some(Rc::new((name.to_owned(), value, self.names.clone())))),
        }
    }
}

/// One instance of a block with `count` or `for_each`.
pub(super) struct Instance<'a> {
    pub(super) address: String,
    /// The key of `for_each` or the index of `count`.
    pub(super) key: Option<Value>,
    pub(super) scope: Scope<'a>,
    /// Why the number of instances is unknown; then one is assumed.
    pub(super) assumed: Option<String>,
}

impl Instance<'_> {
    pub(super) fn key_text(&self) -> Option<String> {
        self.key.as_ref().map(text)
    }
}

/// Decrements a depth when it is dropped.
pub(super) struct DepthGuard<'w>(&'w Cell<u32>);

impl Drop for DepthGuard<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl<'a> Translation<'a> {
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

    /// Drops all modules, which own the translation that owns them.
    pub(super) fn clear(&self) {
        self.entries.borrow_mut().clear();
        self.instances.borrow_mut().clear();
    }

    /// Counts an expression one level deeper; `None` if a limit is reached.
    pub(super) fn enter(&self) -> Option<DepthGuard<'_>> {
        self.steps.set(self.steps.get() + 1);
        let is_spent = self.steps.get() > MAX_STEPS || self.kept.get() > MAX_KEPT;
        if is_spent || self.depth.get() >= MAX_DEPTH {
            return None;
        }
        self.depth.set(self.depth.get() + 1);
        Some(DepthGuard(&self.depth))
    }

    /// Counts a value that is kept.
    pub(super) fn keep(&self, value: &Value) {
        self.kept.set(self.kept.get() + size(value));
    }

    /// Marks the evaluation as within a `try` until the guard is dropped.
    pub(super) fn trying(&self) -> DepthGuard<'_> {
        self.trying.set(self.trying.get() + 1);
        DepthGuard(&self.trying)
    }

    /// Whether an expression is evaluated within a `try`.
    pub(super) fn is_trying(&self) -> bool {
        self.trying.get() > 0
    }

    /// Whether it is the address of a resource or module.
    pub(super) fn knows(&self, reference: &str) -> bool {
        self.entries.borrow().contains_key(reference)
    }

    /// Whether it is the address of a resource or an attribute of one.
    pub(super) fn names_resource(&self, reference: &str) -> bool {
        let owner = reference.rsplit_once('.').map_or("", |(owner, _)| owner);
        let entries = self.entries.borrow();
        [reference, owner].iter().any(|address| {
            matches!(entries.get(*address), Some(Addressed::Resource(block, _)) if block.kind == "resource")
        })
    }

    /// Returns a value that is computed once; one that needs itself is unknown.
    pub(super) fn once(
        &self,
        key: &str,
        compute: impl FnOnce() -> Evaluated<Option<Value>>,
    ) -> Evaluated<Option<Value>> {
        if let Some(found) = self.values.borrow().get(key) {
            return match found {
                Some(value) => {
                    // Copying a large value often takes as long as computing it.
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
        // The value must not depend on whether `try` needs it first.
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
        let source = self
            .disk
            .folder(path)
            .ok()
            .filter(|files| !files.is_empty())
            .map(|files| Rc::new(Source::read(path, &files, self.notes)));
        self.folders
            .borrow_mut()
            .insert(path.to_owned(), source.clone());
        source
    }
}

/// The folders in which `terraform init` has stored modules.
fn installed(disk: &dyn Disk, root: &Path) -> HashMap<String, PathBuf> {
    let list = disk.file(&root.join(".terraform/modules/modules.json"));
    let list: Value = list
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let modules = list["Modules"].as_array();
    modules
        .into_iter()
        .flatten()
        .filter_map(|module| {
            let (key, folder) = (module["Key"].as_str()?, module["Dir"].as_str()?);
            Some((key.to_owned(), root.join(folder)))
        })
        .collect()
}
