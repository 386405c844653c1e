//! The sources of Weir as a graph: which file names something of which other file.
//!
//! Files are read as tokens, so comments, documentation and strings do not count; nor do unit
//! tests. A re-export (`pub use`) is not an import of the file in which it stands: what imports
//! through it counts as importing the file that it leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Every file below `src`, by the path of its module (`replicas::docker`); `lib.rs` is the
/// module with the empty path.
pub(super) struct Sources {
    files: BTreeMap<String, File>,
}

struct File {
    path: PathBuf,
    /// `use` declarations and paths in expressions, segment by segment.
    imports: BTreeSet<Vec<String>>,
    /// The last segment of a path of a `pub use`, and the path.
    exports: BTreeMap<String, Vec<String>>,
    /// Modules with files of their own that are there in tests only.
    tests: Vec<String>,
}

impl Sources {
    pub(super) fn read() -> Self {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = BTreeMap::new();
        for path in rust_files(&src) {
            let relative = path.strip_prefix(&src).unwrap();
            if relative == Path::new("main.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let tokens = text.parse().unwrap_or_else(|error| {
                panic!("{}: {error}", path.display());
            });
            let mut file = File {
                path: relative.to_owned(),
                imports: BTreeSet::new(),
                exports: BTreeMap::new(),
                tests: Vec::new(),
            };
            file.scan(&tokens_of(tokens));
            files.insert(module_of(relative), file);
        }
        let tests: Vec<String> = files
            .iter()
            .flat_map(|(module, file)| file.tests.iter().map(|test| join(module, test)))
            .collect();
        let is_inside = |module: &str, test: &String| {
            let rest = module.strip_prefix(test.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        files.retain(|module, _| !tests.iter().any(|test| is_inside(module, test)));
        assert!(files.len() > 100, "found only {} files", files.len());
        Self { files }
    }

    /// The modules that have a file of their own.
    pub(super) fn modules(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The file of a module, below `src`.
    pub(super) fn path(&self, module: &str) -> &Path {
        &self.files[module].path
    }

    /// The modules that a module's file names, as they are written.
    pub(super) fn named(&self, module: &str) -> BTreeSet<&str> {
        self.each_import(module, |path| Some(self.find(module, path)?.0))
    }

    /// The modules in whose files stands what a module's file imports, also where another
    /// module exports it again.
    pub(super) fn imports(&self, module: &str) -> BTreeSet<&str> {
        self.each_import(module, |path| self.resolve(module, path))
    }

    fn each_import<'s>(
        &'s self,
        module: &str,
        resolve: impl Fn(&[String]) -> Option<&'s str>,
    ) -> BTreeSet<&'s str> {
        let imports = self.files[module].imports.iter();
        imports
            .filter_map(|path| resolve(path))
            .filter(|used| *used != module)
            .collect()
    }

    /// The module in whose file the last segment of a path stands; `None` for other crates.
    fn resolve(&self, module: &str, path: &[String]) -> Option<&str> {
        let (mut current, mut rest) = self.find(module, path)?;
        while let Some((name, after)) = rest.split_first()
            && let Some(export) = self.files[current].exports.get(name)
        {
            let path: Vec<String> = export.iter().chain(after).cloned().collect();
            (current, rest) = self.find(current, &path)?;
        }
        Some(current)
    }

    /// The module that a path leads to by the names of modules alone, and what remains of it.
    fn find(&self, module: &str, path: &[String]) -> Option<(&str, Vec<String>)> {
        let (mut current, mut rest) = self.base(module, path)?;
        while let Some(first) = rest.first() {
            let child = join(&current, first);
            if !self.files.contains_key(&child) {
                break;
            }
            current = child;
            rest.remove(0);
        }
        let (name, _) = self.files.get_key_value(&current)?;
        Some((name, rest))
    }

    /// Where a path begins, and what remains of it.
    fn base(&self, module: &str, path: &[String]) -> Option<(String, Vec<String>)> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some((String::new(), rest.to_vec())),
            "self" => Some((module.to_owned(), rest.to_vec())),
            "super" => {
                let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
                let ups = rest
                    .iter()
                    .take_while(|segment| *segment == "super")
                    .count();
                let parent = (0..ups).fold(parent, |module, _| {
                    module.rsplit_once("::").map_or("", |(parent, _)| parent)
                });
                Some((parent.to_owned(), rest[ups..].to_vec()))
            }
            child if self.files.contains_key(&join(module, child)) => {
                Some((module.to_owned(), path.to_vec()))
            }
            _ => None,
        }
    }
}

