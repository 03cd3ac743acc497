//! What a layer's inputs are in a time group, for runtimes that quantize activations.

use super::outputs::StepInputs;

/// Percentiles that are told.
pub const PERCENTILES: [f64; 7] = [0.1, 1.0, 5.0, 50.0, 95.0, 99.0, 99.9];

/// Percentiles are taken from so many values at most, evenly spread.
const MOST_VALUES: usize = 1 << 16;

/// Values of some inputs, over all rows and channels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Activations {
    /// The least.
    pub min: f32,
    /// The largest.
    pub max: f32,
    /// At [`PERCENTILES`]: the value of nearest rank.
    pub percentiles: [f32; PERCENTILES.len()],
}

/// Of the rows of some steps; zeros where there are none. `row`: values of a row.
pub fn activations(inputs: &[StepInputs], row: usize) -> Activations {
    let all = || inputs.iter().flat_map(|i| i.data.iter().copied());
    let count: usize = inputs.iter().map(|i| i.data.len()).sum();
    if count == 0 {
        return Activations::default();
    }
    let mut values: Vec<f32> = all().step_by(stride(count, row)).collect();
    values.sort_unstable_by(f32::total_cmp);
    let last = (values.len() - 1) as f64;
    Activations {
        min: all().fold(f32::INFINITY, f32::min),
        max: all().fold(f32::NEG_INFINITY, f32::max),
        percentiles: PERCENTILES.map(|p| values[(p / 100.0 * last).round() as usize]),
    }
}

/// Every so many values. It shares no factor with the row's length, so that all channels have their turn.
fn stride(count: usize, row: usize) -> usize {
    let divisor = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let least = count.div_ceil(MOST_VALUES);
    (least..least + row).find(|&n| n == 1 || divisor(n, row) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aq_testkit::gauss;

    fn step(data: Vec<f32>, row: usize) -> StepInputs {
        StepInputs { step: 0, weight: 1.0, rows: data.len() / row, data }
    }

    #[test]
    fn of_few_values_every_one_counts() {
        let found = activations(&[step((0..600).map(|i| i as f32).collect(), 6), step((600..1001).map(|i| i as f32).collect(), 1)], 6);
        assert_eq!((found.min, found.max), (0.0, 1000.0));
        assert_eq!(found.percentiles, [1.0, 10.0, 50.0, 500.0, 950.0, 990.0, 999.0]);
        assert_eq!(activations(&[], 6), Activations::default());
    }

    #[test]
    fn of_many_all_channels_have_their_turn() {
        // One channel of 3072 is far from the others: 0.03 % of the values, seen by the extremes and not by the percentiles.
        let (rows, row) = (400, 3072);
        let mut data: Vec<f32> = gauss(rows, row, 1).iter().map(|v| v / 0.02).collect();
        data.chunks_exact_mut(row).for_each(|r| r[17] = 1e6);
        assert!(stride(data.len(), row) > 1);
        let found = activations(&[step(data, row)], row);
        assert_eq!(found.max, 1e6);
        for (got, want) in found.percentiles.iter().zip([-3.090, -2.326, -1.645, 0.0, 1.645, 2.326, 3.090]) {
            assert!((got - want).abs() < 0.15, "{got} for {want}");
        }
        for row in [1, 2, 3, 48, 3072, 12288] {
            let n = stride(1 << 24, row);
            assert!((256..300).contains(&n) && (2..=n).all(|d| !(n.is_multiple_of(d) && row.is_multiple_of(d))), "{row}: {n}");
        }
    }
}
