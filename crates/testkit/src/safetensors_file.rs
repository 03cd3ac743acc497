//! Safetensors files byte by byte: sound ones from tensors, hostile ones from any header and data.

use super::floats::Float;
use std::fmt::Write;
use std::path::Path;

/// A tensor of a file.
#[derive(Debug, Clone)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// A file in the making: tensors in the order of their data.
#[derive(Debug, Clone, Default)]
pub struct SafetensorsFile {
    metadata: Vec<(String, String)>,
    tensors: Vec<Tensor>,
}

impl SafetensorsFile {
    /// Without tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry of `__metadata__`.
    #[must_use]
    pub fn metadata(mut self, key: &str, value: &str) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Adds a tensor of any type.
    #[must_use]
    pub fn tensor(mut self, name: &str, dtype: &str, shape: &[usize], bytes: impl Into<Vec<u8>>) -> Self {
        self.tensors.push(Tensor { name: name.into(), dtype: dtype.into(), shape: shape.into(), bytes: bytes.into() });
        self
    }

    /// Adds floats.
    ///
    /// # Panics
    /// If shape and number disagree.
    #[must_use]
    pub fn floats(self, name: &str, float: Float, shape: &[usize], values: &[f32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
        self.tensor(name, float.name(), shape, float.encode(values))
    }

    /// Adds single precision floats.
    #[must_use]
    pub fn f32(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        self.floats(name, Float::F32, shape, values)
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|t| t.name.as_str())
    }

    /// The header's JSON.
    pub fn header(&self) -> String {
        let mut parts = Vec::new();
        if !self.metadata.is_empty() {
            let entries: Vec<String> = self.metadata.iter().map(|(k, v)| format!("{}:{}", quoted(k), quoted(v))).collect();
            parts.push(format!("\"__metadata__\":{{{}}}", entries.join(",")));
        }
        let mut end = 0;
        for t in &self.tensors {
            let begin = end;
            end += t.bytes.len();
            parts.push(format!(
                "{}:{{\"dtype\":{},\"shape\":{:?},\"data_offsets\":[{begin},{end}]}}",
                quoted(&t.name),
                quoted(&t.dtype),
                t.shape
            ));
        }
        format!("{{{}}}", parts.join(","))
    }

    /// The data of all tensors.
    pub fn data(&self) -> Vec<u8> {
        self.tensors.iter().flat_map(|t| t.bytes.iter().copied()).collect()
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        raw(self.header().as_bytes(), &self.data())
    }

    /// Writes the file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).expect("a test's own folder can be written");
    }
}

/// A file of any header and data, the length stated truly.
pub fn raw(header: &[u8], data: &[u8]) -> Vec<u8> {
    raw_with_length(header.len() as u64, header, data)
}

/// A file of any header and data under any stated length.
pub fn raw_with_length(length: u64, header: &[u8], data: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], header, data].concat()
}

/// A JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_by_hand() {
        let file = SafetensorsFile::new().metadata("format", "pt").tensor("a\"", "U8", &[3], [1, 2, 3]).f32("b", &[1, 1], &[1.0]);
        let header = r#"{"__metadata__":{"format":"pt"},"a\"":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"F32","shape":[1, 1],"data_offsets":[3,7]}}"#;
        assert_eq!(file.header(), header);
        let bytes = file.bytes();
        assert_eq!(bytes[..8], (header.len() as u64).to_le_bytes());
        assert_eq!(bytes[8 + header.len()..], [1, 2, 3, 0, 0, 0x80, 0x3f]);
    }
}
