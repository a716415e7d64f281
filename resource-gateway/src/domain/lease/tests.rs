//! A model of several nodes on one ledger: calls that cost more or less than they reserved, late journals, crashes, returns.

use proptest::prelude::*;

use super::*;

const AMOUNT: i64 = 1000;
const NODES: usize = 3;

/// One life of a node, with its lease.
#[derive(Debug, Default)]
struct Node {
    tally: Tally,
    lease: LeaseRow,
    /// What calls under way have reserved.
    calls: Vec<i64>,
    /// Costs in the journal that the database does not have.
    journal: Vec<i64>,
}

#[derive(Debug, Default)]
struct World {
    period: PeriodRow,
    nodes: Vec<Node>,
    /// Crashed: their leases and what their journals hold.
    dead: Vec<(LeaseRow, Vec<i64>)>,
    /// By how much calls cost more than they had reserved.
    overshoot: i64,
    /// What calls cost that ended.
    cost: i64,
}

#[derive(Debug, Clone)]
enum Step {
    Call {
        node: usize,
        need: i64,
        want: i64,
        comfort: i64,
    },
    End {
        node: usize,
        call: usize,
        cost: i64,
    },
    Drain {
        node: usize,
    },
    Return {
        node: usize,
        most: i64,
    },
    /// A return that the database never answered.
    LostReturn {
        node: usize,
        done: bool,
    },
    /// A grant that the node never heard of.
    LostGrant {
        node: usize,
        need: i64,
    },
    Crash {
        node: usize,
    },
    Adopt,
}

impl World {
    fn new() -> Self {
        let nodes = (0..NODES).map(|_| Node::default()).collect();
        Self {
            nodes,
            ..Self::default()
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Call {
                node,
                need,
                want,
                comfort,
            } => self.call(node, need, want, comfort),
            Step::End { node, call, cost } => {
                let node = &mut self.nodes[node];
                if node.calls.is_empty() {
                    return;
                }
                let reserved = node.calls.swap_remove(call % node.calls.len());
                node.tally.settle(reserved, cost);
                node.journal.push(cost);
                self.overshoot += (cost - reserved).max(0);
                self.cost += cost;
            }
            Step::Drain { node } => {
                let node = &mut self.nodes[node];
                for cost in node.journal.drain(..) {
                    self.period.charge(Some(&mut node.lease), cost);
                }
            }
            Step::Return { node, most } => {
                let node = &mut self.nodes[node];
                let aside = node.tally.withdraw(most);
                self.period.give_back(&mut node.lease, aside);
                node.tally.learn(node.lease);
            }
            Step::LostReturn { node, done } => {
                let node = &mut self.nodes[node];
                let aside = node.tally.withdraw(i64::MAX);
                if done {
                    self.period.give_back(&mut node.lease, aside);
                }
            }
            Step::LostGrant { node, need } => {
                let wish = Wish {
                    need,
                    want: need,
                    comfort: need,
                };
                let node = &mut self.nodes[node];
                let _ = self.period.grant(&mut node.lease, AMOUNT, wish);
            }
            Step::Crash { node } => {
                let dead = std::mem::take(&mut self.nodes[node]);
                self.dead.push((dead.lease, dead.journal));
            }
            Step::Adopt => {
                for (mut lease, journal) in self.dead.drain(..) {
                    for cost in journal {
                        self.period.charge(Some(&mut lease), cost);
                    }
                    let held = lease.held;
                    self.period.give_back(&mut lease, held);
                }
            }
        }
    }

    fn call(&mut self, node: usize, need: i64, want: i64, comfort: i64) {
        let node = &mut self.nodes[node];
        let most = need + want;
        if let Err(missing) = node.tally.reserve(most) {
            let wish = Wish {
                need: missing - want,
                want: missing,
                comfort,
            };
            let _ = self.period.grant(&mut node.lease, AMOUNT, wish);
            // A refusal tells, too: an answer before it may have been lost.
            node.tally.learn(node.lease);
            let Some(reserved) = node.tally.reserve_some(need, most) else {
                return;
            };
            node.calls.push(reserved);
            return;
        }
        node.calls.push(most);
    }

