//! Translates Terraform files that deploy a service on AWS into a `weir.toml`.
//!
//! Each stage has a file: `source` and `folder` parse, `module` and `eval` resolve variables,
//! modules and references, `state` reads plans and states, which Terraform has evaluated itself,
//! `files` lists the resources of either, `group`, `balancer`, `service` and `scaling` read them
//! into a `plan`, and `write` writes it. `section` ensures that each key of a resource is taken
//! over or becomes a note.
//!
//! No program is run and AWS is not asked: values that only AWS knows stay unknown.

mod action;
mod alarm;
mod balancer;
mod condition;
mod container;
mod eval;
mod files;
mod folder;
mod functions;
mod group;
mod ingress;
mod input;
mod module;
mod node;
mod operators;
mod placeholders;
mod plan;
mod repeat;
mod replicas;
mod scaling;
mod schedule;
mod section;
mod service;
mod source;
mod stand_ins;
mod state;
mod steps;
mod template;
mod toml;
mod translation;
mod types;
mod value;
mod write;

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use serde_json::Value;

use super::note::{Location, Note, Notes};
use files::Files;
use folder::Source;
use plan::Plan;
use translation::{Module, Scope, Translation};

pub use input::{Disk, Options, Runner, SourceFile};

/// Stack of the thread that translates, bytes: expressions nest some hundred levels, each of a few
/// KiB.
const STACK: usize = 64 * 1024 * 1024;

/// A translated configuration.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The text of the `weir.toml`, with the notes as comments at its end.
    pub toml: String,
    /// Notes about what it does not contain.
    pub notes: Vec<Note>,
}

/// Translates the files of one Terraform module and of the modules that it calls, or a plan or
/// state.
pub fn import(files: &[SourceFile], disk: &dyn Disk, options: &Options) -> Imported {
    let translate = || translate(files, disk, options);
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(STACK);
        let thread = builder.spawn_scoped(scope, translate);
        match thread.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(imported)) => imported,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => translate(),
        }
    })
}

fn translate(files: &[SourceFile], disk: &dyn Disk, options: &Options) -> Imported {
    let notes = Notes::default();
    let first = files.first().map_or("", |file| file.name.as_str());
    let start = Location {
        file: Arc::from(first),
        line: 1,
    };
    let plan = if let Some(found) = evaluated(files) {
        plan(&Files::new(found, Vec::new(), &notes, start))
    } else {
        let folder = Path::new(first).parent().unwrap_or(Path::new(""));
        let source = Rc::new(Source::read(folder, files, &notes));
        let translation = Translation::new(disk, &notes, folder);
        let values = values(&translation, &source, options);
        let root = Module::root(Rc::clone(&translation), source, values);
        let plan = plan(&Files::of_module(&root, &notes, start));
        translation.clear();
        plan
    };
    let notes = notes.into_sorted();
    let toml = write::write(files, &plan, &notes, options);
    Imported { toml, notes }
}

/// The resources of the first file that is a plan or a state.
fn evaluated<'a>(files: &[SourceFile]) -> Option<Vec<files::Found<'a>>> {
    files.iter().find_map(|file| {
        let is_source = file.name.ends_with(".tf.json") || file.name.ends_with(".tfvars.json");
        if is_source || !source::is_json(&file.name, &file.text) {
            return None;
        }
        let value: Value = serde_json::from_str(&file.text).ok()?;
        let file = Arc::from(file.name.as_str());
        state::read(&value, &Location { file, line: 1 })
    })
}

/// Values of the root's variables: those of the environment, of files, of the command line, later
/// ones replacing earlier ones.
fn values(
    translation: &Rc<Translation<'_>>,
    source: &Rc<Source>,
    options: &Options,
) -> HashMap<String, Value> {
    let text = |(name, value): &(String, String)| (name.clone(), Value::from(value.as_str()));
    let mut values: HashMap<String, Value> = options.environment.iter().map(text).collect();
    let without_values = Module::root(Rc::clone(translation), Rc::clone(source), HashMap::new());
    let scope = Scope::new(without_values);
    for assigned in &source.assigned {
        values.insert(assigned.key.clone(), scope.value(&assigned.expression));
    }
    values.extend(options.variables.iter().map(text));
    values
}

fn plan(files: &Files<'_>) -> Plan {
    let mut groups = group::read(files);
    service::read(files, &mut groups);
    scaling::read(files, &mut groups);
    let mut listeners = balancer::read(files, &mut groups);
    placeholders::add(files, &mut listeners, &mut groups);
    files.list_others();
    Plan { listeners, groups }
}
