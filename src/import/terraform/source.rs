//! The text of Terraform files as blocks with their places.

use std::rc::Rc;

use hcl::edit::Span;
use hcl::edit::expr::Expression;
use hcl::edit::parser::parse_body;
use hcl::edit::structure::{Body, Structure};

use crate::import::note::{NoteKind, Notes, Place};

/// Bytes of one file: what a person writes is a thousandth of it.
const MAX_FILE: usize = 1024 * 1024;

/// `kind "label" "label" { … }`.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) kind: String,
    pub(super) labels: Vec<String>,
    pub(super) place: Place,
    pub(super) attributes: Vec<Attribute>,
    pub(super) blocks: Vec<Block>,
}

/// `key = expression`.
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) expression: Expression,
    /// The expression as it is written.
    pub(super) written: String,
}

/// Reads one file; what is between its top-level blocks are the attributes of the result.
pub(super) fn read(name: &str, text: &str, notes: &Notes) -> Option<Block> {
    let file: Rc<str> = Rc::from(name);
    let refuse = |line, message: String| {
        let place = Place {
            file: Rc::clone(&file),
            line,
        };
        notes.add(NoteKind::NotMapped, &place, "the whole file", message);
    };
    if text.len() > MAX_FILE {
        refuse(1, format!("it has more than {MAX_FILE} bytes"));
        return None;
    }
    let body = match parse_body(text) {
        Ok(body) => body,
        Err(error) => {
            let line = error.location().line();
            refuse(line, format!("not HCL: {}", error.message()));
            return None;
        }
    };
    let lines = Lines::of(Rc::clone(&file), text);
    let mut top = Block {
        kind: String::new(),
        labels: Vec::new(),
        place: lines.place(Some(0)),
        attributes: Vec::new(),
        blocks: Vec::new(),
    };
    fill(&mut top, &body, &lines, text);
    Some(top)
}

// As deep as the parser lets blocks nest: 64.
fn fill(block: &mut Block, body: &Body, lines: &Lines, text: &str) {
    for structure in body {
        let start = structure.span().map(|span| span.start);
        match structure {
            Structure::Attribute(attribute) => {
                let span = attribute.value.span();
                let written = span.and_then(|span| text.get(span)).unwrap_or_default();
                block.attributes.push(Attribute {
                    key: attribute.key.to_string(),
                    place: lines.place(start),
                    expression: attribute.value.clone(),
                    written: written.trim().to_owned(),
                });
            }
            Structure::Block(inner) => {
                let labels = inner.labels.iter().map(|label| label.as_str().to_owned());
                let mut read = Block {
                    kind: inner.ident.to_string(),
                    labels: labels.collect(),
                    place: lines.place(start),
                    attributes: Vec::new(),
                    blocks: Vec::new(),
                };
                fill(&mut read, &inner.body, lines, text);
                block.blocks.push(read);
            }
        }
    }
}

/// Where the lines of a file begin.
struct Lines {
    file: Rc<str>,
    starts: Vec<usize>,
}

impl Lines {
    fn of(file: Rc<str>, text: &str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(breaks).collect();
        Self { file, starts }
    }

    fn place(&self, at: Option<usize>) -> Place {
        let at = at.unwrap_or_default();
        Place {
            file: Rc::clone(&self.file),
            line: self.starts.partition_point(|start| *start <= at),
        }
    }
}
