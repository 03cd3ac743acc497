//! Speed of the kernels beside a plain read and a copy of the same bytes, in one run: `npm run bench [-- [--json] [--threads N] [FILE]]`.
//!
//! Without a file the matrix `gauss` is made here, 2048 x 3072, and every level of this machine is measured; with one, its two-dimensional
//! F32 tensors are encoded at the level in use. Speeds are the best of several passes over the whole matrix, of all threads together; GB/s
//! count the matrix as f32. Encoding ends with packed codes; it is without gain and magnitude weights and with F16 scales, groups of 64, as
//! error targets are stated.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a command that prints a table for developers")]

mod common;

use aq_core::{BitWidth, Dtype, Geometry, Method, ScaleDtype, Scheme, ZeroKind};
use aq_kernels::pack::{pack_at, packed_len};
use aq_kernels::{Level, RowCodec, RowSums, Scratch, Tuning, convert, lanes};
use common::{BLOCK, COLS, Matrix, ROWS};
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;

const GROUP: usize = 64;
const PASSES: usize = 3;

struct Arguments {
    json: bool,
    threads: usize,
    file: Option<String>,
}

fn arguments() -> Arguments {
    let mut found = Arguments { json: false, threads: 1, file: None };
    let mut list = std::env::args().skip(1); // the program's own name
    while let Some(argument) = list.next() {
        match argument.as_str() {
            "--json" => found.json = true,
            "--threads" => found.threads = list.next().and_then(|n| n.parse().ok()).expect("--threads takes a number"),
            _ => found.file = Some(argument),
        }
    }
    found
}

/// Seconds of the fastest pass: each thread does its part of the rows, in blocks, with what it makes for itself first.
fn fastest<S>(m: &Matrix, threads: usize, make: impl Fn() -> S + Sync, work: impl Fn(&mut S, &[f32]) + Sync) -> f64 {
    let rows = (m.data.len() / m.cols).div_ceil(threads);
    let pass = || {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for part in m.data.chunks(rows * m.cols) {
                let (make, work) = (&make, &work);
                scope.spawn(move || {
                    let mut state = make();
                    part.chunks(BLOCK * m.cols).for_each(|block| work(&mut state, block));
                });
            }
        });
        begun.elapsed().as_secs_f64()
    };
    // The first pass warms the caches and does not count.
    (0..=PASSES).map(|_| pass()).skip(1).fold(f64::INFINITY, f64::min)
}

struct Encoder {
    codec: RowCodec,
    scratch: Scratch,
    codes: Vec<u8>,
    packed: Vec<u8>,
    bits: BitWidth,
    scales: Vec<f32>,
    zeros: Vec<f32>,
}

impl Encoder {
    fn new(m: &Matrix, bits: BitWidth, method: Method) -> Self {
        let scheme =
            Scheme { bits, group_size: GROUP, zero: ZeroKind::Float, method, scale_dtype: ScaleDtype::F16, rotation: None, blocks: None };
        let geometry = Geometry::of(&[m.data.len() / m.cols, m.cols], GROUP).expect("a matrix has rows and columns");
        let codec = RowCodec::new(geometry, scheme, Tuning { gain: false, magnitude: false, ..Tuning::default() });
        let n = BLOCK * geometry.scales_per_row();
        let (codes, packed) = (vec![0; BLOCK * m.cols], vec![0; packed_len(BLOCK * m.cols, bits)]);
        Self { codec, scratch: Scratch::default(), codes, packed, bits, scales: vec![0.0; n], zeros: vec![0.0; n] }
    }

    fn encode(&mut self, level: Level, block: &[f32]) {
        let n = self.scales.len() * block.len() / self.codes.len();
        let codes = &mut self.codes[..block.len()];
        self.codec.encode_at(level, block, &mut self.scratch, codes, &mut self.scales[..n], &mut self.zeros[..n]);
        pack_at(level, codes, self.bits, &mut self.packed[..packed_len(block.len(), self.bits)]);
    }

    fn decode(&self, level: Level, cols: usize, mut row: impl FnMut(usize, &[f32])) {
        let n = self.scales.len() / BLOCK;
        let mut out = vec![0.0; cols];
        let grids = self.scales.chunks_exact(n).zip(self.zeros.chunks_exact(n));
        for (i, (codes, (scales, zeros))) in self.codes.chunks_exact(cols).zip(grids).enumerate() {
            self.codec.decode_at(level, codes, scales, zeros, &mut out);
            row(i, &out);
        }
    }
}

fn sqnr_db(m: &Matrix, bits: BitWidth, method: Method) -> f64 {
    let level = Level::current();
    let (mut encoder, mut sums) = (Encoder::new(m, bits, method), RowSums::default());
    for block in m.data.chunks(BLOCK * m.cols) {
        encoder.encode(level, block);
        encoder.decode(level, m.cols, |i, out| {
            if let Some(row) = block.chunks_exact(m.cols).nth(i) {
                sums.add(&RowSums::of(row, out));
            }
        });
    }
    sums.sqnr_db()
}

