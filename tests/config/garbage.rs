//! No text makes the parser panic, and what it accepts it accepts again.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use weir::config;

const SHIPPED: [&str; 5] = [
    "config/quickstart.toml",
    "config/taskoverflow.toml",
    "config/full.toml",
    "config/step_scaling.toml",
    "config/schedule.toml",
];

/// What a configuration is made of, so that nonsense comes close to sense.
const WORDS: [&str; 30] = [
    "[[listener]]\n",
    "[[listener.rule]]\n",
    "[target_group.todo]\n",
    "[target_group.todo.health]\n",
    "bind",
    "forward",
    "targets",
    "health",
    "when",
    "then",
    "priority",
    "weight",
    "interval",
    " = ",
    "\"todo\"",
    "\"0.0.0.0:80\"",
    "\"5s\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\n",
    "0",
    "-1",
    "1.5",
    "true",
    "\"${A:-b}\"",
    "'''",
    "#",
];

fn read(text: &str) {
    let answer = config::parse("garbage.toml", text, &|_| None);
    match answer {
        Ok(parsed) => drop(parsed.warnings.to_string()),
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason:\n{text}");
            drop((problems.to_string(), serde_json::to_string(&problems)));
        }
    }
}

fn shipped(index: usize) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SHIPPED[index]);
    fs::read_to_string(path).expect("it is in the repository")
}

/// Where a value of elasticity stands; `@` is the value.
const VALUES: [&str; 9] = [
    "schedule = { cron = '@', timezone = 'Europe/Berlin', min = 1 }",
    "schedule = { cron = '0 0 * * *', timezone = '@', min = 1 }",
    "schedule = { at = '@', timezone = 'America/New_York', max = 2 }",
    "schedule = { at = @, max = 2 }",
    "schedule = { rate = '@', max = 2 }",
    "target_tracking = { metric = 'cpu', target = @ }",
    "target_tracking = { metric = { name = '@', labels = { '@' = '@' } }, target = 1 }",
    "step_scaling = { metric = 'cpu', comparison = '>', threshold = @, steps = { lower = @, by = 1 } }",
    "step_scaling = { metric = 'latency_p95', comparison = '>', threshold = '1s', steps = { lower = '@', by = 1 } }",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        read(&text);
    }

    #[test]
    fn words_in_any_order_are_read_or_refused(picks in prop::collection::vec(0..WORDS.len(), 0..60)) {
        let text: String = picks.into_iter().map(|pick| WORDS[pick]).collect();
        read(&text);
    }

    /// One character more, less or other: what a slip of the hand makes of a good file.
    #[test]
    fn a_damaged_file_is_read_or_refused(
        file in 0..SHIPPED.len(),
        at in any::<prop::sample::Index>(),
        cut in 0_usize..40,
        insert in "[\\PC\n\t]{0,3}",
    ) {
        let text: Vec<char> = shipped(file).chars().collect();
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        let damaged: String = text[..at].iter().copied().chain(insert.chars()).chain(text[end..].iter().copied()).collect();
        read(&damaged);
    }

    #[test]
    fn any_value_of_elasticity_is_read_or_refused(
        place in 0..VALUES.len(),
        value in prop_oneof![
            "\\PC{0,20}",
            "[0-9LWH?*/,# MONDEC-]{0,24}",
            "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{5,8}",
            any::<f64>().prop_map(|number| format!("{number:?}")),
        ],
    ) {
        read(&format!(
            "[[listener]]\nbind = '0.0.0.0:80'\nforward = 'todo'\n[target_group.todo]\n\
             replicas = {{ command = ['{{port}}'] }}\n\
             [target_group.todo.autoscaling]\nmin = 0\nmax = 4\n{}\n",
            VALUES[place].replace('@', &value)
        ));
    }
}
