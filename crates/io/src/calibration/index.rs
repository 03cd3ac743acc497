//! What a calibration file holds: layer, then steps in ascending order. Every number of a record is checked here, whatever form it came in.

use super::CalibrationError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows of one layer at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepRows {
    /// Place on the axis.
    pub step: i32,
    /// Rows in the file.
    pub rows: usize,
    /// Values of a row.
    pub in_features: usize,
    /// Importance of the step; 1 where the file does not say.
    pub weight: f32,
}

impl StepRows {
    /// Values in the file.
    pub const fn values(&self) -> usize {
        self.rows * self.in_features
    }
}

/// A record as a form gives it, nothing checked. `None`: null, or absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Record {
    pub layer: Option<String>,
    pub step: Option<i64>,
    pub rows: Option<i64>,
    pub in_features: Option<i64>,
    pub weight: Option<f64>,
}

/// The steps of a layer; both lists in the same order.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub steps: Vec<StepRows>,
    /// Number of the record of each step.
    pub records: Vec<usize>,
}

/// Layers by name.
pub(super) type Index = BTreeMap<String, Layer>;

/// An index in the making.
#[derive(Debug)]
pub(super) struct Builder {
    path: PathBuf,
    layers: BTreeMap<String, BTreeMap<i32, (StepRows, usize)>>,
}

impl Builder {
    /// Nothing yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into(), layers: BTreeMap::new() }
    }

    /// Adds record number `number`, of which `values` values are known to stand in the file, if that is known yet.
    pub fn add(&mut self, number: usize, record: Record, values: Option<usize>) -> Result<(), CalibrationError> {
        self.checked(number, record, values).map_err(|problem| problem_of(&self.path, number, problem))
    }

    fn checked(&mut self, number: usize, record: Record, values: Option<usize>) -> Result<(), String> {
        let layer = record.layer.ok_or("names no layer")?;
        if layer.is_empty() {
            return Err("names no layer".into());
        }
        let step = record.step.ok_or("has no timestep")?;
        if step < 0 {
            return Err(format!("has the negative timestep {step}"));
        }
        let step = i32::try_from(step).map_err(|_| format!("has timestep {step}, which no axis reaches"))?;
        let (rows, in_features) = (record.rows.ok_or("has no rows")?, record.in_features.ok_or("has no in_features")?);
        if rows == 0 {
            return Err("has 0 rows".into());
        }
        let size = |n: i64| usize::try_from(n).ok().filter(|&n| n > 0);
        let bad = || format!("has the shape [{rows}, {in_features}]");
        let (rows, in_features) = (size(rows).ok_or_else(bad)?, size(in_features).ok_or_else(bad)?);
        // Bytes of the widest type must be countable too.
        let wanted = rows.checked_mul(in_features).filter(|n| n.checked_mul(8).is_some()).ok_or_else(bad)?;
        if let Some(values) = values.filter(|&v| v != wanted) {
            return Err(miscount(values, rows, in_features));
        }
        let weight = record.weight.map_or(1.0, |w| w as f32);
        if !weight.is_finite() || weight < 0.0 {
            return Err(format!("has the weight {weight}"));
        }
        let steps = self.layers.entry(layer).or_insert_with_key(|_| BTreeMap::new());
        if let Some((first, _)) = steps.values().next().filter(|(first, _)| first.in_features != in_features) {
            return Err(format!("has {in_features} values in a row, another record of its layer {}", first.in_features));
        }
        if let Some((_, before)) = steps.insert(step, (StepRows { step, rows, in_features, weight }, number)) {
            return Err(format!("has the layer and timestep of record {before}"));
        }
        Ok(())
    }

    /// The index.
    pub fn finish(self) -> Index {
        let list = |steps: BTreeMap<i32, (StepRows, usize)>| {
            let (steps, records) = steps.into_values().unzip();
            Layer { steps, records }
        };
        self.layers.into_iter().map(|(name, steps)| (name, list(steps))).collect()
    }
}

/// A record that makes no sense.
pub(super) fn problem_of(path: &Path, record: usize, problem: impl Into<String>) -> CalibrationError {
    CalibrationError::Record { path: path.into(), record, problem: problem.into() }
}

/// Another number of values than the shape says.
pub(super) fn miscount(values: usize, rows: usize, in_features: usize) -> String {
    format!("holds {values} values, which is not {rows} rows of {in_features}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(layer: &str, step: i64, rows: i64, in_features: i64) -> Record {
        Record { layer: Some(layer.into()), step: Some(step), rows: Some(rows), in_features: Some(in_features), weight: None }
    }

    fn problem(records: &[(Record, Option<usize>)]) -> (usize, String) {
        let mut builder = Builder::new(Path::new("c"));
        for (number, (record, values)) in records.iter().enumerate() {
            match builder.add(number, record.clone(), *values) {
                Ok(()) => {}
                Err(CalibrationError::Record { record, problem, .. }) => return (record, problem),
                Err(other) => panic!("{other:?}"),
            }
        }
        panic!("no problem found")
    }

    #[test]
    fn steps_ascend_and_layers_are_sorted() {
        let mut builder = Builder::new(Path::new("c"));
        for (number, (layer, step)) in [("b", 7), ("a", 3), ("b", 0), ("b", 900)].into_iter().enumerate() {
            builder.add(number, record(layer, step, 2, 5), Some(10)).unwrap();
        }
        let index = builder.finish();
        assert_eq!(index.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(index["b"].steps.iter().map(|s| s.step).collect::<Vec<_>>(), [0, 7, 900]);
        assert_eq!(index["b"].records, [2, 0, 3]);
        assert_eq!(index["b"].steps[0].values(), 10);
    }

    #[test]
    fn numbers_that_make_no_sense() {
        let weighed = |w: f64| Record { weight: Some(w), ..record("a", 1, 2, 3) };
        for (records, says) in [
            (vec![(record("a", -1, 2, 3), None)], "negative timestep -1"),
            (vec![(record("a", 1 << 31, 2, 3), None)], "timestep 2147483648"),
            (vec![(record("a", 1, 0, 3), None)], "0 rows"),
            (vec![(record("a", 1, 2, 0), None)], "shape [2, 0]"),
            (vec![(record("a", 1, -2, 3), None)], "shape [-2, 3]"),
            (vec![(record("a", 1, 1 << 31, 1 << 31), None)], "shape"),
            (vec![(record("a", 1, 2, 3), Some(5))], "holds 5 values"),
            (vec![(weighed(-0.5), None)], "weight -0.5"),
            (vec![(weighed(f64::NAN), None)], "weight NaN"),
            (vec![(weighed(1e300), None)], "weight inf"),
            (vec![(record("", 1, 2, 3), None)], "names no layer"),
            (vec![(Record { step: None, ..record("a", 1, 2, 3) }, None)], "no timestep"),
        ] {
            let (number, problem) = problem(&records);
            assert!(number == 0 && problem.contains(says), "{problem} for {says}");
        }
        let (number, said) = problem(&[(record("a", 1, 2, 3), None), (record("b", 1, 2, 4), None), (record("a", 1, 2, 3), None)]);
        assert!(number == 2 && said.contains("record 0"), "{said}");
        let (number, said) = problem(&[(record("a", 1, 2, 3), None), (record("a", 2, 2, 4), None)]);
        assert!(number == 1 && said.contains("4 values in a row"), "{said}");
    }
}
