//! Encoding under second moments: against GPTQ as its paper has it, against what it promises, and the same bits however it is computed.

use aq_core::{BitWidth, Geometry, Method, ScaleDtype, Scheme, ZeroKind};
use aq_kernels::second::{Encoded, Factor, Factored, Inputs, Moments, Second, Span};
use aq_kernels::{Level, RowCodec, Scratch, Tuning};
use aq_testkit::gauss;

fn scheme(bits: BitWidth, group_size: usize, symmetric: bool, rotation: Option<usize>) -> Scheme {
    let zero = if symmetric { ZeroKind::None } else { ZeroKind::Float };
    Scheme { bits, group_size, zero, method: Method::Mse, scale_dtype: ScaleDtype::for_bits(bits), rotation, blocks: None }
}

/// Rows whose channels go together: what moments are about.
fn recorded(rows: usize, row: usize, seed: u64) -> Vec<f32> {
    let (own, shared) = (gauss(rows, row, seed), gauss(rows, 4, seed + 1));
    let mix: Vec<f32> = gauss(4, row, seed + 2).iter().map(|v| v * 50.0).collect();
    (0..rows * row).map(|i| own[i] * 0.3 + (0..4).map(|k| shared[i / row * 4 + k] * mix[k * row + i % row]).sum::<f32>()).collect()
}

fn inputs(level: Level, data: &[f32], g: Geometry, rotation: Option<usize>) -> Inputs {
    let mut inputs = Inputs::new(g);
    let rows = data.len() / g.row();
    assert!(inputs.push(level, data, g, rotation, 1.0 / rows as f64));
    inputs
}

fn full(level: Level, inputs: &Inputs, by_order: bool) -> Second {
    let mut moments = Moments::new(inputs.row);
    let packed = inputs.packed();
    for (i, part) in moments.parts().into_iter().enumerate() {
        Moments::fill(level, &packed, i, part);
    }
    assert!(moments.damp());
    let order = by_order.then(|| moments.falling());
    let natural: Vec<usize> = (0..inputs.row).collect();
    let mut factor = Factor::new(moments.matrix(), order.as_ref().unwrap_or(&natural));
    for first in factor.panels() {
        assert!(factor.panel(level, first));
        let (rest, parts) = factor.later(first);
        parts.into_iter().for_each(|(row, part)| rest.subtract(level, row, part));
    }
    Second::full(moments, Some(&factor), order, inputs)
}

struct Layer {
    codes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Vec<f32>,
    decoded: Vec<f32>,
}

fn encode(level: Level, codec: &RowCodec, g: Geometry, second: Option<&Second>, w: &[f32], batch: usize) -> Layer {
    let (grids, rows) = (g.scales_per_row(), w.len() / g.row());
    let mut l =
        Layer { codes: vec![0; w.len()], scales: vec![0.0; rows * grids], zeros: vec![0.0; rows * grids], decoded: vec![0.0; w.len()] };
    for first in (0..rows).step_by(batch) {
        let end = rows.min(first + batch);
        let (a, b) = (first * g.row()..end * g.row(), first * grids..end * grids);
        let (codes, scales, zeros) = (&mut l.codes[a.clone()], &mut l.scales[b.clone()], &mut l.zeros[b]);
        match second {
            Some(second) => codec.encode_second(level, second, &w[a], &mut Scratch::default(), Encoded { codes, scales, zeros }),
            None => codec.encode_at(level, &w[a], &mut Scratch::default(), codes, scales, zeros),
        };
    }
    for r in 0..rows {
        let (a, b) = (r * g.row()..(r + 1) * g.row(), r * grids..(r + 1) * grids);
        codec.decode_at(level, &l.codes[a.clone()], &l.scales[b.clone()], &l.zeros[b], &mut l.decoded[a]);
    }
    l
}

/// Squared output error of each row on recorded inputs.
fn errors(x: &[f32], w: &[f32], v: &[f32], row: usize) -> Vec<f64> {
    let of = |(w, v): (&[f32], &[f32])| {
        let y = |x: &[f32]| x.iter().zip(w).zip(v).map(|((x, w), v)| f64::from(*x) * (f64::from(*w) - f64::from(*v))).sum::<f64>();
        x.chunks_exact(row).map(|x| y(x).powi(2)).sum()
    };
    w.chunks_exact(row).zip(v.chunks_exact(row)).map(of).collect()
}

fn decibels(a: &[f64], b: &[f64]) -> f64 {
    10.0 * (a.iter().sum::<f64>() / b.iter().sum::<f64>()).log10()
}

