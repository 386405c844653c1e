//! Modules, and what expressions refer to in them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Map, Value};

use super::eval::Scope;
use super::folder::Source;
use super::known;
use super::repeat::{self, Instance};
use super::source::{Attribute, Block};
use super::types;
use super::value::{text, unresolved};
use super::world::{Entry, World};

/// How deep modules may nest, and how many there may be.
const MAX_NESTED: usize = 16;
const MAX_MODULES: usize = 500;

/// One of those that a `module` block makes, or the root.
pub(super) struct Module<'a> {
    pub(super) world: Rc<World<'a>>,
    /// `module.web["a"].`, or nothing of the root.
    pub(super) prefix: String,
    /// The names of the calls that lead to it, each with its key.
    pub(super) calls: Vec<(String, Option<String>)>,
    pub(super) source: Rc<Source>,
    inputs: Inputs<'a>,
}

enum Inputs<'a> {
    Root(HashMap<String, Value>),
    Call(Rc<Block>, Scope<'a>),
}

impl<'a> Module<'a> {
    pub(super) fn root(
        world: Rc<World<'a>>,
        source: Rc<Source>,
        values: HashMap<String, Value>,
    ) -> Rc<Self> {
        Rc::new(Self {
            world,
            prefix: String::new(),
            calls: Vec::new(),
            source,
            inputs: Inputs::Root(values),
        })
    }

    /// The value of an input variable.
    pub(super) fn variable(self: &Rc<Self>, name: &str) -> Option<Value> {
        let key = format!("{}var.{name}", self.prefix);
        let found = self.world.once(&key, || {
            let declared = self.source.find("variable", &[name]);
            let given = match &self.inputs {
                Inputs::Root(values) => values.get(name).cloned(),
                Inputs::Call(block, scope) => {
                    let attribute = block.attribute(name);
                    attribute.map(|attribute| scope.value(&attribute.expression))
                }
            };
            let scope = Scope::new(Rc::clone(self));
            let default = || {
                let default = declared.as_ref()?.attribute("default")?;
                Some(scope.value(&default.expression))
            };
            let value = match given {
                Some(Value::Null) => default().or(Some(Value::Null)),
                Some(given) => Some(given),
                None => default(),
            };
            let kind = declared.as_ref().and_then(|block| block.attribute("type"));
            Ok(match (value, kind) {
                (Some(value), Some(kind)) => Some(types::convert(value, &kind.expression, &scope)),
                (value, _) => value,
            })
        });
        found.ok().flatten()
    }

    pub(super) fn local(self: &Rc<Self>, name: &str) -> Option<Value> {
        let attribute: &Attribute = self.source.local(name)?;
        let key = format!("{}local.{name}", self.prefix);
        let scope = Scope::new(Rc::clone(self));
        let value = self
            .world
            .once(&key, || Ok(Some(scope.value(&attribute.expression))));
        value.ok().flatten()
    }

    /// `path.module` and its like.
    pub(super) fn path(&self, name: &str) -> Value {
        match name {
            "module" => Value::from(self.source.folder.to_string_lossy()),
            _ => Value::from("."),
        }
    }

    pub(super) fn read_file(&self, path: &str) -> Option<String> {
        // Relative to where Terraform runs, which is the root's folder; `path.module` is
        // relative to where Weir runs.
        let disk = self.world.disk;
        let read = disk.file(&self.world.root.join(path));
        read.or_else(|_| disk.file(Path::new(path))).ok()
    }

    /// `module.NAME`.
    pub(super) fn call(self: &Rc<Self>, name: &str) -> Option<Value> {
        let block = self.source.find("module", &[name])?;
        self.all_of(&format!("module.{name}"), &block)
    }

    /// `TYPE.NAME` or `data.TYPE.NAME`.
    pub(super) fn resource(self: &Rc<Self>, path: &str) -> Option<Value> {
        let (kind, rest) = match path.strip_prefix("data.") {
            Some(rest) => ("data", rest),
            None => ("resource", path),
        };
        let (type_of, name) = rest.split_once('.')?;
        let block = self.source.find(kind, &[type_of, name])?;
        self.all_of(path, &block)
    }

