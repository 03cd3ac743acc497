//! GGUF files as `docs/gguf.md` of ggml-org/ggml has them, written by hand: the reader's judge must not be its own writer.

use std::path::Path;

/// A file in the making.
#[derive(Debug, Clone, Default)]
pub struct GgufFile {
    keys: Vec<Vec<u8>>,
    infos: Vec<(String, Vec<u64>, u32, u64)>,
    data: Vec<u8>,
}

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes(), value.as_bytes()].concat()
}

impl GgufFile {
    /// Without keys and tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// A key with the bytes of its type and value.
    #[must_use]
    pub fn key(mut self, name: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.push([&text(name)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    /// A text.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        self.key(name, 8, &text(value))
    }

    /// A list of texts.
    #[must_use]
    pub fn texts(self, name: &str, values: &[&str]) -> Self {
        let mut bytes = [&8u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        values.iter().for_each(|v| bytes.extend(text(v)));
        self.key(name, 9, &bytes)
    }

    /// A whole number.
    #[must_use]
    pub fn number(self, name: &str, value: u32) -> Self {
        self.key(name, 4, &value.to_le_bytes())
    }

    /// A tensor of some type; `shape` has rows first.
    #[must_use]
    pub fn tensor(mut self, name: &str, kind: u32, shape: &[u64], data: &[u8]) -> Self {
        self.infos.push((name.into(), shape.iter().rev().copied().collect(), kind, self.data.len() as u64));
        self.data.extend(data);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self
    }

    /// A tensor in F32.
    #[must_use]
    pub fn f32(self, name: &str, shape: &[u64], values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, 0, shape, &bytes)
    }

    /// The last tensor's place, wrong on purpose.
    #[must_use]
    pub fn misplaced(mut self, offset: u64) -> Self {
        if let Some(last) = self.infos.last_mut() {
            last.3 = offset;
        }
        self
    }

    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((self.infos.len() as u64).to_le_bytes());
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        self.keys.iter().for_each(|key| bytes.extend(key));
        for (name, dims, kind, offset) in &self.infos {
            bytes.extend(text(name));
            bytes.extend((dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|d| bytes.extend(d.to_le_bytes()));
            bytes.extend(kind.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }

    /// Writes the file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).expect("a test's own folder can be written");
    }
}
