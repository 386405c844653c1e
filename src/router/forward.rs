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
    let total: u64 = forward
        .groups
        .iter()
        .map(|&(_, weight)| u64::from(weight))
        .sum();
    let mut point = ((u128::from(entropy) * u128::from(total)) >> 64) as u64;
    for &(group, weight) in &forward.groups {
        match point.checked_sub(u64::from(weight)) {
            Some(rest) => point = rest,
            None => return group,
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_chosen_in_exact_proportion() {
        let forward = Forward {
            groups: vec![(GroupIndex(0), 90), (GroupIndex(1), 0), (GroupIndex(2), 10)],
            sticky: None,
        };
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
    fn the_only_group_is_always_chosen() {
        let forward = Forward {
            groups: vec![(GroupIndex(7), 1)],
            sticky: None,
        };
        for entropy in [0, 1 << 63, u64::MAX] {
            assert_eq!(choose(&forward, entropy), GroupIndex(7));
        }
    }
}
