//! Terraform that deploys a service on AWS, as a `weir.toml` that does the same.
//!
//! In stages, each in its own file: `source` and `folder` parse, `module` and `eval` resolve
//! variables, modules and references, `state` reads what Terraform has evaluated itself,
//! `files` lists the resources of either, `group`, `balancer`, `service` and `scaling` read
//! them into a `plan`, and `write` writes that. Every key of a resource that is read is taken
//! over or becomes a note: `section` sees to that.
//!
//! Nothing is run and nothing is asked: what only AWS knows is not known here.

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
mod known;
mod module;
mod node;
mod operators;
mod plan;
mod repeat;
mod replicas;
mod scaling;
mod schedule;
mod section;
mod service;
mod source;
mod standin;
mod state;
mod steps;
mod template;
mod types;
mod value;
mod world;
mod write;

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::{io, thread};

use serde_json::Value;

use super::note::{Note, Notes, Place};
use eval::Scope;
use files::Files;
use folder::Source;
use module::Module;
use plan::Plan;
use world::World;

/// Of the thread that translates. Expressions nest some hundred levels, each of a few KiB.
const STACK: usize = 64 * 1024 * 1024;

/// A file of Terraform's: `.tf`, `.tfvars`, their JSON forms, a plan or a state.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As notes and comments name it: its path.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Where modules and the files that expressions name are read from.
pub trait Disk: Sync {
    /// The `.tf` files of a folder.
    ///
    /// # Errors
    ///
    /// If it is not there or cannot be read.
    fn folder(&self, path: &Path) -> io::Result<Vec<SourceFile>>;

    /// A file's text.
    ///
    /// # Errors
    ///
    /// If it is not there, cannot be read or is not UTF-8.
    fn file(&self, path: &Path) -> io::Result<String>;
}

/// What Terraform does not say.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who runs what an ECS service ran.
    pub runner: Runner,
    /// The program and its arguments for [`Runner::Process`]; empty writes a guess that an
    /// environment variable can correct.
    pub command: Vec<String>,
    /// Targets that run already: then nothing is run nor scaled. Empty: they are run.
    pub targets: Vec<String>,
    /// Values of input variables, over those of the files.
    pub variables: Vec<(String, String)>,
    /// The same of the environment's `TF_VAR_`, below those of the files.
    pub environment: Vec<(String, String)>,
}

/// Who runs the replicas of an ECS service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runner {
    /// Weir, as processes of this machine.
    #[default]
    Process,
    /// The Docker engine of this machine.
    Docker,
    /// ECS, as before.
    Ecs,
}

/// A translated configuration.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The text of the `weir.toml`, with the notes as comments at its end.
    pub toml: String,
    /// What it does not contain.
    pub notes: Vec<Note>,
}

/// Translates the files of one Terraform module and those of the modules that it calls, or
/// a plan or state.
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
    let start = Place {
        file: Arc::from(first),
        line: 1,
    };
    let plan = if let Some(found) = evaluated(files) {
        plan(&Files::new(found, Vec::new(), &notes, start))
    } else {
        let folder = Path::new(first).parent().unwrap_or(Path::new(""));
        let source = Rc::new(Source::read(folder, files, &notes));
        let world = World::new(disk, &notes, folder);
        let values = values(&world, &source, options);
        let root = Module::root(Rc::clone(&world), source, values);
        let plan = plan(&Files::of_module(&root, &notes, start));
        world.clear();
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
        state::read(&value, &Place { file, line: 1 })
    })
}

/// Values of the root's variables: of the environment, of files, of the command line.
fn values(world: &Rc<World<'_>>, source: &Rc<Source>, options: &Options) -> HashMap<String, Value> {
    let text = |(name, value): &(String, String)| (name.clone(), Value::from(value.as_str()));
    let mut values: HashMap<String, Value> = options.environment.iter().map(text).collect();
    let nowhere = Module::root(Rc::clone(world), Rc::clone(source), HashMap::new());
    let scope = Scope::new(nowhere);
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
    standin::complete(files, &mut listeners, &mut groups);
    files.list_others();
    Plan { listeners, groups }
}
