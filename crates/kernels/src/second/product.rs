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
    let mut acc = *sums;
    for (a, b) in a.iter().zip(b) {
        for i in 0..STRIP {
            for j in 0..LANES {
                acc[i][j] = a[i].mul_add(b[j], acc[i][j]);
            }
        }
    }
    *sums = acc;
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