#[test]
fn the_output_changes_far_less_and_no_row_loses() {
    for shape in [vec![40, 96], vec![20, 24, 3, 3], vec![33, 130]] {
        let g = Geometry::of(&shape, 32).unwrap();
        let (w, x) = (gauss(g.out, g.row(), 1), recorded(150, g.row(), 2));
        for bits in BitWidth::ALL {
            for symmetric in [false, true] {
                let rotation = (shape[1].is_multiple_of(32) && !symmetric).then_some(32);
                let codec = RowCodec::new(g, scheme(bits, 32, symmetric, rotation), Tuning::default());
                let inputs = inputs(Level::current(), &x, g, rotation);
                let plain = encode(Level::current(), &codec, g, None, &w, 64);
                let before = errors(&x, &w, &plain.decoded, g.row());
                let factored = Second::Factored(Box::new(Factored::new(Level::current(), &inputs).unwrap()));
                for (second, least) in [(full(Level::current(), &inputs, bits != BitWidth::Two), 4.0), (factored, 3.0)] {
                    let found = encode(Level::current(), &codec, g, Some(&second), &w, 64);
                    let after = errors(&x, &w, &found.decoded, g.row());
                    let gain = decibels(&before, &after);
                    println!("{shape:?} {bits} symmetric {symmetric}: {gain:.2} dB");
                    assert!(gain > least, "{shape:?} {bits} {symmetric}: {gain:.2} dB");
                    assert!(before.iter().zip(&after).all(|(b, a)| *a <= b * (1.0 + 1e-4)), "{shape:?} {bits}: a row lost");
                }
            }
        }
    }
}

#[test]
fn compensation_without_a_sweep_is_gptq_as_its_paper_has_it() {
    let tuning = Tuning { sweep: false, ..Tuning::default() };
    for (bits, by_order) in [(BitWidth::Two, false), (BitWidth::Four, true), (BitWidth::Eight, true)] {
        let g = Geometry::of(&[48, 96], 32).unwrap();
        let (w, x) = (gauss(g.out, g.row(), 3), recorded(60, g.row(), 4));
        let inputs = inputs(Level::current(), &x, g, None);
        let codec = RowCodec::new(g, scheme(bits, 32, false, None), tuning);
        let found = encode(Level::current(), &codec, g, Some(&full(Level::current(), &inputs, by_order)), &w, 64);

        let n = g.row();
        let mut h = vec![vec![0.0f64; n]; n];
        for x in inputs.data.chunks_exact(n) {
            for (a, h) in h.iter_mut().enumerate() {
                h.iter_mut().enumerate().for_each(|(b, h)| *h += f64::from(x[a]) * f64::from(x[b]));
            }
        }
        let mean = (0..n).map(|i| h[i][i]).sum::<f64>() / n as f64;
        let mut order: Vec<usize> = (0..n).collect();
        if by_order {
            order.sort_by(|&a, &b| h[b][b].total_cmp(&h[a][a]));
        }
        (0..n).for_each(|i| h[i][i] += 0.01 * mean);
        let inverse = inverse(&order.iter().map(|&a| order.iter().map(|&b| h[a][b]).collect()).collect::<Vec<_>>());
        let (mut alike, max) = (0, f64::from(bits.max_code()));
        for (r, row) in w.chunks_exact(n).enumerate() {
            // Optimal brain surgery, one column after another, the inverse reduced by each.
            let mut inverse = inverse.clone();
            let mut t: Vec<f64> = order.iter().map(|&c| f64::from(row[c])).collect();
            for j in 0..n {
                let group = r * g.scales_per_row() + order[j] / g.group;
                let (s, z) = (f64::from(found.scales[group]), f64::from(found.zeros[group]));
                let q = ((t[j] - z) / s).clamp(0.0, max).round_ties_even();
                alike += usize::from(q as u8 == found.codes[r * n + order[j]]);
                // From here on with the code that was chosen, so that one near a tie does not make the rest differ.
                let q = f64::from(found.codes[r * n + order[j]]);
                let error = (t[j] - (q * s + z)) / inverse[j][j];
                let column = inverse[j].clone();
                (j..n).for_each(|k| t[k] -= error * column[k]);
                let pivot = column[j];
                for row in &mut inverse[j..] {
                    let factor = row[j] / pivot;
                    row[j..].iter_mut().zip(&column[j..]).for_each(|(r, c)| *r -= factor * c);
                }
            }
        }
        let part = alike as f64 / w.len() as f64;
        println!("{bits}: {:.3} % of the codes", 100.0 * part);
        assert!(part > 0.999, "{bits}: only {part} of the codes agree");
    }
}