impl File {
    fn scan(&mut self, tokens: &[TokenTree]) {
        let mut at = 0;
        while at < tokens.len() {
            if is_test(&tokens[at..]) {
                let end = at + item_len(&tokens[at..]);
                self.tests.extend(module_in_file(&tokens[at..end]));
                at = end;
                continue;
            }
            match &tokens[at] {
                // `impl Trait + use<'_>` imports nothing.
                TokenTree::Ident(word)
                    if word == "use"
                        && tokens.get(at + 1).is_some_and(|next| !is_punct(next, '<')) =>
                {
                    let end = tokens[at..].iter().position(|token| is_punct(token, ';'));
                    let end = at + end.expect("a `use` ends with a semicolon");
                    let mut paths = Vec::new();
                    expand(&tokens[at + 1..end], &[], &mut paths);
                    if is_exported(&tokens[..at]) {
                        let named =
                            |path: Vec<String>| (path.last().cloned().unwrap_or_default(), path);
                        self.exports.extend(paths.into_iter().map(named));
                    } else {
                        self.imports.extend(paths);
                    }
                    at = end + 1;
                }
                TokenTree::Ident(_) => {
                    let path = path(&tokens[at..]);
                    // `a::b` is three tokens more than `a`.
                    at += 1 + 3 * (path.len() - 1);
                    if path.len() > 1 {
                        self.imports.insert(path);
                    }
                }
                TokenTree::Group(group) => {
                    self.scan(&tokens_of(group.stream()));
                    at += 1;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => at += 1,
            }
        }
    }
}

/// `a::b::c` at the beginning.
fn path(tokens: &[TokenTree]) -> Vec<String> {
    let mut segments = Vec::new();
    let mut rest = tokens;
    while let [TokenTree::Ident(segment), after @ ..] = rest {
        segments.push(segment.to_string());
        let [one, two, next @ ..] = after else { break };
        let leads_on = is_punct(one, ':') && is_punct(two, ':');
        if !leads_on || !matches!(next.first(), Some(TokenTree::Ident(_))) {
            break;
        }
        rest = next;
    }
    segments
}

/// Every path of a tree like `a::{b, c::{d, e as f}}`.
fn expand(tokens: &[TokenTree], prefix: &[String], paths: &mut Vec<Vec<String>>) {
    for tree in tokens.split(|token| is_punct(token, ',')) {
        let mut segments = prefix.to_vec();
        for token in tree {
            match token {
                TokenTree::Ident(word) if word == "as" => break,
                TokenTree::Ident(word) => segments.push(word.to_string()),
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    expand(&tokens_of(group.stream()), &segments, paths);
                    segments.clear();
                }
                _ => {}
            }
        }
        if segments.len() > prefix.len() {
            paths.push(segments);
        }
    }
}

/// Whether what follows is `#[cfg(test)]` or an attribute that needs it among others.
fn is_test(tokens: &[TokenTree]) -> bool {
    let [hash, TokenTree::Group(attribute), ..] = tokens else {
        return false;
    };
    let text = attribute.stream().to_string().replace(' ', "");
    is_punct(hash, '#') && (text == "cfg(test)" || text.starts_with("cfg(all(test"))
}

/// The tokens of an item: up to its semicolon or its braces.
fn item_len(tokens: &[TokenTree]) -> usize {
    let is_end = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => is_punct(token, ';'),
    };
    tokens
        .iter()
        .position(is_end)
        .map_or(tokens.len(), |end| end + 1)
}

/// The name of an item that is `mod name;`.
fn module_in_file(item: &[TokenTree]) -> Option<String> {
    match item {
        [.., TokenTree::Ident(word), TokenTree::Ident(name), end]
            if word == "mod" && is_punct(end, ';') =>
        {
            Some(name.to_string())
        }
        _ => None,
    }
}

/// Whether what stands before a `use` is `pub` or `pub(...)`.
fn is_exported(before: &[TokenTree]) -> bool {
    match before {
        [.., TokenTree::Ident(word)] | [.., TokenTree::Ident(word), TokenTree::Group(_)] => {
            word == "pub"
        }
        _ => false,
    }
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn tokens_of(stream: TokenStream) -> Vec<TokenTree> {
    stream.into_iter().collect()
}

fn join(module: &str, child: &str) -> String {
    if module.is_empty() {
        child.to_owned()
    } else {
        format!("{module}::{child}")
    }
}

fn module_of(relative: &Path) -> String {
    let path = relative.with_extension("");
    let mut segments: Vec<&str> = path
        .iter()
        .map(|segment| segment.to_str().unwrap())
        .collect();
    if matches!(segments.last(), Some(&("mod" | "lib"))) {
        segments.pop();
    }
    segments.join("::")
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