    fn check(&self) {
        let leases = self.nodes.iter().map(|node| &node.lease);
        let leases = leases.chain(self.dead.iter().map(|(lease, _)| lease));
        let held: i64 = leases.map(|lease| lease.held).sum();
        assert_eq!(self.period.held, held, "the period knows what its leases hold");
        assert!(held >= 0);
        // Never oversold, by anything but the overshoot of calls themselves.
        assert!(
            self.period.spent + self.period.held <= AMOUNT + self.overshoot,
            "{self:?}"
        );
        assert!(self.cost <= AMOUNT + self.overshoot, "{self:?}");
        for node in &self.nodes {
            assert_eq!(node.tally.reserved(), node.calls.iter().sum::<i64>());
        }
    }

    /// Everything ends well: calls end, journals arrive, the dead are adopted, leases are given back.
    fn finish(&mut self) {
        for node in 0..NODES {
            while let Some(reserved) = self.nodes[node].calls.first().copied() {
                self.run(&Step::End {
                    node,
                    call: 0,
                    cost: reserved / 2,
                });
            }
            self.run(&Step::Drain { node });
            self.run(&Step::Crash { node });
        }
        self.run(&Step::Adopt);
    }
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    let need = 1_i64..120;
    prop_oneof![
        8 => (node.clone(), need.clone(), 0_i64..60, 0_i64..400)
            .prop_map(|(node, need, want, comfort)| Step::Call { node, need, want, comfort }),
        8 => (node.clone(), 0_usize..64, 0_i64..160).prop_map(|(node, call, cost)| Step::End { node, call, cost }),
        4 => node.clone().prop_map(|node| Step::Drain { node }),
        2 => (node.clone(), 0_i64..300).prop_map(|(node, most)| Step::Return { node, most }),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, done)| Step::LostReturn { node, done }),
        1 => (node.clone(), need).prop_map(|(node, need)| Step::LostGrant { node, need }),
        1 => node.prop_map(|node| Step::Crash { node }),
        1 => Just(Step::Adopt),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_oversold_and_nothing_leaks(steps in proptest::collection::vec(step(), 1..200)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
            world.check();
        }
        world.finish();
        world.check();
        prop_assert_eq!(world.period.held, 0, "no lease is left");
        prop_assert_eq!(world.period.spent, world.cost, "the sum is what calls cost");
    }

    /// Calls that cost what they reserved, on any number of nodes: the budget is used up to the last call that fits, once what
    /// idle nodes hold has come back.
    #[test]
    fn exactly_as_many_calls_pass_as_fit(price in 1_i64..50, order in proptest::collection::vec(0..NODES, 1100)) {
        let mut world = World::new();
        let mut passed = 0;
        for node in order {
            let before = world.nodes[node].calls.len();
            world.run(&Step::Call { node, need: price, want: 0, comfort: price * 16 });
            if world.nodes[node].calls.len() == before {
                for other in 0..NODES {
                    world.run(&Step::Return { node: other, most: i64::MAX });
                }
                world.run(&Step::Call { node, need: price, want: 0, comfort: 0 });
            }
            passed += i64::try_from(world.nodes[node].calls.len() - before).unwrap();
            world.run(&Step::End { node, call: 0, cost: price });
            world.run(&Step::Drain { node });
            world.check();
        }
        prop_assert_eq!(passed, (AMOUNT / price).min(1100));
    }
}

#[test]
fn threads_never_take_more_than_there_is() {
    let tally = Tally::default();
    tally.learn(LeaseRow { held: 1000, charged: 0 });
    let passed: usize = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..1000).filter(|_| tally.reserve(3).is_ok()).count()))
            .collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).sum()
    });
    assert_eq!(passed, 333);
    assert_eq!((tally.available(), tally.reserved()), (1, 999));
}
