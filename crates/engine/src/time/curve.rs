//! Quality over time: output sums of the steps, taken together in time groups.

use super::outputs::OutputSums;
use std::ops::Range;

/// Quality of a layer's output in one time group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupQuality {
    /// First recorded step.
    pub first: i32,
    /// Last recorded step.
    pub last: i32,
    /// Cosine of outputs.
    pub cosine: f64,
    /// Signal over error of outputs.
    pub sqnr_db: f64,
}

/// Quality in each group. `groups` are ranges of `steps`, each with a step at least, as [`super::segment`] makes them; `sums` has one entry
/// a step. A step counts by its energy: as the layer's output does.
///
/// # Panics
/// If a range is empty or leaves the steps: the caller's invariant.
pub fn measure(steps: &[i32], sums: &[OutputSums], groups: &[Range<usize>]) -> Vec<GroupQuality> {
    let of = |group: &Range<usize>| {
        let mut total = OutputSums::default();
        sums[group.clone()].iter().for_each(|s| total.add(s));
        let (first, last) = (steps[group.start], steps[group.end - 1]);
        GroupQuality { first, last, cosine: total.cosine(), sqnr_db: total.sqnr_db() }
    };
    groups.iter().map(of).collect()
}

/// The group of least cosine, by which a layer is judged; the first of several, none where there are no groups.
pub fn worst(groups: &[GroupQuality]) -> Option<usize> {
    (0..groups.len()).min_by(|&a, &b| groups[a].cosine.total_cmp(&groups[b].cosine))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Outputs of one pair of values a step.
    fn sums(pairs: &[(f64, f64)]) -> Vec<OutputSums> {
        pairs.iter().map(|(y, v)| OutputSums { yy: y * y, vv: v * v, yv: y * v, ee: (y - v) * (y - v), shift: y - v }).collect()
    }

    #[test]
    fn groups_by_hand() {
        let sums = sums(&[(3.0, 3.0), (4.0, 3.0), (1.0, 1.0), (0.0, 0.0)]);
        let quality = measure(&[0, 100, 500, 900], &sums, &[0..2, 2..4]);
        assert_eq!((quality[0].first, quality[0].last, quality[1].first, quality[1].last), (0, 100, 500, 900));
        assert!((quality[0].cosine - 21.0 / (5.0 * 18f64.sqrt())).abs() < 1e-15);
        assert!((quality[0].sqnr_db - 10.0 * 25f64.log10()).abs() < 1e-12);
        assert_eq!((quality[1].cosine, quality[1].sqnr_db), (1.0, 200.0));
        assert_eq!(worst(&quality), Some(0));
    }

    #[test]
    fn the_first_of_equal_groups_is_the_worst() {
        let sums = sums(&[(1.0, 1.0), (0.0, 1.0), (1.0, 0.0)]);
        assert_eq!(worst(&measure(&[1, 2, 3], &sums, &[0..1, 1..2, 2..3])), Some(1));
        assert_eq!(worst(&[]), None);
    }
}
