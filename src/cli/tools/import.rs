//! `weir import`: translates the configuration of other systems.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use sha2::{Digest, Sha256};

use crate::cli::check::summary;
use crate::config;
use crate::tools::import::terraform::{self, Disk, Imported, Options, Runner, SourceFile};
use crate::tools::import::{Note, NoteKind};

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Translate Terraform files that deploy a service on AWS with an application load balancer
    Terraform(TerraformArguments),
}

#[derive(Debug, Args)]
pub(crate) struct TerraformArguments {
    /// A folder of `.tf` files, such files, or output of `terraform show -json`; - reads standard
    /// input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The configuration file to write; default: standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite a file that was edited since
    #[arg(long, requires = "output")]
    force: bool,
    /// What runs the replicas of an ECS service
    #[arg(long, value_enum, default_value_t)]
    replicas: Replicas,
    /// The program that `--replicas process` starts, with its arguments; {port} becomes a free port
    #[arg(long, value_name = "COMMAND LINE")]
    command: Option<String>,
    /// Targets that run already, instead of replicas, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    targets: Vec<String>,
    /// The value of an input variable
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    var: Vec<(String, String)>,
    /// A file of values of input variables, as `terraform plan -var-file` takes it
    #[arg(long, value_name = "FILE")]
    var_file: Vec<PathBuf>,
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

/// Writes the configuration, and on standard error the notes. The exit code is 0 if Weir can use
/// the configuration, 1 if `weir check` finds errors in it, 2 if a file cannot be read or
/// written.
pub(crate) fn import(command: &ImportCommand) -> ExitCode {
    let ImportCommand::Terraform(arguments) = command;
    let imported = match read(arguments) {
        Ok(files) => terraform::import(&files, &Folders, &options(arguments)),
        Err(error) => return fail(&error),
    };
    let mut name = "the configuration".to_owned();
    if let Some(path) = &arguments.output {
        if let Err(error) = save(path, &imported.toml, arguments.force) {
            return fail(&error);
        }
        name = path.display().to_string();
    } else {
        // The output may be closed early.
        let _ = io::stdout().lock().write_all(imported.toml.as_bytes());
    }
    report(&name, arguments, &imported)
}

fn options(arguments: &TerraformArguments) -> Options {
    let command = arguments.command.as_deref().unwrap_or_default();
    let environment = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let variable = name.strip_prefix("TF_VAR_")?;
        Some((variable.to_owned(), value.into_string().ok()?))
    });
    Options {
        runner: match arguments.replicas {
            Replicas::Process => Runner::Process,
            Replicas::Docker => Runner::Docker,
            Replicas::Ecs => Runner::Ecs,
        },
        command: command.split_whitespace().map(str::to_owned).collect(),
        targets: arguments.targets.clone(),
        variables: arguments.var.clone(),
        environment: environment.collect(),
    }
}

/// The first line of a file that `weir import` wrote, before the checksum of the rest.
const MARK: &str = "# weir import, checksum ";

