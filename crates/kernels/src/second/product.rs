//! The one product: eight columns of a packed matrix with sixteen lanes, summed over rows in ascending order, each step a fused multiply-add.

use super::packed::{Packed, STRIP, StripRow};
use crate::lanes::LANES;
use crate::tile::Column;
use std::ops::Range;

/// Rows that are taken together: so many of eight columns and of sixteen lanes stay in the first cache.
const CHUNK: usize = 256;

/// Eight sums.
pub(crate) type Sums = [Column; STRIP];

/// `sums[i] += sum over r of a[r][i] * b[r]`
#[inline(always)]
pub(crate) fn product(a: &[StripRow], b: &[Column], sums: &mut Sums) {
    let [mut s0, mut s1, mut s2, mut s3, mut s4, mut s5, mut s6, mut s7] = *sums;
    for (a, b) in a.iter().zip(b) {
        s0 = fused(a[0], *b, s0);
        s1 = fused(a[1], *b, s1);
        s2 = fused(a[2], *b, s2);
        s3 = fused(a[3], *b, s3);
        s4 = fused(a[4], *b, s4);
        s5 = fused(a[5], *b, s5);
        s6 = fused(a[6], *b, s6);
        s7 = fused(a[7], *b, s7);
    }
    *sums = [s0, s1, s2, s3, s4, s5, s6, s7];
}

/// `a * b + c` in each lane, rounded once. By value and one at a time: the compiler keeps each in its register then.
#[inline(always)]
pub(crate) fn fused(a: f32, b: Column, mut c: Column) -> Column {
    for j in 0..LANES {
        c[j] = a.mul_add(b[j], c[j]);
    }
    c
}

/// Strips that hold some columns.
pub(crate) const fn strips(cols: &Range<usize>) -> Range<usize> {
    cols.start / STRIP..cols.end.div_ceil(STRIP)
}

/// For each right side `b` (columns of lanes, one for each of the first rows of `a`): `a' b` for the columns of the strips that hold `cols`,
/// one after the other. `out` gets one list for each right side.
#[inline(always)]
pub(crate) fn gather(a: &Packed, cols: &Range<usize>, rights: &[&[Column]], out: &mut Vec<Vec<Sums>>) {
    let strips = strips(cols);
    let rows = rights.first().map_or(0, |b| b.len());
    out.resize_with(rights.len(), Vec::new);
    for sums in out.iter_mut() {
        sums.clear();
        sums.resize(strips.len(), [[0.0; LANES]; STRIP]);
    }
    for first in (0..rows).step_by(CHUNK) {
        let range = first..rows.min(first + CHUNK);
        for (s, strip) in strips.clone().enumerate() {
            let a = &a.strip(strip)[range.clone()];
            for (b, sums) in rights.iter().zip(out.iter_mut()) {
                product(a, &b[range.clone()], &mut sums[s]);
            }
        }
    }
}
