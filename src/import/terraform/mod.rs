//! Terraform that deploys a service on AWS, as a `weir.toml` that does the same.
//!
//! In stages, each in its own file: `source` parses, `scope` resolves variables, locals
//! and references, `group`, `balancer`, `service` and `scaling` read resources into a
//! `plan`, and `write` writes that. Every key of a resource that is read is taken over or
//! becomes a note: `section` sees to that.
//!
//! Nothing is run and nobody is asked: modules, data sources and functions that read files
//! are not known here.

mod action;
mod balancer;
mod condition;
mod files;
mod functions;
mod group;
mod ingress;
mod plan;
mod replicas;
mod scaling;
mod schedule;
mod scope;
mod section;
mod service;
mod source;
mod write;

use super::note::{Note, Notes};
use files::Files;
use plan::Plan;
use scope::Scope;

/// A file of Terraform's: `.tf` or `.tfvars`.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As notes and comments name it.
    pub name: String,
    /// Its text.
    pub text: String,
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

/// Translates files of one Terraform module.
pub fn import(files: &[SourceFile], options: &Options) -> Imported {
    let notes = Notes::default();
    let read = |file: &SourceFile| source::read(&file.name, &file.text, &notes);
    let blocks: Vec<_> = files.iter().filter_map(read).collect();
    let scope = Scope::new(&blocks, &options.variables);
    let plan = plan(&Files::new(&blocks, scope, &notes));
    let notes = notes.into_sorted();
    let toml = write::write(files, &plan, &notes, options);
    Imported { toml, notes }
}

fn plan(files: &Files<'_>) -> Plan {
    let mut groups = group::read(files);
    service::read(files, &mut groups);
    scaling::read(files, &mut groups);
    let listeners = balancer::read(files, &mut groups);
    files.list_others();
    if listeners.is_empty() {
        let message = "no listener that Weir could be: the result does not serve anybody yet";
        files.remark("the files", message);
    }
    Plan { listeners, groups }
}