/// Writes the file. Refuses to overwrite one that was edited, without `force`.
fn save(path: &Path, toml: &str, force: bool) -> Result<(), String> {
    let is_free = match fs::read_to_string(path) {
        Ok(text) => text.is_empty() || is_unedited(&text),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !is_free && !force {
        return Err(format!(
            "{} is there and is not as `weir import` wrote it: give another name, or --force to overwrite it",
            path.display()
        ));
    }
    let text = format!("{MARK}{}\n{toml}", checksum(toml));
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn checksum(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(8)
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Whether a file is as `weir import` wrote it.
fn is_unedited(text: &str) -> bool {
    text.strip_prefix(MARK)
        .and_then(|rest| rest.split_once('\n'))
        .is_some_and(|(written, rest)| written == checksum(rest))
}

fn report(name: &str, arguments: &TerraformArguments, imported: &Imported) -> ExitCode {
    let mut out = io::stderr().lock();
    let missing: Vec<&Note> = imported
        .notes
        .iter()
        .filter(|note| note.kind == NoteKind::NotMapped)
        .collect();
    if !missing.is_empty() {
        let _ = writeln!(out, "not taken over:");
        for note in &missing {
            let _ = writeln!(out, "  {note}");
        }
        if missing.iter().any(|note| note.message.contains("`var.")) {
            let _ = writeln!(
                out,
                "values of variables: --var NAME=VALUE, --var-file FILE, or TF_VAR_NAME in the environment"
            );
        }
    }
    write_missing_features(&mut out, imported);
    let parsed = config::parse(name, &imported.toml, &|variable| {
        std::env::var(variable).ok()
    });
    let (code, summary) = match &parsed {
        Ok(parsed) => {
            if !parsed.warnings.is_empty() {
                let _ = writeln!(out, "{}", parsed.warnings);
            }
            (ExitCode::SUCCESS, summary(&parsed.config))
        }
        Err(problems) => {
            let _ = writeln!(out, "{problems}");
            (ExitCode::from(1), "`weir check` refuses it".to_owned())
        }
    };
    if arguments.output.is_some() {
        let count = missing.len();
        let things = if count == 1 { "thing is" } else { "things are" };
        let _ = writeln!(
            out,
            "wrote {name}: {summary}; {count} {things} not taken over, listed at its end"
        );
    }
    code
}

/// Names the features that commented lines of the file need and this Weir does not have.
fn write_missing_features(out: &mut impl Write, imported: &Imported) {
    let engines = [
        ("docker", cfg!(feature = "docker")),
        ("ecs", cfg!(feature = "ecs")),
    ];
    for (engine, is_built_in) in engines {
        if !is_built_in && imported.toml.contains(&format!("# {engine} = ")) {
            let _ = writeln!(
                out,
                "this weir is built without {engine}: what the file proposes for it needs --features {engine}"
            );
        }
    }
}

/// Reads the named files, those of a named folder that Terraform would use, then those of
/// `--var-file`.
fn read(arguments: &TerraformArguments) -> Result<Vec<SourceFile>, String> {
    let mut files = Vec::new();
    for path in &arguments.files {
        let unreadable = |error: io::Error| {
            let hint = if error.kind() == io::ErrorKind::InvalidData {
                "; of a plan, `terraform show -json FILE` makes text"
            } else {
                ""
            };
            format!("cannot read {}: {error}{hint}", path.display())
        };
        if path.as_os_str() == "-" {
            let mut text = String::new();
            let read = io::stdin().lock().read_to_string(&mut text);
            read.map_err(unreadable)?;
            let name = "standard input".to_owned();
            files.push(SourceFile { name, text });
        } else if path.is_dir() {
            let found = Folders.folder(path).map_err(unreadable)?;
            if found.is_empty() {
                return Err(format!("{} has no .tf files", path.display()));
            }
            files.extend(found);
        } else {
            files.push(source_file(path).map_err(unreadable)?);
        }
    }
    for path in &arguments.var_file {
        let read = source_file(path);
        let mut file = read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        // Files of variables may have any name.
        if !file.name.ends_with(".tfvars") && !file.name.ends_with(".tfvars.json") {
            file.name.push_str(".tfvars");
        }
        files.push(file);
    }
    Ok(files)
}

/// The folders of this machine.
struct Folders;

impl Disk for Folders {
    fn folder(&self, path: &Path) -> io::Result<Vec<SourceFile>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.strip_suffix(".json").unwrap_or(&name);
            let is_values = name == "terraform.tfvars" || name.ends_with(".auto.tfvars");
            let extension = Path::new(name).extension();
            let is_source = extension.is_some_and(|end| end == "tf" || end == "tofu");
            if path.is_file() && (is_values || is_source) {
                found.push(path);
            }
        }
        // In Terraform's order: a later value replaces an earlier one.
        found.sort_by_key(|path| {
            let is_automatic = path.to_string_lossy().contains(".auto.tfvars");
            (is_automatic, path.clone())
        });
        found.iter().map(|path| source_file(path)).collect()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        // Reading a pipe or a device might not end.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a file"));
        }
        fs::read_to_string(path)
    }
}

fn source_file(path: &Path) -> io::Result<SourceFile> {
    let text = fs::read_to_string(path)?;
    let name = path.display().to_string();
    Ok(SourceFile { name, text })
}

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "{message}");
    ExitCode::from(2)
}
