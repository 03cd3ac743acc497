//! A row of the archive but for the bytes of tensors.

use super::{Kind, told};
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Values by column; a column without one is null.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// Texts, numbers, flags.
    pub values: Map<String, Value>,
    /// The one column of bytes among them.
    pub bias_correction: Option<Vec<u8>>,
}

/// A value for a column that holds JSON as text.
pub fn json_cell(value: &Value) -> Value {
    Value::String(value.to_string())
}

impl Row {
    /// A text.
    pub fn text(&self, column: &str) -> Option<&str> {
        self.values.get(column).and_then(Value::as_str)
    }

    /// A whole number that is not negative.
    pub fn number(&self, column: &str) -> Option<u64> {
        self.values.get(column).and_then(Value::as_u64)
    }

    /// Whole numbers that are not negative.
    pub fn numbers(&self, column: &str) -> Option<Vec<u64>> {
        self.values.get(column)?.as_array()?.iter().map(Value::as_u64).collect()
    }

    pub(super) fn batch(&self) -> Result<RecordBatch, ArrowError> {
        let of = |(name, kind, optional): (&'static str, Kind, bool)| {
            let value = self.values.get(name);
            let array: ArrayRef = match kind {
                Kind::Text => Arc::new(StringArray::from(vec![value.and_then(Value::as_str)])),
                Kind::Int => Arc::new(Int32Array::from(vec![value.and_then(Value::as_i64).and_then(|v| i32::try_from(v).ok())])),
                Kind::Long => Arc::new(Int64Array::from(vec![value.and_then(Value::as_i64)])),
                Kind::Longs => {
                    let numbers = value.and_then(Value::as_array).map(|a| a.iter().map(Value::as_i64).collect::<Vec<_>>());
                    Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([numbers]))
                }
                Kind::Double => Arc::new(Float64Array::from(vec![value.and_then(Value::as_f64)])),
                Kind::Flag => Arc::new(BooleanArray::from(vec![value.and_then(Value::as_bool)])),
                Kind::Binary | Kind::Large => Arc::new(BinaryArray::from(vec![self.bias_correction.as_deref()])),
            };
            (name, array, optional)
        };
        RecordBatch::try_from_iter_with_nullable(told().map(of))
    }

    /// The first row of a batch, as far as its columns have the kinds they should have.
    pub(super) fn of(batch: &RecordBatch) -> Self {
        let mut row = Self::default();
        for (name, kind, _) in told() {
            let Some(array) = batch.column_by_name(name).filter(|a| !a.is_empty() && a.is_valid(0)) else { continue };
            let any = array.as_any();
            let value = match kind {
                Kind::Text => any.downcast_ref::<StringArray>().map(|a| a.value(0).into()),
                Kind::Int => any.downcast_ref::<Int32Array>().map(|a| a.value(0).into()),
                Kind::Long => any.downcast_ref::<Int64Array>().map(|a| a.value(0).into()),
                Kind::Longs => any.downcast_ref::<ListArray>().and_then(|a| {
                    let list = a.value(0);
                    Some(list.as_any().downcast_ref::<Int64Array>()?.iter().map(Value::from).collect())
                }),
                Kind::Double => any.downcast_ref::<Float64Array>().map(|a| a.value(0).into()),
                Kind::Flag => any.downcast_ref::<BooleanArray>().map(|a| a.value(0).into()),
                Kind::Binary | Kind::Large => {
                    row.bias_correction = any.downcast_ref::<BinaryArray>().map(|a| a.value(0).to_vec());
                    None
                }
            };
            row.values.extend(value.map(|v: Value| (name.to_owned(), v)));
        }
        row
    }
}
