//! The matrices on which encoders are measured.

/// Of the matrices that are made here.
pub const ROWS: usize = 2048;
/// Of the matrices that are made here.
pub const COLS: usize = 3072;
/// Rows that are encoded at a time, as jobs have them.
pub const BLOCK: usize = 64;

pub struct Matrix {
    pub name: String,
    pub cols: usize,
    pub data: Vec<f32>,
}

/// The two-dimensional F32 tensors of a safetensors file, by name.
pub fn read(path: &str) -> Vec<Matrix> {
    let bytes = std::fs::read(path).expect("the file can be read");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("the file is safetensors");
    let tensors = file.iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::F32 && view.shape().len() == 2);
    let mut list: Vec<Matrix> = tensors
        .map(|(name, view)| Matrix {
            name: name.into(),
            cols: view.shape()[1],
            data: view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        })
        .collect();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}
