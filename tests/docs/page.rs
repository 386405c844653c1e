//! The Markdown files of the repository, read as far as the tests need it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the repository.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Markdown file.
pub(super) struct Page {
    /// Relative to the repository.
    pub(super) name: String,
    text: String,
}

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Of its first line, after the fence, counted from 1.
    pub(super) line: usize,
    /// What follows the fence: the language, and for the tests more.
    pub(super) info: String,
    pub(super) text: String,
}

impl Block {
    pub(super) fn language(&self) -> &str {
        self.info.split(' ').next().unwrap_or_default()
    }
}

impl Page {
    /// Every Markdown file of the repository.
    pub(super) fn all() -> Vec<Self> {
        let mut names = Vec::new();
        collect(root(), &mut names);
        names.sort();
        assert!(names.len() >= 9, "found only {names:?}");
        names.iter().map(|name| Self::read(name)).collect()
    }

    /// One file by its name.
    pub(super) fn read(name: &str) -> Self {
        let text = fs::read_to_string(root().join(name));
        Self {
            name: name.to_owned(),
            text: text.unwrap_or_else(|error| panic!("{name}: {error}")),
        }
    }

    /// The folder which links of the page are relative to.
    pub(super) fn folder(&self) -> PathBuf {
        let file = root().join(&self.name);
        file.parent().expect("a file is in a folder").to_owned()
    }

    /// All fenced blocks.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (number, line) in (1..).zip(self.text.lines()) {
            match (line.strip_prefix("```"), open.take()) {
                (Some(info), None) => {
                    open = Some(Block {
                        line: number + 1,
                        info: info.to_owned(),
                        text: String::new(),
                    });
                }
                (Some(_), Some(block)) => blocks.push(block),
                (None, Some(mut block)) => {
                    block.text += line;
                    block.text.push('\n');
                    open = Some(block);
                }
                (None, None) => {}
            }
        }
        assert_eq!(open, None, "{}: a block is not closed", self.name);
        blocks
    }

    /// Lines outside of fenced blocks, with their numbers.
    pub(super) fn prose(&self) -> Vec<(usize, &str)> {
        let mut in_block = false;
        (1..)
            .zip(self.text.lines())
            .filter(|(_, line)| {
                let is_fence = line.starts_with("```");
                in_block ^= is_fence;
                !in_block && !is_fence
            })
            .collect()
    }

    /// What `#...` may name: the headings as the forges turn them into anchors.
    pub(super) fn anchors(&self) -> BTreeSet<String> {
        self.prose()
            .into_iter()
            .filter(|(_, line)| line.starts_with('#'))
            .map(|(_, line)| anchor(line.trim_start_matches('#')))
            .collect()
    }

    /// The rows of the table with this first heading, each as its cells.
    pub(super) fn table(&self, heading: &str) -> Vec<Vec<&str>> {
        self.text
            .lines()
            .map(cells)
            .skip_while(|cells| cells.first() != Some(&heading))
            .take_while(|cells| !cells.is_empty())
            .skip(2)
            .collect()
    }
}

/// A heading in lower case, without punctuation, with hyphens instead of spaces.
fn anchor(heading: &str) -> String {
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|&c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The cells of a table's line; empty for any other line.
fn cells(line: &str) -> Vec<&str> {
    let inner = line
        .strip_prefix('|')
        .and_then(|line| line.strip_suffix('|'));
    inner.map_or_else(Vec::new, |inner| inner.split('|').map(str::trim).collect())
}

/// The contents of the code spans of a line.
pub(super) fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn collect(folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && !matches!(&*name, "target" | "data") {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let relative = path.strip_prefix(root()).expect("it is below the root");
            names.push(relative.display().to_string());
        }
    }
}

#[test]
fn a_page_has_blocks_prose_anchors_and_tables() {
    let text = "# A `b` & c\n\n| k | v |\n|---|---|\n| 1 | 2 |\n\n```toml fragment\n# not a heading\n```\nend\n";
    let page = Page {
        name: "page.md".to_owned(),
        text: text.to_owned(),
    };
    let block = Block {
        line: 8,
        info: "toml fragment".to_owned(),
        text: "# not a heading\n".to_owned(),
    };
    assert_eq!(block.language(), "toml");
    assert_eq!(page.blocks(), [block]);
    assert_eq!(page.prose().last(), Some(&(10, "end")));
    assert_eq!(page.prose().len(), 7);
    assert!(page.anchors().into_iter().eq(["a-b--c"]));
    assert_eq!(page.table("k"), [["1", "2"]]);
    assert_eq!(page.table("none").len(), 0);
    assert!(code_spans("`a` b `c`").eq(["a", "c"]));
}
