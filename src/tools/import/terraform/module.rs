//! Resolves references within a module: variables, locals, modules, resources and files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Map, Value};

use super::folder::Source;
use super::repeat;
use super::source::{Attribute, Block};
use super::stand_ins;
use super::translation::{Addressed, Inputs, Instance, Module, ModuleCall, Scope, Translation};
use super::types;
use super::value::{Evaluated, Mistake, reference_in, text, unresolved};

/// Deepest nesting of modules.
const MAX_NESTED: usize = 16;
/// Most modules of a translation.
const MAX_MODULES: usize = 500;

impl<'a> Module<'a> {
    pub(super) fn root(
        translation: Rc<Translation<'a>>,
        source: Rc<Source>,
        values: HashMap<String, Value>,
    ) -> Rc<Self> {
        Rc::new(Self {
            translation,
            prefix: String::new(),
            calls: Vec::new(),
            source,
            inputs: Inputs::Root(values),
        })
    }

    /// The value of an input variable.
    pub(super) fn variable(self: &Rc<Self>, name: &str) -> Option<Value> {
        let key = format!("{}var.{name}", self.prefix);
        let found = self.translation.once(&key, || {
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
            .translation
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
        // A path is relative to the root's folder, where Terraform runs, or, with `path.module`,
        // to the folder where Weir runs.
        let disk = self.translation.disk;
        let read = disk.file(&self.translation.root.join(path));
        read.or_else(|_| disk.file(Path::new(path))).ok()
    }

    /// The value of `module.NAME`.
    pub(super) fn call(self: &Rc<Self>, name: &str) -> Option<Value> {
        let block = self.source.find("module", &[name])?;
        self.all_of(&format!("module.{name}"), &block)
    }

    /// The value of `TYPE.NAME` or `data.TYPE.NAME`.
    pub(super) fn resource(self: &Rc<Self>, path: &str) -> Option<Value> {
        let (kind, rest) = match path.strip_prefix("data.") {
            Some(rest) => ("data", rest),
            None => ("resource", path),
        };
        let (type_of, name) = rest.split_once('.')?;
        let block = self.source.find(kind, &[type_of, name])?;
        self.all_of(path, &block)
    }

    /// A mark for the instance of a block, or a list or map of marks for several.
    fn all_of(self: &Rc<Self>, path: &str, block: &Rc<Block>) -> Option<Value> {
        let instances = self.instances(path, block)?;
        let mark = |instance: &Instance<'_>| unresolved(&instance.address);
        Some(match instances.first().map(|first| &first.key) {
            None if block.attribute("for_each").is_some() => Value::Object(Map::new()),
            None => Value::Array(Vec::new()),
            Some(None) => instances.iter().map(mark).next()?,
            Some(Some(Value::String(_))) => Value::Object(
                instances
                    .iter()
                    .filter_map(|instance| Some((instance.key_text()?, mark(instance))))
                    .collect(),
            ),
            Some(Some(_)) => instances.iter().map(mark).collect(),
        })
    }

    /// The instances of a block; `None` while they are being computed.
    pub(super) fn instances(
        self: &Rc<Self>,
        path: &str,
        block: &Rc<Block>,
    ) -> Option<Rc<Vec<Instance<'a>>>> {
        let base = format!("{}{path}", self.prefix);
        if let Some(found) = self.translation.instances.borrow().get(&base) {
            return found.clone();
        }
        self.translation
            .instances
            .borrow_mut()
            .insert(base.clone(), None);
        let instances = repeat::instances(&Scope::new(Rc::clone(self)), &base, block);
        for instance in &instances {
            let entry = if block.kind == "module" {
                self.child(instance, block).map(Addressed::Module)
            } else {
                Some(Addressed::Resource(
                    Rc::clone(block),
                    instance.scope.clone(),
                ))
            };
            let mut entries = self.translation.entries.borrow_mut();
            entries.extend(entry.map(|entry| (instance.address.clone(), entry)));
        }
        let instances = Some(Rc::new(instances));
        self.translation
            .instances
            .borrow_mut()
            .insert(base, instances.clone());
        instances
    }

    /// The instances of all modules that this one calls.
    pub(super) fn children(self: &Rc<Self>) -> Vec<Rc<Module<'a>>> {
        let mut children = Vec::new();
        for block in self.source.blocks("module") {
            let Some(name) = block.labels.first() else {
                continue;
            };
            let instances = self.instances(&format!("module.{name}"), block);
            for instance in instances.iter().flat_map(|all| all.iter()) {
                if let Some(Addressed::Module(module)) =
                    self.translation.entries.borrow().get(&instance.address)
                {
                    children.push(Rc::clone(module));
                }
            }
        }
        children
    }

    /// Whether the source of a called module is available.
    pub(super) fn reads(self: &Rc<Self>, block: &Rc<Block>) -> bool {
        let name = block.labels.first().map_or("", String::as_str);
        let instances = self.instances(&format!("module.{name}"), block);
        let mut all = instances.iter().flat_map(|all| all.iter());
        all.all(|instance| self.translation.knows(&instance.address))
    }

    fn child(self: &Rc<Self>, instance: &Instance<'a>, block: &Rc<Block>) -> Option<Rc<Self>> {
        let count = self.translation.modules.get() + 1;
        self.translation.modules.set(count);
        if count > MAX_MODULES || self.calls.len() >= MAX_NESTED {
            return None;
        }
        let name = block.labels.first()?;
        let source = self.child_source(name, block)?;
        let call = ModuleCall {
            name: name.clone(),
            key: instance.key_text(),
        };
        Some(Rc::new(Self {
            translation: Rc::clone(&self.translation),
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
            return self
                .translation
                .folder(&normal(&self.source.folder.join(source)));
        }
        let calls = self.calls.iter().map(|call| call.name.as_str());
        let names: Vec<_> = calls.chain([name]).collect();
        if let Some(folder) = self.translation.installed.get(&names.join(".")) {
            let found = self.translation.folder(&normal(folder));
            if found.is_some() {
                return found;
            }
        }
        stand_ins::source(&source, block, self.translation.notes)
    }
}

impl Translation<'_> {
    /// The value of an attribute or output; `None` if only AWS knows it.
    pub(super) fn attribute(&self, address: &str, name: &str) -> Option<Evaluated> {
        let entry = self.entries.borrow().get(address).cloned()?;
        let key = format!("{address}.{name}");
        let value = self.once(&key, || match &entry {
            Addressed::Module(module) => match module.source.find("output", &[name]) {
                Some(output) => {
                    let value = output.attribute("value").ok_or(Mistake)?;
                    Scope::new(Rc::clone(module))
                        .eval(&value.expression)
                        .map(Some)
                }
                None => Err(Mistake),
            },
            Addressed::Resource(block, scope) => match block.attribute(name) {
                Some(attribute) => scope.eval(&attribute.expression).map(Some),
                None => Ok(computed(block, scope, name)),
            },
        });
        value.transpose()
    }
}

/// The value of an attribute that is not written but follows from others.
fn computed(block: &Block, scope: &Scope<'_>, name: &str) -> Option<Value> {
    let value = |key: &str| {
        block
            .attribute(key)
            .map(|found| scope.value(&found.expression))
    };
    match (block.labels.first()?.as_str(), name) {
        // Weir needs the name of an image only.
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
        // A data source may refer to a resource of these files.
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

/// Normalizes a path, as notes name it: without `.` and `a/..`.
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
