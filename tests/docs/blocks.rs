//! Every block of the documentation is of a language which a test reads.

use std::fs;
use std::io;
use std::path::Path;

use toml::{Table, Value};
use weir::config;

use super::page::{Block, Page};

/// What `toml fragment of [table]` and `toml fragment` begin with.
const FRAGMENT: &str = "toml fragment";

/// Blocks of `commands`, of this file, and pictures.
const LANGUAGES: [&str; 5] = ["sh", "toml", "json", "text", ""];

/// All blocks of a language, each with where it stands.
fn blocks(language: &str) -> Vec<(String, Block)> {
    let mut found = Vec::new();
    for page in Page::all() {
        for block in page.blocks() {
            if block.language() == language {
                found.push((format!("{}:{}", page.name, block.line), block));
            }
        }
    }
    found
}

/// The block as a whole file: a fragment gets the table which it is a part of, targets for
/// groups without, and a listener.
fn completed(block: &Block) -> String {
    let Some(place) = block.info.strip_prefix(FRAGMENT) else {
        assert_eq!(block.info, "toml");
        return block.text.clone();
    };
    let header = place.strip_prefix(" of ").unwrap_or_default();
    let mut file: Table = format!("{header}\n{}", block.text)
        .parse()
        .expect("it is TOML");
    let groups = file
        .entry("target_group")
        .or_insert_with(|| Table::new().into())
        .as_table_mut()
        .expect("groups are tables");
    if groups.is_empty() {
        groups.insert("todo".to_owned(), Table::new().into());
    }
    for (_, group) in groups.iter_mut() {
        let group = group.as_table_mut().expect("a group is a table");
        if !group.contains_key("targets") && !group.contains_key("replicas") {
            group.insert("targets".to_owned(), vec!["127.0.0.1:6400"].into());
        }
    }
    let mut shares = Vec::new();
    for name in groups.keys() {
        let group = Value::from(name.as_str());
        shares.push(Value::from(Table::from_iter([("group".to_owned(), group)])));
    }
    let listener = Table::from_iter([
        ("bind".to_owned(), Value::from("127.0.0.1:8080")),
        ("forward".to_owned(), shares.into()),
    ]);
    file.entry("listener")
        .or_insert_with(|| vec![listener].into());
    toml::to_string(&file).expect("it is TOML")
}

/// The files that configurations name: certificates.
fn files(path: &Path) -> io::Result<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/tls");
    fs::read(folder.join(path))
}

#[test]
fn every_block_is_of_a_language_that_is_checked() {
    for page in Page::all() {
        for block in page.blocks() {
            assert!(
                LANGUAGES.contains(&block.language()),
                "{}:{}: `{}`",
                page.name,
                block.line,
                block.info
            );
        }
    }
}

#[test]
fn every_configuration_is_accepted() {
    let blocks = blocks("toml");
    assert!(blocks.len() >= 5, "only {} blocks", blocks.len());
    for (place, block) in blocks {
        let text = completed(&block);
        let warnings = match config::parse_with_files(&place, &text, &|_| None, &files) {
            Ok(parsed) => parsed.warnings,
            Err(problems) => problems,
        };
        assert!(warnings.is_empty(), "{warnings}");
    }
}

#[test]
fn a_fragment_is_completed_and_its_mistakes_stay() {
    let fragment = |info: &str, text: &str| {
        let block = Block {
            line: 1,
            info: info.to_owned(),
            text: text.to_owned(),
        };
        config::parse("fragment", &completed(&block), &|_| None)
    };
    assert!(fragment("toml fragment of [target_group.a]", "slow_start = \"30s\"").is_ok());
    assert!(fragment("toml fragment of [target_group.a]", "slow = \"30s\"").is_err());
    assert!(fragment("toml fragment", "[target_group.a.health]\npath = \"/\"").is_ok());
    assert!(fragment("toml fragment", "[target_group.a.health]\npath = 1").is_err());
}

#[test]
fn every_json_block_is_json() {
    let blocks = blocks("json");
    assert!(!blocks.is_empty());
    for (place, block) in blocks {
        let parsed = serde_json::from_str::<serde_json::Value>(&block.text);
        assert!(parsed.is_ok(), "{place}: {parsed:?}");
    }
}

/// The guide shows the message of a file with one mistake.
#[test]
fn the_message_that_the_guide_shows_is_the_message() {
    let file = "[[listener]]\nbind = \"0.0.0.0:8080\"\nforward = \"tdo\"\n\n\
                [target_group.todo]\ntargets = [\"10.0.0.1:6400\"]\n";
    let problems = config::parse("weir.toml", file, &|_| None).expect_err("it has a mistake");
    let message = problems.to_string();
    let shown: Vec<String> = blocks("text")
        .into_iter()
        .map(|(_, block)| block.text)
        .filter(|text| text.starts_with("error["))
        .collect();
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(message.starts_with(shown[0].trim_end()), "{message}");
}
