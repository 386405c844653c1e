//! Links lead somewhere, and files which the text names exist.

use super::page::{Page, code_spans, root};

/// Folders of which a code span names a file.
const FOLDERS: [&str; 6] = ["src/", "tests/", "config/", "examples/", "benches/", ".ci/"];

/// What `[text](target)` of a line leads to. A target in a code span is none.
fn targets(line: &str) -> Vec<String> {
    let mut in_code = false;
    let without_code: String = line
        .chars()
        .map(|c| {
            in_code ^= c == '`';
            if in_code { ' ' } else { c }
        })
        .collect();
    without_code
        .split("](")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap_or_default().to_owned())
        .collect()
}

/// What is wrong with a link of a page, if anything is.
fn fault(page: &Page, target: &str) -> Option<String> {
    if target.starts_with("https://") || target.starts_with("http://") {
        return None;
    }
    let (path, anchor) = target
        .split_once('#')
        .map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = page.folder().join(path);
    let linked = if path.is_empty() {
        root().join(&page.name)
    } else {
        let Ok(file) = file.canonicalize() else {
            return Some("there is no such file".to_owned());
        };
        file
    };
    let Ok(name) = linked.strip_prefix(root().canonicalize().expect("it exists")) else {
        return Some("it is outside of the repository".to_owned());
    };
    let anchor = anchor?;
    let anchors = Page::read(&name.display().to_string()).anchors();
    (!anchors.contains(anchor)).then(|| format!("it has no such heading, but {anchors:?}"))
}

#[test]
fn every_link_leads_somewhere() {
    let (mut faults, mut checked) = (Vec::new(), 0);
    for page in Page::all() {
        for (number, line) in page.prose() {
            for target in targets(line) {
                checked += 1;
                if let Some(fault) = fault(&page, &target) {
                    faults.push(format!("{}:{number}: {target}: {fault}", page.name));
                }
            }
            let is_definition = line.starts_with('[') && line.contains("]: ");
            assert!(
                !is_definition,
                "{}:{number}: write the target into the link",
                page.name
            );
        }
    }
    assert!(checked > 50, "only {checked} links");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn dead_links_are_found() {
    let page = Page::read("config/README.md");
    assert_eq!(fault(&page, "full.toml"), None);
    assert_eq!(fault(&page, "#health"), None);
    assert_eq!(fault(&page, "../README.md#try-it"), None);
    for dead in [
        "none.toml",
        "#no-such-heading",
        "../README.md#none",
        "../..",
    ] {
        assert!(fault(&page, dead).is_some(), "{dead}");
    }
    let line = "see [a](b.md) and [`c`](d.md#e), not `[f](g)`";
    assert_eq!(targets(line), ["b.md", "d.md#e"]);
}

#[test]
fn every_file_that_the_text_names_exists() {
    let (mut missing, mut checked) = (Vec::new(), 0);
    for page in Page::all() {
        for (number, line) in page.prose() {
            let is_path = |span: &&str| {
                let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
                FOLDERS.iter().any(|folder| span.starts_with(folder)) && span.chars().all(plain)
            };
            for path in code_spans(line).filter(is_path) {
                checked += 1;
                if !root().join(path).exists() {
                    missing.push(format!("{}:{number}: {path}", page.name));
                }
            }
        }
    }
    assert!(checked > 10, "only {checked} paths");
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}
