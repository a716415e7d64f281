//! Which of several routes a call takes first, and which next.

use super::{
    balance::{Dice, hash_of, rank},
    interface::Route,
};

/// How a route is chosen among those of one priority.
#[derive(Debug)]
pub enum Choice<'d> {
    /// By chance, in proportion to the weights.
    Chance(&'d mut Dice),
    /// The same for the same key, as long as the routes stay: keys spread in proportion to the weights. It is an order like any
    /// other, so a route that fails is left for the next.
    Sticky(u64),
}

/// The places of the routes in the order in which they are tried: lower priority numbers first, among equals as `choice` says. Routes
/// of weight 0, and those that `usable` turns down, are left out.
pub fn order_routes<'r>(routes: &'r [Route], usable: impl Fn(&'r Route) -> bool, mut choice: Choice<'_>) -> Vec<usize> {
    let open = routes.iter().enumerate();
    let open = open.filter(|(_, route)| route.weight > 0 && usable(route));
    if let [_] = routes {
        return open.map(|(at, _)| at).collect();
    }
    let mut order: Vec<(usize, u32, f64)> = open
        .map(|(at, route)| {
            // Chance is a key that nobody else has: one draw by ranks gives the whole order, in proportion to the weights.
            let score = match &mut choice {
                Choice::Chance(dice) => rank(dice.roll(), 0, u64::from(route.weight)),
                Choice::Sticky(key) => {
                    let seed = hash_of(&[route.vendor.as_str(), route.model.as_str()]);
                    rank(*key, seed, u64::from(route.weight))
                }
            };
            (at, route.priority, score)
        })
        .collect();
    order.sort_by(|(_, left, high), (_, right, low)| left.cmp(right).then(low.total_cmp(high)));
    order.into_iter().map(|(at, _, _)| at).collect()
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

    #[test]
    fn priorities_come_before_weights_and_drained_routes_stay_out() {
        let routes = [route(1, 2), route(100, 5), route(0, 1), route(1, 1)];
        let dice = &mut Dice::new(1);
        assert_eq!(order_routes(&routes, |_| true, Choice::Chance(dice)), [3, 0, 1]);
        assert_eq!(order_routes(&routes, |r| r.priority != 1, Choice::Sticky(1)), [0, 1]);
        assert!(order_routes(&[], |_| true, Choice::Chance(dice)).is_empty());
        assert!(order_routes(&[route(0, 1)], |_| true, Choice::Chance(dice)).is_empty());
        assert_eq!(order_routes(&[route(5, 0)], |_| true, Choice::Chance(dice)), [0]);
    }

    #[test]
    fn weights_are_shares() {
        let mut routes = [route(1, 0), route(3, 0)];
        routes[1].model = "n".to_owned().into();
        let mut dice = Dice::new(7);
        let firsts = (0..10_000)
            .filter(|_| order_routes(&routes, |_| true, Choice::Chance(&mut dice)) == [1, 0])
            .count();
        assert!((7300..7700).contains(&firsts), "{firsts}");
        let firsts = (0..10_000)
            .filter(|_| order_routes(&routes, |_| true, Choice::Sticky(dice.roll())) == [1, 0])
            .count();
        assert!((7300..7700).contains(&firsts), "{firsts}");
    }

    #[test]
    fn what_is_sticky_stays_and_moves_only_when_its_route_goes() {
        let mut routes = [route(1, 0), route(1, 0), route(2, 0)];
        routes[1].model = "n".to_owned().into();
        routes[2].vendor = "w".to_owned().into();
        for key in 0..200 {
            let before = order_routes(&routes, |_| true, Choice::Sticky(key));
            assert_eq!(order_routes(&routes, |_| true, Choice::Sticky(key)), before);
            let without = order_routes(&routes, |route| route.vendor.as_str() != "w", Choice::Sticky(key));
            let rest: Vec<_> = before.into_iter().filter(|at| *at != 2).collect();
            assert_eq!(without, rest);
        }
    }
}
