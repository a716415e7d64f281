//! Which of several ways a call takes first, and which next.

use super::interface::Route;

/// The places of the routes in the order in which they are tried: lower priority numbers first; among equals by chance, in
/// proportion to their weights. Routes of weight 0, and those that `usable` turns down, are left out.
pub fn order_routes(routes: &[Route], usable: impl Fn(&Route) -> bool, mut random: impl FnMut() -> u64) -> Vec<usize> {
    let mut open: Vec<(usize, u32, u32)> = routes
        .iter()
        .enumerate()
        .filter(|(_, route)| route.weight > 0 && usable(route))
        .map(|(at, route)| (at, route.priority, route.weight))
        .collect();
    open.sort_by_key(|(_, priority, _)| *priority);
    let mut order = Vec::with_capacity(open.len());
    while let Some(&(_, priority, _)) = open.first() {
        let peers = open
            .iter()
            .take_while(|(_, other, _)| *other == priority)
            .map(|(_, _, weight)| *weight);
        let place = pick(peers, &mut random).unwrap_or(0);
        order.push(open.remove(place).0);
    }
    order
}

/// Picks a place by chance in proportion to the weights. Chance is asked only where there is a choice.
pub fn pick(weights: impl Iterator<Item = u32> + Clone, mut random: impl FnMut() -> u64) -> Option<usize> {
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut with_weight = weights.clone().enumerate().filter(|(_, weight)| *weight > 0);
    let (only, _) = with_weight.next()?;
    if with_weight.next().is_none() {
        return Some(only);
    }
    let mut point = random() % total;
    for (place, weight) in weights.enumerate() {
        match point.checked_sub(u64::from(weight)) {
            Some(rest) => point = rest,
            None => return Some(place),
        }
    }
    Some(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(weight: u32, priority: u32) -> Route {
        Route {
            vendor: "v".to_owned().into(),
            model: "m".to_owned().into(),
            weight,
            priority,
        }
    }

    /// A deterministic stand-in for chance (SplitMix64).
    fn chance(mut seed: u64) -> impl FnMut() -> u64 {
        move || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    #[test]
    fn priorities_come_before_weights_and_drained_routes_stay_out() {
        let routes = [route(1, 2), route(100, 5), route(0, 1), route(1, 1)];
        assert_eq!(order_routes(&routes, |_| true, chance(1)), [3, 0, 1]);
        assert_eq!(order_routes(&routes, |r| r.priority != 1, chance(1)), [0, 1]);
        assert!(order_routes(&[], |_| true, || unreachable!()).is_empty());
        assert_eq!(
            order_routes(&[route(5, 0)], |_| true, || unreachable!("no choice, no chance")),
            [0]
        );
    }

    #[test]
    fn weights_are_shares() {
        let routes = [route(1, 0), route(3, 0)];
        let mut random = chance(7);
        let firsts = (0..10_000)
            .filter(|_| order_routes(&routes, |_| true, &mut random) == [1, 0])
            .count();
        assert!((7300..7700).contains(&firsts), "{firsts}");
    }
}
