//! `weir import`: configuration files made of what deploys a service elsewhere.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use weir::config;
use weir::import::NoteKind;
use weir::import::terraform::{self, Imported, Options, Runner, SourceFile};

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// From the Terraform files that deploy it on AWS with an application load balancer
    Terraform(TerraformArguments),
}

#[derive(Debug, Args)]
pub(crate) struct TerraformArguments {
    /// `.tf` and `.tfvars` files of one module, or its folder
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where to write the configuration; default: to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Who runs what an ECS service ran
    #[arg(long, value_enum, default_value_t)]
    replicas: Replicas,
    /// The program that `--replicas process` starts, with its arguments; {port} becomes a free port
    #[arg(long, value_name = "COMMAND LINE")]
    command: Option<String>,
    /// Targets that run already, instead of replicas; separated by commas
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    targets: Vec<String>,
    /// The value of an input variable
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    var: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Replicas {
    /// Weir, as processes of this machine
    #[default]
    Process,
    /// The Docker engine of this machine
    Docker,
    /// ECS, as before
    Ecs,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Writes the configuration, and on standard error what it does not contain. The exit code
/// is 0 if Weir can use it as it is, 1 if `weir check` finds mistakes in it, 2 if a file
/// cannot be read or written.
pub(crate) fn import(command: &ImportCommand) -> ExitCode {
    let ImportCommand::Terraform(arguments) = command;
    let imported = match read(&arguments.files) {
        Ok(files) => terraform::import(&files, &options(arguments)),
        Err(error) => return fail(&error),
    };
    let name = if let Some(path) = &arguments.output {
        if let Err(error) = fs::write(path, &imported.toml) {
            return fail(&format!("cannot write {}: {error}", path.display()));
        }
        path.display().to_string()
    } else {
        // A reader that went away has seen enough.
        let _ = io::stdout().lock().write_all(imported.toml.as_bytes());
        "the configuration".to_owned()
    };
    report(&name, &imported)
}

fn options(arguments: &TerraformArguments) -> Options {
    let command = arguments.command.as_deref().unwrap_or_default();
    Options {
        runner: match arguments.replicas {
            Replicas::Process => Runner::Process,
            Replicas::Docker => Runner::Docker,
            Replicas::Ecs => Runner::Ecs,
        },
        command: command.split_whitespace().map(str::to_owned).collect(),
        targets: arguments.targets.clone(),
        variables: arguments.var.clone(),
    }
}

fn report(name: &str, imported: &Imported) -> ExitCode {
    let mut out = io::stderr().lock();
    let notes = imported.notes.iter();
    let missing: Vec<_> = notes
        .filter(|note| note.kind == NoteKind::NotMapped)
        .collect();
    if !missing.is_empty() {
        let _ = writeln!(out, "not taken over:");
        for note in missing {
            let _ = writeln!(out, "  {note}");
        }
    }
    match config::parse(name, &imported.toml, &|variable| {
        std::env::var(variable).ok()
    }) {
        Ok(parsed) if parsed.warnings.is_empty() => ExitCode::SUCCESS,
        Ok(parsed) => {
            let _ = writeln!(out, "{}", parsed.warnings);
            ExitCode::SUCCESS
        }
        Err(problems) => {
            let _ = writeln!(out, "{problems}");
            ExitCode::from(1)
        }
    }
}

/// The files that are named, and of a folder those that Terraform would take.
fn read(paths: &[PathBuf]) -> Result<Vec<SourceFile>, String> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = in_folder(path).map_err(|error| unreadable(path, &error))?;
            if found.is_empty() {
                return Err(format!("{} has no .tf files", path.display()));
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        let name = path.display().to_string();
        Ok(SourceFile { name, text })
    };
    files.into_iter().map(read).collect()
}

fn in_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    // In Terraform's order: of two values the later one holds.
    let order = |path: &PathBuf| path.to_string_lossy().ends_with(".auto.tfvars");
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let values = name == "terraform.tfvars" || name.ends_with(".auto.tfvars");
        let is_source = path.extension().is_some_and(|extension| extension == "tf");
        if name.ends_with(".tf.json") {
            return Err(io::Error::other(format!(
                "{name} is JSON, which is not read; leave it out by naming the files that are"
            )));
        }
        if path.is_file() && (values || is_source) {
            found.push(path);
        }
    }
    found.sort_by_key(|path| (order(path), path.clone()));
    Ok(found)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "{message}");
    ExitCode::from(2)
}
