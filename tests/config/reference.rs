//! The reference of all keys in `config/README.md`, between two comments, is made of the table of
//! keys.
//!
//! `UPDATE_GOLDEN=1 cargo test --test suite config::reference` writes it anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use weir::config::keys::{self, Table};

use super::describe;

const BEGIN: &str = "<!-- keys: begin -->\n";
const END: &str = "<!-- keys: end -->";

/// One Markdown table for each table of the file.
fn reference() -> String {
    let mut text = String::new();
    for table in keys::tables() {
        section(&mut text, table);
    }
    text
}

fn section(text: &mut String, table: &Table) {
    let heading = match table.path {
        "" => "Top level".to_owned(),
        path => format!("`{path}`"),
    };
    let _ = writeln!(text, "\n### {heading}\n");
    text.push_str("| key | value | default | sets |\n|---|---|---|---|\n");
    for key in table.keys {
        let (kind, default) = (describe::kind(&key.kind), describe::default(key));
        let row = [&format!("`{}`", key.name), &kind, &default, key.help];
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
}

#[test]
fn the_reference_is_made_of_the_table_of_keys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/README.md");
    let text = fs::read_to_string(&path).expect("it ships");
    let (before, rest) = text.split_once(BEGIN).expect("the first comment");
    let (shown, after) = rest.split_once(END).expect("the second comment");
    let expected = format!("{}\n", reference());
    if std::env::var_os("UPDATE_GOLDEN").is_some() && shown != expected {
        let text = format!("{before}{BEGIN}{expected}{END}{after}");
        fs::write(&path, text).expect("a writable folder");
        return;
    }
    assert!(
        shown == expected,
        "config/README.md has other keys than src/config/keys: run this test with UPDATE_GOLDEN=1"
    );
}
