//! Weight SQNR of each method on the two benchmark matrices: `npm run bench:search [-- FILE.safetensors]`.
//!
//! Without a file the matrices are made here, 2048 x 3072 with the definitions of `bench/weights.py`; with one, its two-dimensional F32
//! tensors are taken. The search runs without gain and magnitude weights and with F16 scales, as the targets are stated: the gain gives
//! weight SQNR away on purpose, for the network's output. Rows with `default` show what jobs use, those with `rotated`
//! the search after a Hadamard rotation in blocks of 256.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a command that prints a table for developers")]

mod common;

use aq_core::{BitWidth, Geometry, Method, ScaleDtype, Scheme, ZeroKind};
use aq_kernels::{RowCodec, RowSums, Scratch, Tuning};
use common::{BLOCK, COLS, Matrix, ROWS};
use std::time::Instant;

const PLAIN: Tuning = Tuning { gain: false, magnitude: false, sweep: true, refit: true };

fn matrices() -> Vec<Matrix> {
    let Some(path) = std::env::args().nth(1) else {
        let made = |name: &str, data| Matrix { name: name.into(), cols: COLS, data };
        return vec![made("gauss", aq_testkit::gauss(ROWS, COLS, 1)), made("heavy", aq_testkit::heavy(ROWS, COLS, 1))];
    };
    common::read(&path)
}

/// SQNR in dB and millions of weights per second on one thread.
fn measure(m: &Matrix, scheme: Scheme, tuning: Tuning) -> (f64, f64) {
    let rows = m.data.len() / m.cols;
    let geometry = Geometry::of(&[rows, m.cols], scheme.group_size).expect("a matrix has rows and columns");
    let codec = RowCodec::new(geometry, scheme, tuning);
    let n = geometry.scales_per_row();
    let (mut scratch, mut codes, mut decoded) = (Scratch::default(), vec![0; BLOCK * m.cols], vec![0.0; m.cols]);
    let (mut scales, mut zeros, mut sums) = (vec![0.0; BLOCK * n], vec![0.0; BLOCK * n], RowSums::default());
    let mut spent = 0.0;
    for block in m.data.chunks(BLOCK * m.cols) {
        let rows = block.len() / m.cols;
        let (codes, scales, zeros) = (&mut codes[..block.len()], &mut scales[..rows * n], &mut zeros[..rows * n]);
        let before = Instant::now();
        codec.encode(block, &mut scratch, codes, scales, zeros);
        spent += before.elapsed().as_secs_f64();
        let grids = scales.chunks_exact(n).zip(zeros.chunks_exact(n));
        for ((row, codes), (scales, zeros)) in block.chunks_exact(m.cols).zip(codes.chunks_exact(m.cols)).zip(grids) {
            codec.decode(codes, scales, zeros, &mut decoded);
            sums.add(&RowSums::of(row, &decoded));
        }
    }
    (sums.sqnr_db(), m.data.len() as f64 / spent / 1e6)
}

/// The block of rotated rows.
const ROTATION: usize = 256;

/// Targets of the search on these matrices, dB, for (bits, matrix); groups of 64.
fn target(bits: BitWidth, name: &str, rotated: bool) -> Option<f64> {
    match (bits, name) {
        (BitWidth::Two, "gauss") if rotated => Some(9.85),
        (BitWidth::Two, "heavy") if rotated => Some(9.95),
        (BitWidth::Four, "gauss") if rotated => Some(21.7),
        (BitWidth::Four, "heavy") if rotated => Some(21.8),
        _ if rotated => None,
        (BitWidth::Two, "gauss") => Some(9.88),
        (BitWidth::Two, "heavy") => Some(7.80),
        (BitWidth::Four, "gauss") => Some(21.70),
        (BitWidth::Four, "heavy") => Some(19.15),
        (BitWidth::Eight, "gauss") => Some(46.1),
        (BitWidth::Eight, "heavy") => Some(43.5),
        _ => None,
    }
}

fn main() -> std::process::ExitCode {
    let mut missed = 0;
    println!(
        "{:<8} {:>4} {:>5} {:<5} {:<9} {:>8} {:>8} {:>10}",
        "matrix", "bits", "group", "type", "method", "SQNR dB", "target", "Mweights/s"
    );
    for m in matrices() {
        for bits in BitWidth::ALL {
            for group_size in [32, 64, 128, 256] {
                for (zero, kind) in [(ZeroKind::Float, "asym"), (ZeroKind::None, "sym")] {
                    let whole = m.cols.is_multiple_of(ROTATION).then_some(ROTATION);
                    for (method, tuning, rotation, label) in [
                        (Method::Rtn, PLAIN, None, "rtn"),
                        (Method::Mse, PLAIN, None, "mse"),
                        (Method::Mse, Tuning::default(), None, "default"),
                        (Method::Mse, PLAIN, whole, "rotated"),
                    ] {
                        if label == "rotated" && rotation.is_none() {
                            continue;
                        }
                        let scheme = Scheme { bits, group_size, zero, method, scale_dtype: ScaleDtype::F16, rotation, blocks: None };
                        let (sqnr, speed) = measure(&m, scheme, tuning);
                        let wanted = target(bits, &m.name, rotation.is_some())
                            .filter(|_| group_size == 64 && kind == "asym" && matches!(label, "mse" | "rotated"));
                        let mark = wanted.map_or(String::new(), |t| format!("{t:.2} {}", if sqnr >= t { "ok" } else { "MISSED" }));
                        missed += u32::from(wanted.is_some_and(|t| sqnr < t));
                        println!("{:<8} {bits:>4} {group_size:>5} {kind:<5} {label:<9} {sqnr:>8.2} {mark:>8} {speed:>10.0}", m.name);
                    }
                }
            }
        }
    }
    if missed > 0 {
        println!("{missed} target(s) missed");
        return std::process::ExitCode::FAILURE;
    }
    std::process::ExitCode::SUCCESS
}
