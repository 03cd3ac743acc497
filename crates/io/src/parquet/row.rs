//! A row of the archive but for the bytes of tensors.

use super::page::Plain;
use super::{Kind, told};
use arrow_array::{Array, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray};
use serde_json::{Map, Value};

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

    /// The value of a column as a page holds it.
    pub(super) fn plain(&self, column: &str, kind: Kind) -> Option<Plain> {
        let value = self.values.get(column);
        match kind {
            Kind::Text => value?.as_str().map(|text| Plain::binary(text.as_bytes())),
            Kind::Int => value?.as_i64().and_then(|v| i32::try_from(v).ok()).map(|v| Plain::one(v.to_le_bytes())),
            Kind::Long => value?.as_i64().map(|v| Plain::one(v.to_le_bytes())),
            Kind::Longs => {
                let numbers = value?.as_array()?.iter().map(Value::as_i64).collect::<Option<Vec<_>>>()?;
                Some(Plain { count: numbers.len() as u64, bytes: numbers.iter().flat_map(|v| v.to_le_bytes()).collect() })
            }
            Kind::Double => value?.as_f64().map(|v| Plain::one(v.to_le_bytes())),
            Kind::Flag => value?.as_bool().map(|v| Plain::one([u8::from(v)])),
            Kind::Binary | Kind::Large => self.bias_correction.as_deref().map(Plain::binary),
        }
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
