//! `weir import terraform`: golden files, and broken or unusual files.
//!
//! `UPDATE_GOLDEN=1` writes the current results; read the difference before committing it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use weir::config::{self, Parsed};
use weir::tools::import::terraform::{self, Disk, Imported, Options, Runner, SourceFile};
use weir::tools::import::{Note, NoteKind};

mod deployments;
mod expressions;
mod resources;

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

/// Translates files that refer to no others.
fn import(files: &[SourceFile], options: &Options) -> Imported {
    terraform::import(files, &FolderDisk("/nowhere".into()), options)
}

/// Reads modules and templates below a folder, named relative to it.
struct FolderDisk(PathBuf);

impl Disk for FolderDisk {
    fn folder(&self, path: &Path) -> io::Result<Vec<SourceFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.0.join(path))? {
            let name = entry?.file_name().into_string().expect("a name");
            if [".tf", ".tf.json", ".tfvars"]
                .iter()
                .any(|end| name.ends_with(end))
            {
                let name = path.join(name);
                files.push(file(name.to_str().expect("a name"), &self.file(&name)?));
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(self.0.join(path))
    }
}

/// Translates a text as the only file.
fn of(text: &str) -> Imported {
    import(&[file("main.tf", text)], &Options::default())
}

fn beside(name: &str) -> FolderDisk {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terraform");
    FolderDisk(folder.join(name))
}

/// The files of a folder, named relative to it.
fn folder(name: &str) -> Vec<SourceFile> {
    let files = beside(name).folder(Path::new("")).expect("the folder");
    assert!(!files.is_empty(), "{name} has files");
    files
}

/// Parses the configuration; missing programs are only warnings.
fn checked(imported: &Imported) -> Parsed {
    let parsed = config::parse("weir.toml", &imported.toml, &|_| None);
    parsed.unwrap_or_else(|problems| panic!("{problems}\n{}", imported.toml))
}

fn golden(folder_name: &str, options: &Options) -> Imported {
    let beside = beside(folder_name);
    let imported = terraform::import(&folder(folder_name), &beside, options);
    let path = beside.0.join("expected.toml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &imported.toml).expect("a file");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        imported.toml == expected,
        "{} is not\n{}",
        path.display(),
        imported.toml
    );
    imported
}

fn not_mapped(imported: &Imported) -> Vec<&Note> {
    imported
        .notes
        .iter()
        .filter(|note| note.kind == NoteKind::NotMapped)
        .collect()
}

fn of_named(name: &str, text: &str) -> Imported {
    import(&[file(name, text)], &Options::default())
}

/// Asserts that there is a note with these parts, and a comment with it in the file.
#[track_caller]
fn listed(imported: &Imported, parts: &[&str]) {
    let found = imported.notes.iter().find(|note| {
        let line = note.to_string();
        parts.iter().all(|part| line.contains(part))
    });
    let Some(note) = found else {
        panic!("nothing with {parts:?} in {:#?}", imported.notes);
    };
    let comment = format!("#   {note}\n");
    assert!(
        imported.toml.contains(&comment),
        "{comment} in {}",
        imported.toml
    );
}

/// A balancer that is open to all clients, and its group.
const SHELL: &str = r#"
resource "aws_lb" "a" { security_groups = [aws_security_group.a.id] }
resource "aws_security_group" "a" {
  ingress {
    from_port = 80
    to_port = 90
    protocol = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
}
resource "aws_lb_target_group" "a" {
  port = 80
  protocol = "HTTP"
}
"#;

fn listener(default_action: &str) -> String {
    format!(
        "{SHELL}resource \"aws_lb_listener\" \"a\" {{\n load_balancer_arn = aws_lb.a.arn\n \
         port = 81\n default_action {{\n{default_action}\n}}\n}}\n"
    )
}

/// A service of the group of [`SHELL`] with a container of these settings.
fn service(container: &str) -> String {
    format!(
        "{SHELL}resource \"aws_ecs_task_definition\" \"a\" {{\n container_definitions = \
         jsonencode([{{\n name = \"a\"\n{container}\n}}])\n}}\n\
         resource \"aws_ecs_service\" \"a\" {{\n task_definition = aws_ecs_task_definition.a.arn\n \
         load_balancer {{\n target_group_arn = aws_lb_target_group.a.arn\n \
         container_name = \"a\"\n container_port = 80\n}}\n}}\n"
    )
}
