//! The window: which earlier messages go along.

use super::{ConversationPolicy, MessageHead, Role};

/// How much goes along at most, the request's own messages included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub messages: u64,
    pub tokens: u64,
    pub bytes: u64,
}

impl Room {
    pub fn of(policy: &ConversationPolicy, bytes: u64) -> Self {
        Self {
            messages: policy.max_messages.into(),
            tokens: policy.max_context_tokens.into(),
            bytes,
        }
    }

    /// Takes a message if there is room for it.
    fn take(&mut self, head: &MessageHead) -> bool {
        let fits = self.messages > 0 && self.tokens >= head.tokens && self.bytes >= head.bytes;
        if fits {
            self.messages -= 1;
            self.tokens -= head.tokens;
            self.bytes -= head.bytes;
        }
        fits
    }
}

/// What the request itself holds. It is sent whatever the window's size, so it takes its room first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Own {
    pub messages: u64,
    pub tokens: u64,
    pub bytes: u64,
}

/// The numbers of the messages that go along, in order.
///
/// `newest` are the last messages of the conversation, `system` its last system messages, the newest in front. System messages go
/// first, since the others mean little without them; then the newest, one after the other, until one finds no room: a conversation
/// with a hole in it would be another one. What begins with a tool's result is shortened to what does not, because vendors refuse
/// results whose call they do not see.
pub fn choose(newest: &[MessageHead], system: &[MessageHead], own: Own, room: Room) -> Vec<u64> {
    // A request that is over the limits by itself takes nothing along, not even what weighs nothing.
    let left = |room: u64, own: u64| room.checked_sub(own);
    let (Some(messages), Some(tokens), Some(bytes)) = (
        left(room.messages, own.messages),
        left(room.tokens, own.tokens),
        left(room.bytes, own.bytes),
    ) else {
        return Vec::new();
    };
    let mut room = Room {
        messages,
        tokens,
        bytes,
    };
    let mut chosen: Vec<u64> = system
        .iter()
        .take_while(|head| room.take(head))
        .map(|head| head.number)
        .collect();
    let spoken = newest.iter().filter(|head| head.role != Role::System);
    let mut window: Vec<&MessageHead> = spoken.take_while(|head| room.take(head)).collect();
    while window.last().is_some_and(|head| head.role == Role::Tool) {
        window.pop();
    }
    chosen.extend(window.iter().map(|head| head.number));
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VAST: Room = Room {
        messages: 1000,
        tokens: 1 << 40,
        bytes: 1 << 40,
    };

    /// `s` a system message, `t` a tool's result, anything else another one; ten tokens and a hundred bytes each.
    fn heads(roles: &str) -> Vec<MessageHead> {
        let head = |(at, role)| MessageHead {
            number: at as u64 + 1,
            role: match role {
                's' => Role::System,
                't' => Role::Tool,
                _ => Role::Other,
            },
            bytes: 100,
            tokens: 10,
        };
        roles.chars().enumerate().map(head).collect()
    }

    fn chosen(roles: &str, own: Own, room: Room) -> Vec<u64> {
        let mut newest = heads(roles);
        newest.reverse();
        let system: Vec<_> = newest
            .iter()
            .copied()
            .filter(|head| head.role == Role::System)
            .collect();
        choose(&newest, &system, own, room)
    }

    #[test]
    fn the_newest_stay_and_so_do_system_messages() {
        let none = Own::default();
        let room = |messages, tokens, bytes| Room {
            messages,
            tokens,
            bytes,
        };
        for (roles, room, wanted) in [
            ("suaua", VAST, vec![1, 2, 3, 4, 5]),
            ("suaua", room(3, 1000, 10_000), vec![1, 4, 5]),
            ("suaua", room(9, 35, 10_000), vec![1, 4, 5]),
            ("suaua", room(9, 1000, 299), vec![1, 5]),
            ("suaua", room(0, 1000, 10_000), vec![]),
            ("uasua", room(2, 1000, 10_000), vec![3, 5]),
            // Even system messages do not break the limits; of those the newest stay.
            ("sssu", room(2, 1000, 10_000), vec![2, 3]),
            ("", VAST, vec![]),
        ] {
            assert_eq!(chosen(roles, none, room), wanted, "{roles} {room:?}");
        }
    }

    #[test]
    fn the_requests_own_messages_take_their_room_first() {
        let own = Own {
            messages: 2,
            tokens: 20,
            bytes: 200,
        };
        let room = Room { messages: 4, ..VAST };
        assert_eq!(chosen("uauaua", own, room), [5, 6]);
        assert_eq!(chosen("uauaua", own, Room { tokens: 45, ..VAST }), [5, 6]);
        assert_eq!(chosen("uauaua", own, Room { messages: 1, ..VAST }), Vec::<u64>::new());
    }

    #[test]
    fn a_request_over_the_limits_takes_nothing_along() {
        let own = Own {
            tokens: 6,
            ..Own::default()
        };
        let weightless = MessageHead {
            number: 1,
            role: Role::System,
            bytes: 0,
            tokens: 0,
        };
        let room = Room { tokens: 5, ..VAST };
        assert!(choose(&[], &[weightless], own, room).is_empty());
        let room = Room { tokens: 6, ..VAST };
        assert_eq!(choose(&[], &[weightless], own, room), [1]);
    }

    #[test]
    fn a_window_does_not_begin_with_a_tools_result() {
        // user, call, result, result, answer.
        let room = |messages| Room { messages, ..VAST };
        assert_eq!(chosen("ucttau", Own::default(), room(4)), [5, 6]);
        assert_eq!(chosen("ucttau", Own::default(), room(5)), [2, 3, 4, 5, 6]);
        assert_eq!(chosen("tt", Own::default(), VAST), Vec::<u64>::new());
    }

    proptest! {
        #[test]
        fn no_window_breaks_its_limits_or_has_a_hole(
            roles in "[sut]{0,30}",
            sizes in proptest::collection::vec((0_u64..50, 0_u64..500), 30),
            messages in 0_u64..40, tokens in 0_u64..600, bytes in 0_u64..6000,
            own in (0_u64..5, 0_u64..50, 0_u64..500),
        ) {
            let mut newest = heads(&roles);
            for (head, (tokens, bytes)) in newest.iter_mut().zip(sizes) {
                (head.tokens, head.bytes) = (tokens, bytes);
            }
            newest.reverse();
            let system: Vec<_> = newest.iter().copied().filter(|head| head.role == Role::System).collect();
            let own = Own { messages: own.0, tokens: own.1, bytes: own.2 };
            let numbers = choose(&newest, &system, own, Room { messages, tokens, bytes });
            let taken: Vec<_> = newest.iter().filter(|head| numbers.contains(&head.number)).collect();
            prop_assert_eq!(taken.len(), numbers.len());
            if !taken.is_empty() {
                prop_assert!(taken.len() as u64 + own.messages <= messages);
                prop_assert!(taken.iter().map(|head| head.tokens).sum::<u64>() + own.tokens <= tokens);
                prop_assert!(taken.iter().map(|head| head.bytes).sum::<u64>() + own.bytes <= bytes);
            }
            // Behind the first message that goes along, every one does.
            let mut spoken: Vec<_> = newest.iter().filter(|head| head.role != Role::System).collect();
            spoken.reverse();
            let first = spoken.iter().position(|head| numbers.contains(&head.number)).unwrap_or(spoken.len());
            let rest = &spoken[first..];
            prop_assert!(rest.iter().all(|head| numbers.contains(&head.number)));
            prop_assert!(rest.first().is_none_or(|head| head.role != Role::Tool));
        }
    }
}