    /// A mark for what a block makes, or a list or map of marks if it makes several.
    fn all_of(self: &Rc<Self>, path: &str, block: &Rc<Block>) -> Option<Value> {
        let instances = self.instances(path, block)?;
        let mark = |instance: &Instance<'_>| unresolved(&instance.address);
        Some(match instances.first().map(|first| &first.key) {
            None if block.attribute("for_each").is_some() => Value::Object(Map::new()),
            None => Value::Array(Vec::new()),
            Some(None) => instances.iter().map(mark).next()?,
            Some(Some(Value::String(_))) => {
                let pair = |instance: &Instance<'_>| Some((instance.key_text()?, mark(instance)));
                Value::Object(instances.iter().filter_map(pair).collect())
            }
            Some(Some(_)) => instances.iter().map(mark).collect(),
        })
    }

    /// What a block makes; `None` while that is being found out.
    pub(super) fn instances(
        self: &Rc<Self>,
        path: &str,
        block: &Rc<Block>,
    ) -> Option<Rc<Vec<Instance<'a>>>> {
        let base = format!("{}{path}", self.prefix);
        if let Some(found) = self.world.instances.borrow().get(&base) {
            return found.clone();
        }
        self.world.instances.borrow_mut().insert(base.clone(), None);
        let instances = repeat::instances(&Scope::new(Rc::clone(self)), &base, block);
        for instance in &instances {
            let entry = if block.kind == "module" {
                self.child(instance, block).map(Entry::Module)
            } else {
                Some(Entry::Resource(Rc::clone(block), instance.scope.clone()))
            };
            let mut entries = self.world.entries.borrow_mut();
            entries.extend(entry.map(|entry| (instance.address.clone(), entry)));
        }
        let instances = Some(Rc::new(instances));
        self.world
            .instances
            .borrow_mut()
            .insert(base, instances.clone());
        instances
    }

    /// The modules that this one calls, each once for each of its instances.
    pub(super) fn children(self: &Rc<Self>) -> Vec<Rc<Module<'a>>> {
        let mut children = Vec::new();
        for block in self.source.blocks("module") {
            let Some(name) = block.labels.first() else {
                continue;
            };
            let instances = self.instances(&format!("module.{name}"), block);
            for instance in instances.iter().flat_map(|all| all.iter()) {
                if let Some(Entry::Module(module)) =
                    self.world.entries.borrow().get(&instance.address)
                {
                    children.push(Rc::clone(module));
                }
            }
        }
        children
    }

    /// Whether the source of a module that this one calls is there.
    pub(super) fn reads(self: &Rc<Self>, block: &Rc<Block>) -> bool {
        let name = block.labels.first().map_or("", String::as_str);
        let instances = self.instances(&format!("module.{name}"), block);
        let mut all = instances.iter().flat_map(|all| all.iter());
        all.all(|instance| self.world.knows(&instance.address))
    }

    fn child(self: &Rc<Self>, instance: &Instance<'a>, block: &Rc<Block>) -> Option<Rc<Self>> {
        let count = self.world.modules.get() + 1;
        self.world.modules.set(count);
        if count > MAX_MODULES || self.calls.len() >= MAX_NESTED {
            return None;
        }
        let name = block.labels.first()?;
        let source = self.child_source(name, block)?;
        let call = (name.clone(), instance.key_text());
        Some(Rc::new(Self {
            world: Rc::clone(&self.world),
            prefix: format!("{}.", instance.address),
            calls: [self.calls.as_slice(), &[call]].concat(),
            source,
            inputs: Inputs::Call(Rc::clone(block), instance.scope.clone()),
        }))
    }

    fn child_source(self: &Rc<Self>, name: &str, block: &Block) -> Option<Rc<Source>> {
        let source = block.attribute("source")?;
        let source = text(&Scope::new(Rc::clone(self)).value(&source.expression));
        if source.starts_with("./") || source.starts_with("../") || source == "." || source == ".."
        {
            return self.world.folder(&normal(&self.source.folder.join(source)));
        }
        let calls = self.calls.iter().map(|(name, _)| name.as_str());
        let names: Vec<_> = calls.chain([name]).collect();
        if let Some(folder) = self.world.installed.get(&names.join(".")) {
            let found = self.world.folder(&normal(folder));
            if found.is_some() {
                return found;
            }
        }
        known::source(&source, block, self.world.notes)
    }
}

/// A path without its `.` and with `a/..` taken out, as notes name it.
fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut parts: Vec<Component<'_>> = Vec::new();
    for part in path.components() {
        match (part, parts.last()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                parts.pop();
            }
            (part, _) => parts.push(part),
        }
    }
    parts.into_iter().collect()
}
