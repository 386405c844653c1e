//! The input of a translation: files, where further files come from, and options.

use std::io;
use std::path::Path;

/// A file of Terraform's: `.tf`, `.tfvars`, their JSON forms, a plan or a state.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Its path, as notes and comments name it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Reads the folders of modules and the files that expressions name.
pub trait Disk: Sync {
    /// The `.tf` files of a folder.
    ///
    /// # Errors
    ///
    /// If it does not exist or cannot be read.
    fn folder(&self, path: &Path) -> io::Result<Vec<SourceFile>>;

    /// A file's text.
    ///
    /// # Errors
    ///
    /// If it does not exist, cannot be read or is not UTF-8.
    fn file(&self, path: &Path) -> io::Result<String>;
}

/// Settings that the Terraform files do not have.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What runs the replicas of an ECS service.
    pub runner: Runner,
    /// The program and its arguments for [`Runner::Process`]. If empty, a guess is written, which
    /// an environment variable can replace.
    pub command: Vec<String>,
    /// Targets that run already; if there are some, no replicas are run or scaled.
    pub targets: Vec<String>,
    /// Values of input variables; they replace those of the files.
    pub variables: Vec<(String, String)>,
    /// Values of `TF_VAR_` variables of the environment; those of the files replace them.
    pub environment: Vec<(String, String)>,
}

/// What runs the replicas of an ECS service.
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
