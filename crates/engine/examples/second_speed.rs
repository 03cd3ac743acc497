//! Speed of encoding under second moments, beside the `gemm` crate's products in the same run:
//! `npm run bench:second [-- [--json] [--size 3072] [--rows 480]]`. One thread; a layer of as many outputs as inputs, groups of 64.
//!
//! The rows' operations are counted as half a product with `H` for compensation, one for the sweep with its refit, and two with the recorded
//! rows for the errors that decide about each row; the library's product has the shape of a sweep over 64 rows. GFLOP/s count a multiplication
//! and an addition as two.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a command that prints a table for developers")]

use aq_core::{BitWidth, Geometry, Method, ScaleDtype, Scheme, ZeroKind};
use aq_kernels::second::{Encoded, Factor, Factored, Inputs, Moments, Second, Span};
use aq_kernels::{Level, RowCodec, Scratch, Tuning};
use aq_testkit::gauss;
use serde_json::{Value, json};
use std::time::Instant;

const PANEL_ROWS: usize = 64;
const RANK: usize = 64;

fn argument(name: &str, default: usize) -> usize {
    let mut args = std::env::args().skip_while(|a| a != name).skip(1);
    args.next().map_or(default, |n| n.parse().expect("a number"))
}

fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begun = Instant::now();
    let made = work();
    (begun.elapsed().as_secs_f64(), made)
}

struct Bench {
    json: bool,
    list: Vec<Value>,
}

impl Bench {
    fn row(&mut self, what: &str, seconds: f64, operations: f64) {
        let speed = operations / seconds / 1e9;
        self.list.push(json!({"what": what, "seconds": seconds, "gflops": speed}));
        if !self.json {
            println!("{what:52} {seconds:8.3} s {speed:8.1} GFLOP/s");
        }
    }
}

fn main() {
    let (k, n) = (argument("--size", 3072), argument("--rows", 480));
    let mut bench = Bench { json: std::env::args().any(|a| a == "--json"), list: vec![] };
    let level = Level::current();
    let g = Geometry::of(&[k, k], 64).expect("a layer");
    let (w, x) = (gauss(k, k, 1), gauss(n, k, 2));
    let mut inputs = Inputs::new(g);
    assert!(inputs.push(level, &x, g, None, 1.0 / n as f64));
    let (kf, nf) = (k as f64, n as f64);

    let library = library(k);
    bench.row("gemm crate, (H d) for 64 rows at a time", library, 2.0 * kf * kf * kf);
    let (seconds, mut moments) = timed(|| {
        let (mut moments, packed) = (Moments::new(k), inputs.packed());
        moments.parts().into_iter().enumerate().for_each(|(i, part)| Moments::fill(level, &packed, i, part));
        moments
    });
    bench.row("second moments", seconds, 2.0 * nf * kf * kf);
    assert!(moments.damp());
    let order = moments.falling();
    let natural: Vec<usize> = (0..k).collect();
    let mut total = Vec::new();
    for (bits, order) in [(BitWidth::Two, None), (BitWidth::Four, Some(order))] {
        let (factoring, factor) = timed(|| factored(level, &moments, order.as_ref().unwrap_or(&natural)));
        bench.row(&format!("{bits}: factor, f64"), factoring, kf * kf * kf / 3.0);
        let second = Second::full(moments.clone(), Some(&factor), order, &inputs);
        let rows = encode(level, g, bits, &second, &w);
        let operations = 2.0 * kf * (1.5 * kf * kf + 2.0 * nf * kf);
        bench.row(&format!("{bits}: all rows, compensation, sweep, refit, errors"), rows, operations);
        total.push(json!({"bits": bits, "seconds": seconds + factoring + rows, "speedOfLibrary": operations / rows / (2.0 * kf * kf * kf / library)}));
    }
    let (seconds, span) = timed(|| Span::of(level, &inputs, RANK));
    bench.row("rows that span the inputs", seconds, 2.0 * nf * kf * RANK as f64 * 6.0);
    let second = Second::Factored(Box::new(Factored::new(level, &span.rows).expect("energy")));
    let rows = encode(level, g, BitWidth::Four, &second, &w);
    bench.row("4: all rows, two factored sweeps, errors", rows, 2.0 * kf * kf * RANK as f64 * 5.0);
    if bench.json {
        println!("{}", json!({"size": k, "rows": n, "level": level.name(), "list": bench.list, "total": total}));
    } else {
        for t in &total {
            let (seconds, speed) = (t["seconds"].as_f64().unwrap_or(0.0), t["speedOfLibrary"].as_f64().unwrap_or(0.0));
            println!("{} bits, whole layer: {seconds:.2} s; rows at {:.0} % of the library's speed", t["bits"], 100.0 * speed);
        }
    }
}

fn factored(level: Level, moments: &Moments, order: &[usize]) -> Factor {
    let mut factor = Factor::new(moments.matrix(), order);
    for first in factor.panels() {
        assert!(factor.panel(level, first));
        let (rest, parts) = factor.later(first);
        parts.into_iter().for_each(|(row, part)| rest.subtract(level, row, part));
    }
    factor
}

fn encode(level: Level, g: Geometry, bits: BitWidth, second: &Second, w: &[f32]) -> f64 {
    let scheme = Scheme {
        bits,
        group_size: 64,
        zero: ZeroKind::Float,
        method: Method::Gptq,
        scale_dtype: ScaleDtype::for_bits(bits),
        rotation: None,
        blocks: None,
    };
    let codec = RowCodec::new(g, scheme, Tuning::default());
    let (row, grids) = (g.row(), g.scales_per_row());
    let (mut codes, mut scales, mut zeros) = (vec![0; PANEL_ROWS * row], vec![0.0; PANEL_ROWS * grids], vec![0.0; PANEL_ROWS * grids]);
    let mut scratch = Scratch::default();
    let (seconds, ()) = timed(|| {
        for rows in w.chunks_exact(PANEL_ROWS * row) {
            let out = Encoded { codes: &mut codes, scales: &mut scales, zeros: &mut zeros };
            codec.encode_second(level, second, rows, &mut scratch, out);
        }
    });
    seconds
}

/// Seconds of the library for the products of a sweep: a square matrix with 64 columns at a time.
fn library(k: usize) -> f64 {
    let (h, d) = (gauss(k, k, 3), gauss(k, PANEL_ROWS, 4));
    let mut out = vec![0.0f32; k * PANEL_ROWS];
    let mut once = || {
        // SAFETY: `h` is `k` rows of `k`, `d` and `out` are `k` rows of `PANEL_ROWS`, each row after row; `out` overlaps neither of the others.
        unsafe {
            gemm::gemm(
                k,
                PANEL_ROWS,
                k,
                out.as_mut_ptr(),
                1,
                PANEL_ROWS as isize,
                false,
                h.as_ptr(),
                1,
                k as isize,
                d.as_ptr(),
                1,
                PANEL_ROWS as isize,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    };
    once();
    timed(|| (0..k / PANEL_ROWS).for_each(|_| once())).0
}
