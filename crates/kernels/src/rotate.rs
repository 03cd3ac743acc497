//! Hadamard rotation of rows, in blocks: outliers of single channels are spread over their block.
//!
//! A block of `n` values is multiplied by the symmetric orthogonal matrix that SDNQ's loader builds (`sdnq/quant_utils.py`, 0.2.8): a
//! Kronecker power of [`H4`](butterfly) where `n` is a power of four, of `[[1, 1], [1, -1]]` where it is another power of two, over `sqrt(n)`.
//! Being its own inverse it is applied once more to undo it. Here it is a cascade of sums, `log4(n)` or `log2(n)` of them, from the nearest
//! values to the farthest; every sum has a fixed place, so all levels give the same bits.

/// Rotates every block of `n` values in place. `n` is a power of two and divides the length: the caller's invariant.
#[inline(always)]
pub(crate) fn rotate(values: &mut [f32], n: usize) {
    let by_four = n.trailing_zeros().is_multiple_of(2);
    let scale = 1.0 / (n as f32).sqrt();
    for block in values.chunks_exact_mut(n) {
        let mut stride = 1;
        while stride < n {
            if by_four {
                four(block, stride);
                stride *= 4;
            } else {
                two(block, stride);
                stride *= 2;
            }
        }
        block.iter_mut().for_each(|v| *v *= scale);
    }
}

#[inline(always)]
fn four(block: &mut [f32], stride: usize) {
    if stride == 1 {
        for v in block.chunks_exact_mut(4) {
            let out = butterfly(v[0], v[1], v[2], v[3]);
            v.copy_from_slice(&out);
        }
        return;
    }
    for part in block.chunks_exact_mut(4 * stride) {
        let (ab, cd) = part.split_at_mut(2 * stride);
        let ((a, b), (c, d)) = (ab.split_at_mut(stride), cd.split_at_mut(stride));
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            [*a, *b, *c, *d] = butterfly(*a, *b, *c, *d);
        }
    }
}

/// `[[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]]` times the values.
#[inline(always)]
fn butterfly(a: f32, b: f32, c: f32, d: f32) -> [f32; 4] {
    let (ab, amb, cd, cmd) = (a + b, a - b, c + d, c - d);
    [ab + cmd, ab - cmd, amb + cd, cd - amb]
}

#[inline(always)]
fn two(block: &mut [f32], stride: usize) {
    for part in block.chunks_exact_mut(2 * stride) {
        let (a, b) = part.split_at_mut(stride);
        for (a, b) in a.iter_mut().zip(b) {
            (*a, *b) = (*a + *b, *a - *b);
        }
    }
}
