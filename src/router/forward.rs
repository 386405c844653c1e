//! The weighted choice of a group.

use crate::model::{Forward, GroupIndex};

/// A group of `forward`, each with its weight's chance if `entropy` is uniform.
///
/// Proportions are exact to 2^-54: equally spaced values of `entropy` choose each
/// group as often as its weight says, to within one.
pub fn choose(forward: &Forward<GroupIndex>, entropy: u64) -> GroupIndex {
    let (first, _) = forward.groups[0];
    if forward.groups.len() == 1 {
        return first;
    }
    among(forward.groups.iter().copied(), entropy).unwrap_or(first)
}

/// The same for a client that is to stay with a group for which `holds` is true: that group,
/// while it has a weight and is alive; otherwise one that is. If none is alive, the client
/// stays.
pub fn choose_again(
    forward: &Forward<GroupIndex>,
    entropy: u64,
    holds: impl Fn(GroupIndex) -> bool,
    is_alive: impl Fn(GroupIndex) -> bool,
) -> GroupIndex {
    let groups = || forward.groups.iter().copied();
    let held = groups().find(|&(group, weight)| weight > 0 && holds(group));
    match held {
        Some((group, _)) if is_alive(group) => group,
        held => among(groups().filter(|&(group, _)| is_alive(group)), entropy)
            .or(held.map(|(group, _)| group))
            .unwrap_or_else(|| choose(forward, entropy)),
    }
}

/// One of these, by weight; `None` when no weight is above 0.
fn among(
    groups: impl Iterator<Item = (GroupIndex, u16)> + Clone,
    entropy: u64,
) -> Option<GroupIndex> {
    let total: u64 = groups.clone().map(|(_, weight)| u64::from(weight)).sum();
    let mut point = ((u128::from(entropy) * u128::from(total)) >> 64) as u64;
    for (group, weight) in groups {
        match point.checked_sub(u64::from(weight)) {
            Some(rest) => point = rest,
            None => return Some(group),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_chosen_in_exact_proportion() {
        let forward = Forward::to(vec![
            (GroupIndex(0), 90),
            (GroupIndex(1), 0),
            (GroupIndex(2), 10),
        ]);
        let mut counts = [0; 3];
        for step in 0..1000_u128 {
            // The middle of each thousandth.
            let entropy = (((2 * step + 1) << 63) / 1000) as u64;
            let GroupIndex(group) = choose(&forward, entropy);
            counts[group] += 1;
        }
        assert_eq!(counts, [900, 0, 100]);
    }

    #[test]
    fn a_held_group_is_kept_while_it_has_a_weight_and_is_alive() {
        let forward = Forward::to(vec![
            (GroupIndex(0), 1),
            (GroupIndex(1), 0),
            (GroupIndex(2), 1),
        ]);
        let again = |held: usize, alive: &[usize]| {
            let chosen = [0, u64::MAX].map(|entropy| {
                let holds = |GroupIndex(group)| group == held;
                let is_alive = |GroupIndex(group)| alive.contains(&group);
                choose_again(&forward, entropy, holds, is_alive).0
            });
            (chosen[0], chosen[1])
        };
        assert_eq!(again(2, &[0, 1, 2]), (2, 2), "held");
        assert_eq!(again(1, &[0, 1, 2]), (0, 2), "without weight");
        assert_eq!(again(7, &[0, 1, 2]), (0, 2), "in the forward no more");
        assert_eq!(again(2, &[0, 1]), (0, 0), "dead");
        assert_eq!(again(2, &[1]), (2, 2), "all that have a weight are dead");
        assert_eq!(again(1, &[]), (0, 2), "none is alive and none held");
    }

    #[test]
    fn the_only_group_is_always_chosen() {
        let forward = Forward::to(vec![(GroupIndex(7), 1)]);
        for entropy in [0, 1 << 63, u64::MAX] {
            assert_eq!(choose(&forward, entropy), GroupIndex(7));
        }
    }
}
