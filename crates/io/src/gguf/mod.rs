//! GGUF, version 3: keys with values, tensors, data. Facts from `docs/gguf.md` and `gguf.cpp` of ggml-org/ggml.
//!
//! Values of keys are kept as the bytes they are: whatever a converter wrote (tokenizers, hyperparameters) goes from input to output unread.

mod cursor;
mod read;
mod write;

pub(crate) use read::{begins, read};
pub(crate) use write::place;

use aq_core::{BlockType, Dtype};

/// The first bytes of a file.
pub const MAGIC: &[u8; 4] = b"GGUF";
/// The version written; version 2 has the same bytes.
pub const VERSION: u32 = 3;
/// Tensors begin at multiples of this, unless `general.alignment` says otherwise.
const ALIGNMENT: u64 = 32;
const ALIGNMENT_KEY: &str = "general.alignment";
/// Of `general.quantization_version`.
const QUANTIZATION_VERSION: u32 = 2;

const UINT32: u32 = 4;
const INT32: u32 = 5;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The number of the value's type.
    kind: u32,
    /// The value as it stands in the file.
    value: Vec<u8>,
}

/// The keys of a file, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys(Vec<Entry>);

impl Keys {
    /// Of a new file that holds a model of some architecture.
    pub fn new(architecture: &str) -> Self {
        let mut keys = Self::default();
        keys.set_text("general.architecture", architecture);
        keys
    }

    fn find(&self, key: &str, kind: u32) -> Option<&[u8]> {
        self.0.iter().find(|e| e.key == key && e.kind == kind).map(|e| e.value.as_slice())
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.find(key, STRING)?.get(8..)?).ok()
    }

    /// A whole number of 32 bits.
    pub fn number(&self, key: &str) -> Option<u32> {
        Some(u32::from_le_bytes(self.find(key, UINT32)?.try_into().ok()?))
    }

    fn set(&mut self, key: &str, kind: u32, value: Vec<u8>) {
        match self.0.iter_mut().find(|e| e.key == key) {
            Some(entry) => (entry.kind, entry.value) = (kind, value),
            None => self.0.push(Entry { key: key.into(), kind, value }),
        }
    }

    /// Sets a text.
    pub fn set_text(&mut self, key: &str, text: &str) {
        self.set(key, STRING, [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat());
    }

    /// Sets a whole number.
    pub fn set_number(&mut self, key: &str, number: u32) {
        self.set(key, UINT32, number.to_le_bytes().to_vec());
    }

    /// A list of whole numbers of 32 bits, none of them negative.
    pub fn numbers(&self, key: &str) -> Option<Vec<usize>> {
        let value = self.find(key, ARRAY)?;
        let (head, rest) = value.split_at_checked(12)?;
        let bytes = rest.as_chunks::<4>();
        let of = |b: &[u8; 4]| usize::try_from(i32::from_le_bytes(*b)).ok();
        (head[..4] == INT32.to_le_bytes() && bytes.1.is_empty()).then(|| bytes.0.iter().map(of).collect()).flatten()
    }

    /// Sets a list of whole numbers.
    pub fn set_numbers(&mut self, key: &str, numbers: &[usize]) {
        let mut value = [&INT32.to_le_bytes()[..], &(numbers.len() as u64).to_le_bytes()].concat();
        numbers.iter().for_each(|&n| value.extend((n as i32).to_le_bytes()));
        self.set(key, ARRAY, value);
    }

    /// Says what quantizing has made of the file: mostly blocks of one type, in some layers wider ones.
    pub fn set_quantized(&mut self, mostly: BlockType, mixed: bool) {
        self.set_file_type(file_type(mostly, mixed));
    }

    /// The same by the number of the file's type.
    pub fn set_file_type(&mut self, number: u32) {
        self.set_number("general.quantization_version", QUANTIZATION_VERSION);
        self.set_number("general.file_type", number);
    }

    /// Where tensors begin; what a file says of it was checked when it was read.
    fn alignment(&self) -> u64 {
        self.number(ALIGNMENT_KEY).map_or(ALIGNMENT, u64::from)
    }
}

/// The number of a whole file's type, `enum llama_ftype`: the small recipe where all layers have the type, the medium one where some have more.
const fn file_type(mostly: BlockType, mixed: bool) -> u32 {
    let medium = mixed as u32;
    match mostly {
        BlockType::Q4_0 => 2,
        BlockType::Q4_1 => 3,
        BlockType::Q8_0 => 7,
        BlockType::Q5_0 => 8,
        BlockType::Q5_1 => 9,
        BlockType::Q2K => 10,
        BlockType::Q3K => 11 + medium,
        BlockType::Q4K => 14 + medium,
        BlockType::Q5K => 16 + medium,
        BlockType::Q6K => 18,
    }
}

/// Types of elements with their numbers, but for blocks.
const ELEMENTS: [(u32, Dtype); 8] = [
    (0, Dtype::F32),
    (1, Dtype::F16),
    (24, Dtype::Carried("I8", 1)),
    (25, Dtype::Carried("I16", 2)),
    (26, Dtype::Carried("I32", 4)),
    (27, Dtype::Carried("I64", 8)),
    (28, Dtype::F64),
    (30, Dtype::Bf16),
];

/// The type of a number.
fn dtype_of(id: u32) -> Option<Dtype> {
    let element = ELEMENTS.iter().find(|(n, _)| *n == id).map(|(_, dtype)| *dtype);
    element.or_else(|| BlockType::of(id).map(Dtype::Blocks))
}

/// The number of a type; `None` where GGUF has none for it.
pub fn id_of(dtype: Dtype) -> Option<u32> {
    match dtype {
        Dtype::Blocks(kind) => Some(kind.id()),
        other => ELEMENTS.iter().find(|(_, d)| *d == other).map(|(id, _)| *id),
    }
}