fn encoding(m: &Matrix, threads: usize, level: Level) -> Vec<Value> {
    let mut list = Vec::new();
    for (method, name) in [(Method::Rtn, "rtn"), (Method::Mse, "mse")] {
        for bits in BitWidth::ALL {
            let spent = fastest(m, threads, || Encoder::new(m, bits, method), |encoder, block| encoder.encode(level, block));
            list.push(json!({
                "kind": "encode", "tensor": m.name, "method": name, "bits": bits.bits(), "group": GROUP, "level": level.name(),
                "threads": threads, "sqnrDb": sqnr_db(m, bits, method), "mweightsPerS": m.data.len() as f64 / spent / 1e6,
                "gbPerS": gb(m) / spent,
            }));
        }
    }
    list
}

fn gb(m: &Matrix) -> f64 {
    m.data.len() as f64 * 4.0 / 1e9
}

fn row(kind: &str, name: &str, level: &str, threads: usize, m: &Matrix, spent: f64) -> Value {
    let speed = m.data.len() as f64 / spent / 1e6;
    json!({ "kind": kind, "name": name, "level": level, "threads": threads, "mweightsPerS": speed, "gbPerS": gb(m) / spent })
}

/// What reading and copying the same bytes takes, whatever is done with them.
fn baselines(m: &Matrix, threads: usize) -> Vec<Value> {
    let read = fastest(
        m,
        threads,
        || (),
        |(), block| {
            black_box(block.as_chunks::<{ lanes::LANES }>().0.iter().fold([0.0; lanes::LANES], |mut sum: lanes::Acc, x| {
                for j in 0..lanes::LANES {
                    sum[j] += x[j];
                }
                sum
            }));
        },
    );
    let copy = fastest(
        m,
        threads,
        || vec![0.0; BLOCK * m.cols],
        |to: &mut Vec<f32>, block| {
            to[..block.len()].copy_from_slice(block);
            black_box(&to);
        },
    );
    vec![row("baseline", "summing read", "", threads, m, read), row("baseline", "copy", "", threads, m, copy)]
}

/// The other kernels of a job, one thread's view of the matrix.
fn others(m: &Matrix, threads: usize, level: Level) -> Vec<Value> {
    let mut list = Vec::new();
    for (dtype, name) in [(Dtype::Bf16, "bf16 to f32"), (Dtype::F16, "f16 to f32")] {
        let mut bytes = Vec::new();
        convert::from_f32(&m.data[..BLOCK * m.cols], dtype, &mut bytes);
        let make = || vec![0.0; BLOCK * m.cols];
        let spent = fastest(m, threads, make, |out: &mut Vec<f32>, block| {
            convert::to_f32_at(level, &bytes[..block.len() * dtype.size()], dtype, &mut out[..block.len()]);
        });
        list.push(row("other", name, level.name(), threads, m, spent));
    }
    for bits in BitWidth::ALL {
        let encoded = || {
            let mut encoder = Encoder::new(m, bits, Method::Rtn);
            encoder.encode(level, &m.data[..BLOCK * m.cols]);
            encoder
        };
        let spent = fastest(m, threads, encoded, |encoder, block| {
            encoder.decode(level, block.len() / BLOCK, |_, out| {
                black_box(out);
            });
        });
        list.push(row("other", &format!("decode {} bits", bits.bits()), level.name(), threads, m, spent));
        let spent = fastest(m, threads, encoded, |encoder, _| pack_at(level, &encoder.codes, bits, &mut encoder.packed));
        list.push(row("other", &format!("pack {} bits", bits.bits()), level.name(), threads, m, spent));
    }
    let spent = fastest(
        m,
        threads,
        || m.data[..m.cols].to_vec(),
        |other, block| {
            for row in block.chunks_exact(m.cols) {
                black_box(RowSums::of_at(level, row, other));
            }
        },
    );
    list.push(row("other", "error sums", level.name(), threads, m, spent));
    list
}

fn main() {
    let Arguments { json, threads, file } = arguments();
    let mut list = Vec::new();
    if let Some(file) = file {
        for m in common::read(&file) {
            list.extend(encoding(&m, threads, Level::current()));
        }
    } else {
        let m = Matrix { name: "gauss".into(), cols: COLS, data: aq_testkit::gauss(ROWS, COLS, 1) };
        list.extend(baselines(&m, threads));
        for level in Level::available().into_iter().rev() {
            list.extend(encoding(&m, threads, level));
            list.extend(others(&m, threads, level));
        }
    }
    if json {
        list.iter().for_each(|row| println!("{row}"));
        return;
    }
    println!("{:<10} {:<22} {:<8} {:>7} {:>10} {:>7} {:>8}", "", "kernel", "level", "threads", "Mweights/s", "GB/s", "SQNR dB");
    for row in &list {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let name = if row["kind"] == "encode" { format!("{} {} bits", text("method"), row["bits"]) } else { text("name") };
        let sqnr = row["sqnrDb"].as_f64().map_or(String::new(), |db| format!("{db:.2}"));
        let (speed, gb) = (row["mweightsPerS"].as_f64().unwrap_or(0.0), row["gbPerS"].as_f64().unwrap_or(0.0));
        println!("{:<10} {name:<22} {:<8} {threads:>7} {speed:>10.0} {gb:>7.2} {sqnr:>8}", text("kind"), text("level"));
    }
}
