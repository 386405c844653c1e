//! `weir completions` and `weir man`: what packages install beside the program, made of its
//! arguments.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap_complete::Shell;
use clap_mangen::Man;

/// `weir completions`.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// `weir man`.
#[derive(Debug, clap::Args)]
pub(super) struct ManArguments {
    /// Write the pages of all commands into this folder instead: weir.1, weir-run.1 ...
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
}

/// Prints the script.
pub(super) fn completions(
    arguments: &CompletionsArguments,
    command: &mut clap::Command,
) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, command, "weir", &mut script);
    print(&script);
    ExitCode::SUCCESS
}

/// Prints the page of Weir, or writes all pages: exit code 2 if they cannot be written.
pub(super) fn man(arguments: &ManArguments, command: clap::Command) -> ExitCode {
    let command = one_version(command);
    let Some(folder) = &arguments.directory else {
        let mut page = Vec::new();
        // Writing to memory cannot fail.
        let _ = Man::new(command).render(&mut page);
        print(&page);
        return ExitCode::SUCCESS;
    };
    match write(command, folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            fail(&format!("cannot write into {}: {error}", folder.display()));
            ExitCode::from(2)
        }
    }
}

/// The pages name the version and not what a build is made of, so that they are the same in all.
fn one_version(command: clap::Command) -> clap::Command {
    command.long_version(env!("CARGO_PKG_VERSION"))
}

fn write(command: clap::Command, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command, folder)
}

fn print(text: &[u8]) {
    // A closed output has nothing more to tell.
    let _ = io::stdout().write_all(text);
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn fail(problem: &str) {
    eprintln!("weir man: {problem}");
}
