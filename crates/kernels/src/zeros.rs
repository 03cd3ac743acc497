//! Lengths of buffers. Callers are compiled for size, where filling with zeros is a loop over elements; these are functions of this crate,
//! whose code is its own, and fill with whatever the system has for that.

/// Elements that buffers hold.
pub trait Zeros: Sized {
    /// Gives a buffer a length; new elements are zero.
    fn set_len(buffer: &mut Vec<Self>, len: usize);
}

impl Zeros for u8 {
    #[inline(never)]
    fn set_len(buffer: &mut Vec<Self>, len: usize) {
        buffer.resize(len, 0);
    }
}

impl Zeros for f32 {
    #[inline(never)]
    fn set_len(buffer: &mut Vec<Self>, len: usize) {
        buffer.resize(len, 0.0);
    }
}
