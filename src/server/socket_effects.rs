//! What a reload would do to listening sockets, said without any: by the plan that a reload follows.

use super::socket_plan::{self, HeldSockets, Owner, WantedAddress};
use crate::config::{Config, display_duration};
use crate::model::SocketId;

/// What becomes of the addresses of `old` under `new`: a sentence each.
pub fn socket_effects(old: &Config, new: &Config) -> Vec<String> {
    let held = held(old);
    let wanted = socket_plan::wanted(new);
    let plan = socket_plan::plan(&held, &wanted, &[]);
    let mut effects = Vec::new();
    for new in &plan.new {
        effects.push(format!("{}: listens on {}", name(&new.owner), new.bind));
    }
    for (id, _) in &plan.left {
        if let Some(left) = held.iter().find(|held| held.id == *id) {
            effects.push(format!(
                "{}: listens on {} no more, and refuses connections there",
                name(&left.owner),
                left.addr
            ));
        }
    }
    for (id, wanted) in &plan.kept {
        let before = held.iter().find(|held| held.id == *id);
        if let Some(before) = before.filter(|before| before.owner != wanted.owner) {
            let (before, after) = (name(&before.owner), name(&wanted.owner));
            effects.push(format!("{before}: its address is now that of {after}"));
        }
    }
    effects.extend(ended(old, new, &held, &wanted, &plan));
    effects
}

/// Listeners of which connections are to end.
fn ended(
    old: &Config,
    new: &Config,
    held: &[HeldSockets],
    wanted: &[WantedAddress],
    plan: &socket_plan::SocketPlan,
) -> Vec<String> {
    let drain = display_duration(new.shutdown.drain);
    let listeners = old.listeners.iter().filter_map(|listener| {
        match socket_plan::replacement(&listener.id, held, plan, wanted) {
            None => Some(format!(
                "listener {}: its connections have {drain} to end",
                listener.id
            )),
            Some(other) if other != listener.id => Some(format!(
                "listener {}: its connections go on with listener {other}",
                listener.id
            )),
            Some(_) => None,
        }
    });
    listeners.collect()
}

fn held(config: &Config) -> Vec<HeldSockets> {
    let wanted = socket_plan::wanted(config).into_iter().enumerate();
    wanted
        .map(|(at, wanted)| HeldSockets {
            id: SocketId(at),
            owner: wanted.owner,
            bind: wanted.bind.clone(),
            addr: wanted.bind,
        })
        .collect()
}

fn name(owner: &Owner) -> String {
    match owner {
        Owner::Listener(id) => format!("listener {id}"),
        Owner::Admin => "the admin listener".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listeners: &[(&str, &str)]) -> Config {
        let one = |(name, bind): &(&str, &str)| {
            format!(
                "[[listener]]\nname = \"{name}\"\nbind = \"{bind}\"\nfixed_response = {{ status = 200 }}\n"
            )
        };
        let text: String = listeners.iter().map(one).collect();
        crate::config::parse("weir.toml", &text, &|_| None)
            .unwrap()
            .config
    }

    fn of(old: &[(&str, &str)], new: &[(&str, &str)]) -> Vec<String> {
        socket_effects(&config(old), &config(new))
    }

    #[test]
    fn an_address_that_stays_has_no_effect() {
        assert_eq!(
            of(&[("a", "127.0.0.1:80")], &[("a", "127.0.0.1:80")]),
            [""; 0]
        );
    }

    #[test]
    fn a_listener_that_moves_keeps_its_connections_and_leaves_its_address() {
        let effects = of(&[("a", "127.0.0.1:80")], &[("a", "127.0.0.1:81")]);
        assert_eq!(effects.len(), 2, "{effects:?}");
        assert!(
            effects[0].contains("listens on 127.0.0.1:81"),
            "{effects:?}"
        );
        assert!(effects[1].contains("127.0.0.1:80 no more"), "{effects:?}");
    }

    #[test]
    fn one_that_is_removed_ends_its_connections_unless_another_takes_them() {
        let before = [("a", "127.0.0.1:80"), ("b", "127.0.0.1:81")];
        let effects = of(&before, &[("b", "127.0.0.1:81")]);
        assert!(
            effects[1].contains("its connections have 25s to end"),
            "{effects:?}"
        );
        let effects = of(&before, &[("c", "127.0.0.1:80"), ("b", "127.0.0.1:81")]);
        let expected = [
            "listener a: its address is now that of listener c",
            "listener a: its connections go on with listener c",
        ];
        assert_eq!(effects, expected);
    }
}
