//! Fails when a module imports one that is above it. The table is the
//! architecture: change it in the same commit as the import, and say why.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot read the sources has failed"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of `src`, then the modules it may name. Lowest first.
const LAYERS: &str = "
    model        :
    target       : model
    files        :
    observe      : model target
    net          : model observe
    balance      : model target
    router       : model
    rate_limit   : model
    lifecycle    :
    config       : model files
    target_group : model target balance
    state        : model target observe config balance router rate_limit target_group
    upstream     : model target observe net
    relay        : model target observe net upstream
    proxy        : model target observe net router target_group state upstream relay
    connection   : model observe net state proxy
    listener     : model observe net state proxy connection
    health       : model target observe config net state target_group
    discovery    : model files observe config net state
    replicas     : model target observe config net state
    autoscale    : model target observe config net state replicas
    admin        : model target observe net lifecycle state replicas autoscale
    server       : model target files observe net config rate_limit lifecycle target_group state
                   upstream proxy connection listener health discovery replicas autoscale admin
    tools        : config autoscale
    cli          : model files observe net config replicas admin server tools
";

fn layers() -> Vec<(String, BTreeSet<String>)> {
    let mut layers: Vec<(String, BTreeSet<String>)> = Vec::new();
    for line in LAYERS.lines().filter(|line| !line.trim().is_empty()) {
        let names = match line.split_once(':') {
            Some((module, names)) => {
                layers.push((module.trim().to_owned(), BTreeSet::new()));
                names
            }
            None => line,
        };
        let (_, allowed) = layers.last_mut().expect("a continuation follows a module");
        allowed.extend(names.split_whitespace().map(str::to_owned));
    }
    layers
}

#[test]
fn modules_import_only_from_below() {
    let layers = layers();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&src);
    assert!(
        files.len() > 10,
        "found only {} files: wrong directory?",
        files.len()
    );

    let mut wrong = Vec::new();
    for file in files {
        let name = top_module(file.strip_prefix(&src).unwrap());
        if matches!(name.as_str(), "lib" | "main") {
            continue;
        }
        let Some((_, allowed)) = layers.iter().find(|(module, _)| *module == name) else {
            wrong.push(format!("{}: module `{name}` has no layer", file.display()));
            continue;
        };
        for used in imports(&fs::read_to_string(&file).unwrap()) {
            let known = layers.iter().any(|(module, _)| *module == used);
            if known && used != name && !allowed.contains(&used) {
                wrong.push(format!(
                    "{}: `{name}` may not import `{used}`",
                    file.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn layers_name_only_lower_layers() {
    let layers = layers();
    for (i, (module, allowed)) in layers.iter().enumerate() {
        for name in allowed {
            let below = layers[..i].iter().any(|(lower, _)| lower == name);
            assert!(below, "{module} -> {name}");
        }
    }
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        // Unit tests in files of their own may use any layer, like `mod tests` in a file.
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

fn top_module(path: &Path) -> String {
    let first = path.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Names that follow `crate::` outside comments and unit tests, including those
/// in a `use crate::{a, b::c}` group.
fn imports(source: &str) -> BTreeSet<String> {
    let code: String = source
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default()
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n")
        .collect();
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(ident(rest));
            continue;
        };
        let (mut depth, mut expect) = (1, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => expect = true,
                _ if depth == 1 && expect && !c.is_whitespace() => {
                    names.insert(ident(&group[i..]));
                    expect = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

fn ident(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}
