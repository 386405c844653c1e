//! The architecture as tests: which room may name which, which rooms have walls inside, that no
//! files import each other, and that the old words are gone. Change a table in the same commit as
//! the import, and say why.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot read the sources has failed"
)]

mod sources;
mod words;

use std::collections::BTreeSet;

use sources::Sources;

/// Each module of `src`, then the modules it may name. Lowest first.
const LAYERS: &str = "
    model        :
    clock        :
    target       : model
    files        :
    tls          : model
    observe      : model clock target
    message      : model
    http1        : message
    net          : model observe tls
    balance      : model target
    router       : model message
    rate_limit   : model message
    lifecycle    :
    config       : model files tls
    target_group : model target tls balance
    state        : model target observe message tls config balance router rate_limit target_group
    upstream     : model clock target tls net message http1
    tunnel       : model clock target observe net
    proxy        : model clock target observe message http1 net router target_group state upstream tunnel
    downstream   : model clock observe message http1 net tls proxy tunnel
    explain      : model target message config router target_group state proxy
    listener     : model observe net state proxy downstream
    health       : model target observe config net state target_group
    discovery    : model files observe config net state
    acme         : files observe config net state tls
    spans        : model observe config net state
    replicas     : model target observe tls config net state
    autoscale    : model target observe tls config net state replicas
    admin        : model target observe tls net lifecycle state listener explain discovery acme replicas
                   autoscale
    server       : model target files observe net config rate_limit lifecycle target_group state
                   upstream proxy downstream listener health discovery acme spans replicas autoscale admin
    tools        : config autoscale
    cli          : model files observe net config state replicas explain admin server tools
";

/// Folders whose parts see what lies beside them in the folder, and of each other only what
/// stands here. Lowest first.
const WALLS: [(&str, &str); 2] = [
    (
        "replicas",
        "
    child         :
    docker_engine :
    process       : child
    exec          : child
    docker        : docker_engine
    swarm         : docker_engine
    kubernetes    :
    ecs           :
    webhook       :
    reconcile     :
    ",
    ),
    (
        "tools",
        "
    plot     :
    simulate : plot
    import   :
    ",
    ),
];

/// The lines of a table: a name, and the names after its colon. A line without one continues
/// that before it.
fn rows(table: &str) -> Vec<(&str, BTreeSet<&str>)> {
    let mut rows: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    for line in table.lines().filter(|line| !line.trim().is_empty()) {
        let names = match line.split_once(':') {
            Some((name, names)) => {
                rows.push((name.trim(), BTreeSet::new()));
                names
            }
            None => line,
        };
        let (_, allowed) = rows.last_mut().expect("a continuation follows a name");
        allowed.extend(names.split_whitespace());
    }
    rows
}

#[test]
fn modules_import_only_from_below() {
    let (sources, layers) = (Sources::read(), rows(LAYERS));
    let mut wrong = Vec::new();
    for module in sources.modules().filter(|module| !module.is_empty()) {
        let room = room(module);
        let Some((_, allowed)) = layers.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("`{room}` has no layer"));
            continue;
        };
        for used in sources.named(module) {
            let used = self::room(used);
            if used != room && !allowed.contains(used) {
                let path = sources.path(module).display();
                wrong.push(format!("{path}: `{room}` may not import `{used}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn tables_name_only_what_is_below_and_exists() {
    let sources = Sources::read();
    let walls = WALLS.map(|(folder, table)| (format!("{folder}::"), table));
    for (prefix, table) in [(String::new(), LAYERS)].into_iter().chain(walls) {
        let rows = rows(table);
        for (index, (name, allowed)) in rows.iter().enumerate() {
            let module = format!("{prefix}{name}");
            assert!(
                sources.modules().any(|known| known == module),
                "there is no {module}"
            );
            for used in allowed {
                let is_below = rows[..index].iter().any(|(lower, _)| lower == used);
                assert!(is_below, "{module} -> {used}");
            }
        }
    }
}

#[test]
fn parts_of_a_walled_folder_do_not_see_each_other() {
    let sources = Sources::read();
    let mut wrong = Vec::new();
    for (folder, table) in WALLS {
        let rows = rows(table);
        for module in sources.modules() {
            let Some((part, allowed)) = part(module, folder, &rows) else {
                continue;
            };
            for used in sources.imports(module) {
                if let Some((other, _)) = self::part(used, folder, &rows)
                    && other != part
                    && !allowed.contains(other)
                {
                    let path = sources.path(module).display();
                    wrong.push(format!("{path}: `{part}` may not import `{other}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The row of the part of `folder` in which a module lies.
fn part<'t>(
    module: &str,
    folder: &str,
    rows: &'t [(&'t str, BTreeSet<&'t str>)],
) -> Option<&'t (&'t str, BTreeSet<&'t str>)> {
    let inside = module.strip_prefix(folder)?.strip_prefix("::")?;
    rows.iter().find(|(name, _)| *name == room(inside))
}

/// The first segment.
fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

#[test]
fn no_files_import_each_other() {
    let sources = Sources::read();
    // What nothing left imports from, or what imports nothing left, is in no circle.
    let mut left: BTreeSet<&str> = sources.modules().collect();
    let total = left.len();
    loop {
        let imported: BTreeSet<&str> = left.iter().flat_map(|m| sources.imports(m)).collect();
        let keeps = |module: &&str| {
            let imports = sources.imports(module);
            imported.contains(module) && imports.iter().any(|used| left.contains(used))
        };
        let kept: BTreeSet<&str> = left.iter().copied().filter(keeps).collect();
        if kept.len() == left.len() {
            break;
        }
        left = kept;
    }
    assert!(
        left.len() < total,
        "not one file is free of circles: the reader is broken"
    );
    let circles: Vec<String> = left
        .iter()
        .map(|module| {
            let imports: Vec<&str> = sources
                .imports(module)
                .into_iter()
                .filter(|used| left.contains(used))
                .collect();
            format!(
                "{}: imports {}",
                sources.path(module).display(),
                imports.join(", ")
            )
        })
        .collect();
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}
