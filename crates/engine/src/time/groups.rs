//! Recorded steps cut into contiguous groups of least drift.

use std::ops::Range;

/// Places between which cuts are looked for. More steps are taken in units of several, so that work stays below `1000 n d` for `n` steps of
/// `d` features and the table of costs below 8 MB.
const MOST_UNITS: usize = 1000;

/// Cuts the steps into `groups` contiguous ranges of least squared deviation from their means, summed over features. Among equal ones the
/// earliest first cut is taken, then the earliest second. Every range holds a step, so there are no more ranges than steps; at least one
/// where there is a step at all. The features of all steps have the same length.
pub fn segment(features: &[Vec<f64>], groups: usize) -> Vec<Range<usize>> {
    segment_in_units(features, groups, features.len().div_ceil(MOST_UNITS).max(1))
}

fn segment_in_units(features: &[Vec<f64>], groups: usize, unit: usize) -> Vec<Range<usize>> {
    let n = features.len().div_ceil(unit);
    if n == 0 {
        return Vec::new();
    }
    let groups = groups.clamp(1, n);
    let costs = costs(features, unit);
    let cost = |i: usize, j: usize| costs[i * n + j - 1];

    // tails[i]: least cost of units i.. in the number of groups at hand; ends[g][i]: where the first of g + 2 groups ends there.
    let mut tails: Vec<f64> = (0..n).map(|i| cost(i, n)).collect();
    let mut ends: Vec<Vec<usize>> = Vec::with_capacity(groups - 1);
    for rest in 1..groups {
        let mut next = vec![f64::INFINITY; n];
        let mut end = vec![0; n];
        // `rest` groups stand behind the first, each of one unit at least.
        for i in 0..n - rest {
            (next[i], end[i]) = (cost(i, i + 1) + tails[i + 1], i + 1);
            for (j, tail) in tails.iter().enumerate().take(n - rest + 1).skip(i + 2) {
                let total = cost(i, j) + tail;
                if total < next[i] {
                    (next[i], end[i]) = (total, j);
                }
            }
        }
        tails = next;
        ends.push(end);
    }

    let mut ranges = Vec::with_capacity(groups);
    let mut at = 0;
    for end in ends.iter().rev() {
        ranges.push(at * unit..end[at] * unit);
        at = end[at];
    }
    ranges.push(at * unit..features.len());
    ranges
}

/// Squared deviation of units `i..=j` at `i * n + j`. Means are moved step by step (Welford): differences of sums of squares would cancel.
fn costs(features: &[Vec<f64>], unit: usize) -> Vec<f64> {
    let n = features.len().div_ceil(unit);
    let mut table = vec![0.0; n * n];
    let mut means = vec![0.0; features.first().map_or(0, Vec::len)];
    for i in 0..n {
        means.fill(0.0);
        let mut deviation = 0.0;
        for (count, (step, values)) in (1u32..).zip(features.iter().enumerate().skip(i * unit)) {
            for (mean, &value) in means.iter_mut().zip(values) {
                let before = value - *mean;
                *mean += before / f64::from(count);
                deviation += before * (value - *mean);
            }
            table[i * n + step / unit] = deviation;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use aq_testkit::SplitMix;

    /// Sum of squares around the mean of each feature.
    fn drift(features: &[Vec<f64>]) -> f64 {
        let n = features.len() as f64;
        (0..features[0].len())
            .map(|d| {
                let mean = features.iter().map(|f| f[d]).sum::<f64>() / n;
                features.iter().map(|f| (f[d] - mean).powi(2)).sum::<f64>()
            })
            .sum()
    }

    fn total(features: &[Vec<f64>], ranges: &[Range<usize>]) -> f64 {
        ranges.iter().map(|r| drift(&features[r.clone()])).sum()
    }

    /// Least cost over all ways to cut.
    fn least(features: &[Vec<f64>], groups: usize) -> f64 {
        if groups == 1 {
            return drift(features);
        }
        let cuts = 1..=features.len() + 1 - groups;
        cuts.map(|cut| drift(&features[..cut]) + least(&features[cut..], groups - 1)).fold(f64::INFINITY, f64::min)
    }

    fn random(n: usize, d: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut random = SplitMix::new(seed);
        (0..n).map(|i| (0..d).map(|_| random.normal() + (i * i) as f64 / 20.0).collect()).collect()
    }

    fn covers(ranges: &[Range<usize>], n: usize) -> bool {
        let mut end = 0;
        for r in ranges {
            if r.start != end || r.is_empty() {
                return false;
            }
            end = r.end;
        }
        end == n
    }

    #[test]
    fn no_other_cuts_are_better() {
        for seed in 0..20 {
            let features = random(9, 3, seed);
            for groups in 1..=9 {
                let ranges = segment(&features, groups);
                assert!(ranges.len() == groups && covers(&ranges, 9));
                assert!((total(&features, &ranges) - least(&features, groups)).abs() < 1e-9, "{seed} {groups}: {ranges:?}");
            }
        }
    }

    #[test]
    fn cuts_stand_where_the_steps_change() {
        let features: Vec<Vec<f64>> = [1.0, 1.1, 0.9, 5.0, 5.2, 9.0].iter().map(|&v| vec![v, 1e9]).collect();
        assert_eq!(segment(&features, 3), [0..3, 3..5, 5..6]);
        assert_eq!(segment(&features, 2), [0..3, 3..6]);
    }

    #[test]
    fn equal_costs_take_the_earliest_cuts() {
        let features = vec![vec![2.0]; 6];
        assert_eq!(segment(&features, 3), [0..1, 1..2, 2..6]);
        let features: Vec<Vec<f64>> = [0.0, 1.0, 0.0].iter().map(|&v| vec![v]).collect();
        assert_eq!(segment(&features, 2), [0..1, 1..3]);
    }

    #[test]
    fn groups_are_clamped() {
        assert!(segment(&[], 5).is_empty());
        assert_eq!(segment(&[vec![1.0], vec![2.0]], 10), [0..1, 1..2]);
        assert!(covers(&segment(&[vec![1.0], vec![2.0]], 0)[..1], 2));
        // No features, or none that are numbers: still ranges that cover.
        assert!(covers(&segment(&vec![vec![]; 7], 3), 7));
        assert!(covers(&segment(&vec![vec![f64::NAN]; 7], 3), 7));
    }

    #[test]
    fn many_steps_are_taken_in_units() {
        let features: Vec<Vec<f64>> = (0..3500).map(|i| vec![f64::from(u8::from(i >= 1234))]).collect();
        let ranges = segment(&features, 2);
        assert!(covers(&ranges, 3500) && ranges.len() == 2);
        assert!(ranges[0].end.abs_diff(1234) < 4);
        // In units as large as the steps are few, the cuts stay on their borders.
        let features = random(11, 2, 5);
        let ranges = segment_in_units(&features, 3, 3);
        assert!(covers(&ranges, 11) && ranges.iter().all(|r| r.start % 3 == 0));
        assert_eq!(segment_in_units(&features, 9, 3).len(), 4);
    }
}
