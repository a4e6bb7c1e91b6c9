//! A bad line: wraps a device, puts random bytes between its frames and flips a bit in every n-th of them.
//!
//! Seeded, so that a failing run can be played again. It spoils only what the device says, never what it hears.

use std::time::Duration;

use super::device::{DeviceSide, Reply};

/// How bad the line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noise {
    /// At most so many random bytes before each frame.
    pub max_garbage_bytes: usize,
    /// Flips one bit in every n-th frame; 0 leaves all alone.
    pub corrupt_every: u64,
    /// Decides which bytes and bits.
    pub seed: u64,
}

/// A device behind a bad line.
#[derive(Debug, Clone)]
pub struct Noisy<D> {
    device: D,
    noise: Noise,
    frames: u64,
    random: fastrand::Rng,
}

impl<D: DeviceSide> Noisy<D> {
    /// Puts the noise on the line.
    pub fn new(device: D, noise: Noise) -> Self {
        Self { device, noise, frames: 0, random: fastrand::Rng::with_seed(noise.seed) }
    }

    fn spoil(&mut self, frame: &mut Vec<u8>) {
        self.frames += 1;
        if self.noise.corrupt_every > 0
            && self.frames.is_multiple_of(self.noise.corrupt_every)
            && !frame.is_empty()
        {
            let index = self.random.usize(..frame.len());
            frame[index] ^= 1 << self.random.u8(..8);
        }
        let garbage = self.random.usize(..=self.noise.max_garbage_bytes);
        let bytes: Vec<u8> = (0..garbage).map(|_| self.random.u8(..)).collect();
        frame.splice(0..0, bytes);
    }
}

impl<D: DeviceSide> DeviceSide for Noisy<D> {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        let mut replies = self.device.handle_input(bytes, now);
        for frame in replies.iter_mut().flat_map(|reply| &mut reply.frames) {
            self.spoil(frame);
        }
        replies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Parrot;

    impl DeviceSide for Parrot {
        fn handle_input(&mut self, bytes: &[u8], _now: Duration) -> Vec<Reply> {
            vec![Reply { frames: vec![bytes.to_vec()], ends_cycle: false }]
        }
    }

    #[test]
    fn every_nth_frame_differs_in_one_bit() {
        let mut noisy = Noisy::new(Parrot, Noise { max_garbage_bytes: 0, corrupt_every: 3, seed: 5 });
        let said = [0x55; 13];
        let flipped: Vec<u32> = (0..6)
            .map(|_| noisy.handle_input(&said, Duration::ZERO).remove(0).frames.remove(0))
            .map(|heard| heard.iter().zip(said).map(|(a, b)| (a ^ b).count_ones()).sum())
            .collect();
        assert_eq!(flipped, [0, 0, 1, 0, 0, 1]);
    }

    #[test]
    fn garbage_stands_before_the_frame_and_leaves_it_whole() {
        let mut noisy = Noisy::new(Parrot, Noise { max_garbage_bytes: 9, corrupt_every: 0, seed: 5 });
        let said = [0x55; 13];
        let lengths: Vec<usize> = (0..50)
            .map(|_| noisy.handle_input(&said, Duration::ZERO).remove(0).frames.remove(0))
            .inspect(|heard| assert!(heard.ends_with(&said)))
            .map(|heard| heard.len())
            .collect();
        assert!(lengths.iter().any(|length| *length > 13) && lengths.iter().all(|length| *length <= 22));
    }
}
