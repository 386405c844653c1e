//! The words that Weir's code had before it took those of its field must not come back.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// Nowhere, in whatever case: code, comments, log messages, documents.
const ANYWHERE: &str = "
    crew census sighting sightings shortfall mourn mourns mourned obituary obituaries last_words
    said_of line_up wait_in_line is_patient send_away_hopeless let_go thinning holds_back
    parole paroled doors knock knocks who nobody somebody anybody everybody someone anyone
    everyone
";

/// No identifier of Rust code: types and constants.
const IDENTIFIERS: &str = "
    Operator Keeper Standing Trouble Doors Wish Wishes Visitor Home Course Lost Reached
    Answered Upload Sending Turn Way Room Gate Inside Cap Place Estate Sight Opinion Vote
    LOOK LOOK_AGAIN LOOK_ANYWAY PATIENCE GLANCE FAREWELL
";

/// No function of that name: each has a verb of the field now.
const FUNCTIONS: &str = "
    complaint say hear obey judge convict back tidy hurry knock mourn
";

/// Where they are looked for.
const ROOTS: [&str; 10] = [
    "src",
    "tests",
    "config",
    "benches",
    "examples",
    ".ci",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
];

#[test]
fn the_old_words_are_gone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for name in ROOTS {
        collect(&root.join(name), &mut files);
    }
    assert!(files.len() > 100, "found only {} files", files.len());
    let anywhere: BTreeSet<&str> = ANYWHERE.split_whitespace().collect();
    let mut found = Vec::new();
    for path in files {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        // This table.
        if name == file!() {
            continue;
        }
        // What is no text has no words.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (index, line) in text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            let old = words.filter(|word| anywhere.contains(word.to_lowercase().as_str()));
            found.extend(old.map(|word| format!("{name}:{}: {word}", index + 1)));
        }
        if path.extension().is_some_and(|extension| extension == "rs") {
            let tokens: TokenStream = text.parse().unwrap();
            identifiers(tokens, &name, &mut found);
        }
    }
    assert!(
        found.is_empty(),
        "{} old words:\n{}",
        found.len(),
        found.join("\n")
    );
}

fn identifiers(tokens: TokenStream, file: &str, found: &mut Vec<String>) {
    let is_old = |table: &str, word: &str| table.split_whitespace().any(|old| old == word);
    let mut before = String::new();
    for token in tokens {
        let line = token.span().start().line;
        match token {
            TokenTree::Group(group) => identifiers(group.stream(), file, found),
            TokenTree::Ident(ident) => {
                let word = ident.to_string();
                if is_old(IDENTIFIERS, &word) || before == "fn" && is_old(FUNCTIONS, &word) {
                    found.push(format!("{file}:{line}: {word}"));
                }
                before = word;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => before.clear(),
        }
    }
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    // Of a document that is not there yet, nothing.
    let Ok(entries) = fs::read_dir(path) else {
        files.extend(path.is_file().then(|| path.to_owned()));
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        // What a fuzzer has made has no words either.
        if !path.ends_with("target") && !path.ends_with("tests/fuzz/corpus") {
            collect(&path, files);
        }
    }
}
