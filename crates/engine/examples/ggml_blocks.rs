//! ggml's block types, ours: `ggml_blocks encode WEIGHTS.safetensors FOLDER` writes the blocks of each matrix in each type and prints how fast
//! one thread was, `ggml_blocks decode TYPE BLOCKS OUT` writes what blocks stand for, as f32. For `npm run bench:ggml`.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a command for developers")]
#![expect(dead_code, reason = "what other commands share")]

mod common;

use aq_core::Method;
use aq_kernels::Level;
use aq_kernels::ggml::{BlockType, decode, encode};
use serde_json::json;
use std::fs::{read, write};
use std::path::Path;
use std::time::Instant;

const REPEAT: usize = 3;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["encode", weights, folder] => all(weights, Path::new(folder)),
        ["decode", name, blocks, out] => {
            let kind = BlockType::ALL.into_iter().find(|t| t.name() == name).expect("a block type");
            let blocks = read(blocks).expect("blocks");
            let mut values = vec![0.0; blocks.len() / kind.bytes() * kind.weights()];
            decode(kind, &blocks, &mut values);
            write(out, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).expect("a file can be written");
        }
        _ => println!("ggml_blocks encode WEIGHTS FOLDER | decode TYPE BLOCKS OUT"),
    }
}

fn all(weights: &str, folder: &Path) {
    for matrix in common::read(weights) {
        for kind in BlockType::ALL {
            if !matrix.cols.is_multiple_of(kind.weights()) {
                continue;
            }
            let mut blocks = vec![0; matrix.data.len() / kind.weights() * kind.bytes()];
            let mut seconds = f64::INFINITY;
            for _ in 0..REPEAT {
                let before = Instant::now();
                let parts = matrix
                    .data
                    .chunks(common::BLOCK * matrix.cols)
                    .zip(blocks.chunks_mut(common::BLOCK * matrix.cols / kind.weights() * kind.bytes()));
                parts.for_each(|(values, out)| {
                    encode(Level::current(), kind, Method::Mse, values, out);
                });
                seconds = seconds.min(before.elapsed().as_secs_f64());
            }
            write(folder.join(format!("{}-{}", matrix.name, kind.name())), &blocks).expect("a file can be written");
            let speed = matrix.data.len() as f64 / seconds / 1e6;
            println!(
                "{}",
                json!({"tensor": matrix.name, "type": kind.name(), "mweightsPerS": speed, "bpw": kind.bytes() as f64 * 8.0 / kind.weights() as f64})
            );
        }
    }
}
