//! Scales of groups without a minimum. One side has a code more than the other and takes the largest magnitude, so a scale may be negative.
//!
//! A pass assigns codes for a candidate and gives the least-squares scale for them, with the energy that it explains. The best of some fractions
//! of the range is fitted again; scales are not rounded on the way, since what stores them (a half, or parts of a super block's) comes later.

use super::encode::{Coding, bounds};
use crate::round::code_around;
use crate::search::choose;
use crate::tile::{Column, WIDTH};
use std::array::from_fn;

/// Scales tried first, as fractions of that which gives the largest magnitude the last code.
const fn clips(max: u8) -> &'static [f32] {
    match max {
        0..=7 => &[0.75, 0.95, 1.15],
        8..=15 => &[0.76, 0.83, 0.9, 0.96, 1.02, 1.08, 1.14],
        16..=31 => &[0.83, 0.87, 0.9, 0.94, 0.97, 1.0, 1.03, 1.067],
        32.. => &[0.93, 0.95, 0.97, 0.99, 1.01, 1.03],
    }
}

/// How often the best is fitted again.
const FITS: usize = 1;

/// The scale of each group; 0 where all is 0.
#[inline(always)]
pub(super) fn scales(raw: &[Column], coding: &Coding, range: &Column) -> Column {
    let (mut best, mut most) = (*range, [0.0; WIDTH]);
    for &clip in clips(coding.max) {
        let mut scale = *range;
        for s in &mut scale {
            *s *= clip;
        }
        better(pass(raw, coding, &scale), &mut best, &mut most);
    }
    for _ in 0..FITS {
        let from = best;
        better(pass(raw, coding, &from), &mut best, &mut most);
    }
    best
}

/// Takes the lanes that explain more.
#[inline(always)]
fn better((scale, explained): (Column, Column), best: &mut Column, most: &mut Column) {
    let better: [bool; WIDTH] = from_fn(|j| explained[j] > most[j] && explained[j] < f32::INFINITY);
    choose(&better, &scale, best);
    choose(&better, &explained, most);
}

/// Codes for a candidate: the least-squares scale for them and the energy that it explains.
#[inline(always)]
fn pass(raw: &[Column], coding: &Coding, scale: &Column) -> (Column, Column) {
    let (max, zero, inverse) = bounds(coding, scale);
    let (mut sqq, mut sqw) = ([0.0; WIDTH], [0.0; WIDTH]);
    for w in raw {
        for j in 0..WIDTH {
            let q = code_around(w[j] * inverse[j] + zero, max, zero);
            sqq[j] += q * q;
            sqw[j] += q * w[j];
        }
    }
    let mut explained = [0.0; WIDTH];
    let mut fitted = [0.0; WIDTH];
    for j in 0..WIDTH {
        fitted[j] = sqw[j] / sqq[j];
        explained[j] = sqw[j] * fitted[j];
    }
    (fitted, explained)
}
