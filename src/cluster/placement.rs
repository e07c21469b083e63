//! Which node should have which partition: a function of who is there and who has what now.
//!
//! Every node computes it for itself, so it must be the same for all that see the same. Invariants:
//!
//! - The shares of any two nodes differ by one partition at most.
//! - No placement that is as even moves fewer partitions, and what is placed already stays.
//!
//! Absent on purpose: how much work a partition is; and what is done about it, which is [`member`](super::member)'s.

/// Places the partitions on `nodes` nodes, 0 and up. `holders` says for each partition who of them has it now, if anyone. Without
/// nodes nothing is placed.
#[must_use]
pub fn place(nodes: usize, holders: &[Option<usize>]) -> Vec<Option<usize>> {
    let mut wanted = vec![None; holders.len()];
    let mut room = shares(nodes, holders);
    for (place, holder) in wanted.iter_mut().zip(holders) {
        let Some(holder) = holder.filter(|holder| room.get(*holder).is_some_and(|room| *room > 0)) else {
            continue;
        };
        room[holder] -= 1;
        *place = Some(holder);
    }
    let mut next = 0;
    for place in wanted.iter_mut().filter(|place| place.is_none()) {
        while room.get(next).is_some_and(|room| *room == 0) {
            next += 1;
        }
        *place = (next < room.len()).then_some(next);
        room.iter_mut().skip(next).take(1).for_each(|room| *room -= 1);
    }
    wanted
}

/// How many partitions each node is to have: those with the most get the ones that are left over, so that fewer move.
fn shares(nodes: usize, holders: &[Option<usize>]) -> Vec<usize> {
    if nodes == 0 {
        return Vec::new();
    }
    let mut held = vec![0_usize; nodes];
    holders.iter().flatten().filter(|holder| **holder < nodes).for_each(|holder| held[*holder] += 1);
    let mut by_held: Vec<usize> = (0..nodes).collect();
    by_held.sort_by_key(|node| std::cmp::Reverse(held[*node]));
    let mut shares = vec![holders.len() / nodes; nodes];
    by_held.iter().take(holders.len() % nodes).for_each(|node| shares[*node] += 1);
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(nodes: usize, placed: &[Option<usize>]) -> Vec<usize> {
        (0..nodes).map(|node| placed.iter().filter(|holder| **holder == Some(node)).count()).collect()
    }

    /// The most partitions that can stay where they are in any even placement, by trying every choice of who has one more.
    fn stay_max(nodes: usize, holders: &[Option<usize>]) -> usize {
        let (base, over) = (holders.len() / nodes, holders.len() % nodes);
        let held = counts(nodes, holders);
        let choices = (0_u32..1 << nodes).filter(|choice| usize::try_from(choice.count_ones()) == Ok(over));
        let stay = |choice: u32| -> usize {
            let share = |node: usize| base + usize::from(choice >> node & 1 == 1);
            held.iter().enumerate().map(|(node, held)| (*held).min(share(node))).sum()
        };
        choices.map(stay).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn a_placement_is_even_moves_as_little_as_possible_and_stays(
            nodes in 1_usize..6,
            holders in prop::collection::vec(prop::option::of(0_usize..8), 1..65),
        ) {
            let placed = place(nodes, &holders);
            prop_assert!(placed.iter().all(Option::is_some));
            let counts = counts(nodes, &placed);
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
            let stayed = placed.iter().zip(&holders).filter(|(placed, holder)| placed == holder).count();
            prop_assert_eq!(stayed, stay_max(nodes, &holders));
            prop_assert_eq!(place(nodes, &placed), placed);
        }
    }

    #[test]
    fn without_nodes_nothing_is_placed() {
        assert_eq!(place(0, &[Some(0), None]), [None, None]);
    }

    #[test]
    fn a_node_that_joins_gets_its_share_and_nothing_else_moves() {
        let before = place(2, &[None; 6]);
        let after = place(3, &before);
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert_eq!(moved, 2);
        assert_eq!(counts(3, &after), [2, 2, 2]);
    }
}
