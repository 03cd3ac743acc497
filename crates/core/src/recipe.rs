//! What whole GGUF files are called: a block type for most layers, and for some of them one with more bits. The names and numbers are those of
//! `enum llama_ftype` of ggml-org/llama.cpp; which layers have more is the rule here, in one sentence, and not llama.cpp's.

use crate::bits::BitWidth;
use crate::blocks::BlockType;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Its name.
    pub name: &'static str,
    /// The job's width that it stands for.
    pub width: BitWidth,
    /// The type of layers of that width.
    pub kind: BlockType,
    /// The type of those that make attention's values or end a feed-forward; `None`: the same.
    pub more: Option<BlockType>,
    /// `general.file_type`.
    pub file_type: u32,
}

const fn recipe(name: &'static str, width: BitWidth, kind: BlockType, more: Option<BlockType>, file_type: u32) -> Recipe {
    Recipe { name, width, kind, more, file_type }
}

/// All of them.
pub static RECIPES: [Recipe; 13] = [
    recipe("Q2_K", BitWidth::Two, BlockType::Q2K, None, 10),
    recipe("Q3_K_S", BitWidth::Two, BlockType::Q3K, None, 11),
    recipe("Q3_K_M", BitWidth::Two, BlockType::Q3K, Some(BlockType::Q5K), 12),
    recipe("Q4_0", BitWidth::Four, BlockType::Q4_0, None, 2),
    recipe("Q4_1", BitWidth::Four, BlockType::Q4_1, None, 3),
    recipe("Q4_K_S", BitWidth::Four, BlockType::Q4K, None, 14),
    recipe("Q4_K_M", BitWidth::Four, BlockType::Q4K, Some(BlockType::Q6K), 15),
    recipe("Q5_0", BitWidth::Four, BlockType::Q5_0, None, 8),
    recipe("Q5_1", BitWidth::Four, BlockType::Q5_1, None, 9),
    recipe("Q5_K_S", BitWidth::Four, BlockType::Q5K, None, 16),
    recipe("Q5_K_M", BitWidth::Four, BlockType::Q5K, Some(BlockType::Q6K), 17),
    recipe("Q6_K", BitWidth::Four, BlockType::Q6K, None, 18),
    recipe("Q8_0", BitWidth::Eight, BlockType::Q8_0, None, 7),
];

impl Recipe {
    /// By its name.
    pub fn named(name: &str) -> Option<&'static Self> {
        RECIPES.iter().find(|r| r.name == name)
    }
}
