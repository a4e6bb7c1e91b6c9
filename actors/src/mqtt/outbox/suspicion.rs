//! Which message it is that makes another broker hang up, pure: found by sending one at a time after a hang-up.
//!
//! Only a message that went alone is blamed, and only after several times, so that neither a broker that restarts nor a
//! line that breaks lets a good message be set aside.

use std::sync::Arc;

/// How often the broker may hang up on a message that went alone.
pub(super) const HANG_UPS: u32 = 3;

/// What is under way to the other broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mqtt) enum Sent {
    /// A message that waits in the outbox under this number.
    Kept(u64),
    /// What is retained here on this topic.
    Retained(Arc<str>),
    /// A message of nobody's, which is not sent again.
    Beside,
}

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// How many messages are still to go one by one.
    one_by_one: usize,
    suspect: Option<(Sent, u32)>,
}

impl Suspicion {
    /// The broker hung up while these were under way; answers the one that is to blame, once that is certain.
    pub(super) fn hung_up(&mut self, under_way: &[Sent]) -> Option<Sent> {
        self.one_by_one = self.one_by_one.max(under_way.len());
        let [alone @ (Sent::Kept(_) | Sent::Retained(_))] = under_way else { return None };
        let before = self.suspect.take().filter(|(suspect, _)| suspect == alone);
        let times = before.map_or(1, |(_, times)| times + 1);
        if times < HANG_UPS {
            self.suspect = Some((alone.clone(), times));
            return None;
        }
        self.one_by_one -= 1;
        Some(alone.clone())
    }

    /// The broker has a message.
    pub(super) fn got_through(&mut self, sent: &Sent) {
        self.one_by_one = self.one_by_one.saturating_sub(1);
        self.suspect.take_if(|(suspect, _)| suspect == sent);
    }

    /// Whether messages are to go one by one now.
    pub(super) fn is_careful(&self) -> bool {
        self.one_by_one > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_went_alone_three_times_is_to_blame() {
        let (mut suspicion, kept) = (Suspicion::default(), Sent::Kept);
        assert_eq!(suspicion.hung_up(&[]), None);
        assert!(!suspicion.is_careful());
        for _ in 0..10 {
            assert_eq!(suspicion.hung_up(&[kept(1), kept(2), kept(3)]), None, "it may be any of them");
        }
        assert!(suspicion.is_careful());
        suspicion.got_through(&kept(1));
        assert_eq!((suspicion.hung_up(&[kept(2)]), suspicion.hung_up(&[kept(2)])), (None, None));
        assert_eq!(suspicion.hung_up(&[kept(2)]), Some(kept(2)));
        assert!(suspicion.is_careful(), "another one may be as bad");
        suspicion.got_through(&kept(3));
        assert!(!suspicion.is_careful());
    }

    #[test]
    fn a_message_that_gets_through_is_not_to_blame_for_what_was_before() {
        let mut suspicion = Suspicion::default();
        let retained = Sent::Retained("a".into());
        for _ in 0..5 {
            assert_eq!(
                (
                    suspicion.hung_up(std::slice::from_ref(&retained)),
                    suspicion.hung_up(std::slice::from_ref(&retained))
                ),
                (None, None)
            );
            suspicion.got_through(&retained);
        }
        for _ in 0..5 {
            assert_eq!(suspicion.hung_up(&[Sent::Beside]), None, "nobody sends it again");
        }
    }
}