/// Gauss and Jordan.
fn inverse(m: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = m.len();
    let mut a: Vec<Vec<f64>> =
        m.iter().enumerate().map(|(i, r)| r.iter().copied().chain((0..n).map(|j| f64::from(u8::from(i == j)))).collect()).collect();
    for k in 0..n {
        let pivot = a[k][k];
        a[k].iter_mut().for_each(|v| *v /= pivot);
        let row = a[k].clone();
        for (_, other) in a.iter_mut().enumerate().filter(|(i, _)| *i != k) {
            let factor = other[k];
            other.iter_mut().zip(&row).for_each(|(o, r)| *o -= factor * r);
        }
    }
    a.into_iter().map(|r| r[n..].to_vec()).collect()
}

#[test]
fn the_bits_are_the_same_at_every_level_and_in_any_batch() {
    for (shape, group) in [(vec![37, 72], 24), (vec![18, 20, 3, 3], 10), (vec![5, 33], 64)] {
        let g = Geometry::of(&shape, group).unwrap();
        let (w, x) = (gauss(g.out, g.row(), 5), recorded(40, g.row(), 6));
        for bits in BitWidth::ALL {
            let codec = RowCodec::new(g, scheme(bits, group, false, None), Tuning::default());
            let of = |level: Level, batch: usize| {
                let inputs = inputs(level, &x, g, None);
                let span = Span::of(level, &inputs, 16);
                let list =
                    [full(level, &inputs, bits != BitWidth::Two), Second::Factored(Box::new(Factored::new(level, &span.rows).unwrap()))];
                list.map(|second| encode(level, &codec, g, Some(&second), &w, batch)).map(|l| {
                    let floats = l.scales.iter().chain(&l.zeros).chain(&l.decoded).map(|v| v.to_bits()).collect::<Vec<_>>();
                    (l.codes, floats)
                })
            };
            let wanted = of(Level::GENERIC, 64);
            for level in Level::available() {
                for batch in [1, 16, 23, 64, 1000] {
                    assert!(of(level, batch) == wanted, "{shape:?} {bits} {} batch {batch}", level.name());
                }
            }
        }
    }
}

#[test]
fn awkward_inputs_give_finite_values_and_never_more_error() {
    let g = Geometry::of(&[20, 48], 16).unwrap();
    let w = gauss(g.out, g.row(), 7);
    let one = gauss(1, g.row(), 8);
    let mut dead = recorded(30, g.row(), 9);
    dead.chunks_exact_mut(g.row()).for_each(|x| x[10..20].fill(0.0));
    let huge: Vec<f32> = recorded(30, g.row(), 10).iter().map(|v| v * 1e12).collect();
    let tiny: Vec<f32> = recorded(30, g.row(), 11).iter().map(|v| v * 1e-12).collect();
    let cases = [("one row", one.clone()), ("equal rows", one.repeat(30)), ("dead channels", dead), ("huge", huge), ("tiny", tiny)];
    for (name, x) in cases {
        for bits in BitWidth::ALL {
            let codec = RowCodec::new(g, scheme(bits, 16, false, None), Tuning::default());
            let inputs = inputs(Level::current(), &x, g, None);
            let before = errors(&x, &w, &encode(Level::current(), &codec, g, None, &w, 64).decoded, g.row());
            let list = [
                full(Level::current(), &inputs, bits != BitWidth::Two),
                Second::Factored(Box::new(Factored::new(Level::current(), &inputs).unwrap())),
            ];
            for second in list {
                let found = encode(Level::current(), &codec, g, Some(&second), &w, 64);
                assert!(found.decoded.iter().all(|v| v.is_finite()), "{name} {bits}");
                let after = errors(&x, &w, &found.decoded, g.row());
                assert!(before.iter().zip(&after).all(|(b, a)| *a <= b * (1.0 + 1e-3)), "{name} {bits}");
                assert!(after.iter().sum::<f64>() < 0.9 * before.iter().sum::<f64>(), "{name} {bits}: nothing gained");
            }
        }
    }
    for x in [vec![0.0; 48 * 3], vec![1e30; 48 * 3]] {
        let inputs = inputs(Level::current(), &x, g, None);
        let (mut moments, packed) = (Moments::new(g.row()), inputs.packed());
        for (i, part) in moments.parts().into_iter().enumerate() {
            Moments::fill(Level::current(), &packed, i, part);
        }
        assert!(!moments.damp() && Factored::new(Level::current(), &inputs).is_none());
    }
}
