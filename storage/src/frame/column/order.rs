//! Whether a column is shorter as it is or by its differences, found out without compressing it.
//!
//! What a compressed column takes is close to its entropy, and a histogram says that at a fraction of the cost. Short columns
//! show too little of their distribution, and wide ones have too large a histogram: there the range decides. A wrong answer
//! costs space and nothing else.

/// The widest range that is counted number by number.
const WIDEST: usize = 1_024;
/// Columns that are shorter are judged by their range.
const LEAST_COUNTED: usize = 256;

/// Whether the differences promise to take less than the numbers.
pub(super) fn differences_are_shorter<T: Copy + Into<i64>>(numbers: &[T]) -> bool {
    let as_they_are = bits(numbers.iter().map(|number| (*number).into()));
    let differences = numbers.windows(2).map(|pair| match pair {
        [before, after] => (*after).into().wrapping_sub((*before).into()),
        _ => 0,
    });
    bits(differences) < as_they_are
}

/// About how many bits a number takes.
fn bits(numbers: impl ExactSizeIterator<Item = i64> + Clone) -> f64 {
    let (mut min, mut max) = (i64::MAX, i64::MIN);
    for number in numbers.clone() {
        (min, max) = (min.min(number), max.max(number));
    }
    let range = max.abs_diff(min);
    let width = usize::try_from(range).ok().filter(|width| *width < WIDEST);
    let Some(width) = width.filter(|_| numbers.len() >= LEAST_COUNTED) else {
        return to_float(range.saturating_add(1)).log2();
    };
    let count = numbers.len();
    let mut seen = [0_u32; WIDEST];
    for number in numbers {
        let place = usize::try_from(number.abs_diff(min)).unwrap_or_default();
        if let Some(seen) = seen.get_mut(place) {
            *seen += 1;
        }
    }
    let count = to_float(u64::try_from(count).unwrap_or(u64::MAX));
    let seen = seen.iter().take(width + 1).filter(|seen| **seen > 0).map(|seen| f64::from(*seen));
    seen.map(|seen| seen / count * (count / seen).log2()).sum()
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn to_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drifts_is_shorter_by_its_differences_and_what_is_noise_is_not() {
        let mut random = 1_u64;
        let mut noise = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from(random >> 60).unwrap()
        };
        for count in [60_i64, 3_600] {
            let noise: Vec<i64> = (0..count).map(|_| noise()).collect();
            assert!(!differences_are_shorter(&noise), "{count}");
            let drift: Vec<i64> = (0..count).zip(&noise).map(|(n, noise)| n * 5 + noise).collect();
            assert!(differences_are_shorter(&drift), "{count}");
            let far: Vec<i64> = (0..count).map(|n| n * 1_000_000).collect();
            assert!(differences_are_shorter(&far), "{count}");
        }
        assert!(!differences_are_shorter::<i64>(&[7]));
    }
}
